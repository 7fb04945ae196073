//! Texts into chunks that a model can take and that say what they are about. Pure: no file and no server is touched here.
//!
//! The bodies of the chunks are slices of the text in its order, so that nothing but whitespace is lost or said twice; before
//! a body stand the headings that it is under and does not hold itself.

mod blocks;
mod cut;
mod heading_path;

use std::ops::Range;

pub(crate) use blocks::Format;
use blocks::{Kind, blocks};
pub(crate) use cut::halve;
use cut::split_at_most;
use heading_path::HeadingPath;

/// Longest chunk in characters, headings included: about 175 tokens of English, where small models take 256.
pub(crate) const MAX_CHARS: usize = 700;
/// Between the headings and the body.
const GAP: &str = "\n\n";

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// The headings that the chunk stands under, joined by " > ".
    pub heading: String,
    /// Those of them that are not in the body.
    pub context: String,
    /// As it stands in the text.
    pub body: &'a str,
}

/// What is embedded of a chunk.
pub(crate) fn text_of(context: &str, body: &str) -> String {
    if context.is_empty() { body.to_owned() } else { [context, GAP, body].concat() }
}

/// The chunks of a text, none longer than `max` characters. A heading starts a chunk; paragraphs are packed together; a block
/// is cut only when it does not fit into a chunk of its section.
pub(crate) fn chunks(text: &str, format: Format, max: usize) -> Vec<Chunk<'_>> {
    let mut packer = Packer { text, max, path: HeadingPath::default(), open: None, done: Vec::new() };
    for block in blocks(text, format) {
        match block.kind {
            Kind::Heading { level, title } if packer.length(&block.range) <= packer.max_path() => {
                packer.add_heading(block.range, level, title);
            }
            // what is longer than a heading should be is treated as text
            Kind::Heading { .. } | Kind::Body => packer.add_body(block.range),
        }
    }
    packer.close();
    packer.done
}

struct Packer<'a> {
    text: &'a str,
    max: usize,
    path: HeadingPath,
    open: Option<Open>,
    done: Vec<Chunk<'a>>,
}

/// The chunk that is being filled.
struct Open {
    range: Range<usize>,
    context: String,
    /// The level of its last heading, while it holds nothing else.
    bare_heading: Option<u8>,
}

impl<'a> Packer<'a> {
    /// A path of headings takes at most 2/7 of a chunk.
    fn max_path(&self) -> usize {
        self.max * 2 / 7
    }

    fn length(&self, range: &Range<usize>) -> usize {
        self.text[range.clone()].chars().count()
    }

    /// Characters that a body under `context` may have.
    fn room(&self, context: &str) -> usize {
        let taken = if context.is_empty() { 0 } else { context.chars().count() + GAP.len() };
        self.max.saturating_sub(taken)
    }

    fn fits(&self, range: &Range<usize>, context: &str) -> bool {
        // counts no further than the limit: a block may be a whole file
        self.text[range.clone()].chars().nth(self.room(context)).is_none()
    }

    fn add_heading(&mut self, range: Range<usize>, level: u8, title: String) {
        // a heading right below its parent joins it, rather than leave it as a chunk without a content
        if let Some(open) = self.open.take() {
            let joined = open.range.start..range.end;
            if open.bare_heading.is_some_and(|above| above < level) && self.fits(&joined, &open.context) {
                self.path.enter(level, title);
                self.open = Some(Open { range: joined, bare_heading: Some(level), ..open });
                return;
            }
            self.finish(open.range, open.context);
        }
        self.path.leave(level);
        let context = self.path.show(self.max_path());
        self.path.enter(level, title);
        self.open = Some(Open { range, context, bare_heading: Some(level) });
    }

    fn add_body(&mut self, mut range: Range<usize>) {
        if let Some(open) = self.open.take() {
            let joined = open.range.start..range.end;
            if self.fits(&joined, &open.context) {
                self.open = Some(Open { range: joined, bare_heading: None, ..open });
                return;
            }
            let room = self.room(&open.context).saturating_sub(self.length(&(open.range.start..range.start)));
            match split_at_most(&self.text[range.clone()], room) {
                // a heading keeps at least the beginning of what it announces
                Some((head, tail)) if open.bare_heading.is_some() && room >= self.max / 4 => {
                    self.finish(open.range.start..range.start + head.len(), open.context);
                    range.start = range.end - tail.len();
                }
                _ => self.finish(open.range, open.context),
            }
        }
        let context = self.path.show(self.max_path());
        let room = self.room(&context);
        while let Some((head, tail)) = split_at_most(&self.text[range.clone()], room) {
            self.finish(range.start..range.start + head.len(), context.clone());
            range.start = range.end - tail.len();
        }
        self.open = Some(Open { range, context, bare_heading: None });
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.finish(open.range, open.context);
        }
    }

    fn finish(&mut self, range: Range<usize>, context: String) {
        let heading = self.path.show(self.max_path());
        self.done.push(Chunk { heading, context, body: &self.text[range] });
    }
}

#[cfg(test)]
mod tests;
