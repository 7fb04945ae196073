//! The text as a reader sees it, with a map back to the bytes as they are.

use std::borrow::Cow;
use std::ops::Range;

use crate::unicode_fold::{self, Fold};

/// A text to search, and the way back from its offsets to those of the original.
pub(crate) struct View<'t> {
    text: Cow<'t, str>,
    /// Sorted by `view`, disjoint, covering. Empty when the view *is* the original.
    segments: Vec<Segment>,
    original_len: usize,
}

/// A piece of the view and the piece of the original it was made from.
struct Segment {
    view: usize,
    original: usize,
    /// Bytes of the one original character that was replaced; `None` for a run copied byte for byte.
    replaced: Option<usize>,
}

impl<'t> View<'t> {
    /// Folds `text`. What needs no folding (all ASCII, above all) is not copied.
    pub(crate) fn of(text: &'t str) -> Self {
        let Some(first) = first_folded(text) else {
            return Self { text: Cow::Borrowed(text), segments: Vec::new(), original_len: text.len() };
        };
        let mut folder =
            Folder { text, out: String::with_capacity(text.len()), segments: Vec::new(), copied: 0 };
        for (offset, c) in text[first..].char_indices().map(|(offset, c)| (first + offset, c)) {
            match unicode_fold::fold(c) {
                Fold::Keep => {}
                Fold::Drop => folder.replace(offset, c, std::iter::empty()),
                Fold::Ascii(ascii) => folder.replace(offset, c, std::iter::once(ascii)),
                Fold::Compatibility => folder.replace(offset, c, unicode_fold::compatibility(c)),
            }
        }
        folder.copy_up_to(text.len());
        Self { text: Cow::Owned(folder.out), segments: folder.segments, original_len: text.len() }
    }

    /// The text to search.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The bytes of the original that `range` of the view was made from; whole characters.
    pub(crate) fn to_original(&self, range: Range<usize>) -> Range<usize> {
        if self.segments.is_empty() {
            return range;
        }
        let start = match self.segment_at(range.start) {
            Some(Segment { original, replaced: Some(_), .. }) => *original,
            Some(segment) => segment.original + (range.start - segment.view),
            None => self.original_len,
        };
        // the last byte, not the end: what was dropped after it stays outside
        let end = match range.end.checked_sub(1).and_then(|last| self.segment_at(last)) {
            Some(Segment { original, replaced: Some(len), .. }) => original + len,
            Some(segment) => segment.original + (range.end - segment.view),
            None => start,
        };
        start..end.max(start)
    }

    fn segment_at(&self, offset: usize) -> Option<&Segment> {
        let index = self.segments.partition_point(|segment| segment.view <= offset).checked_sub(1)?;
        self.segments.get(index)
    }
}

fn first_folded(text: &str) -> Option<usize> {
    if text.is_ascii() {
        return None;
    }
    text.char_indices().find(|&(_, c)| unicode_fold::fold(c) != Fold::Keep).map(|(offset, _)| offset)
}

struct Folder<'t> {
    text: &'t str,
    out: String,
    segments: Vec<Segment>,
    copied: usize,
}

impl Folder<'_> {
    fn copy_up_to(&mut self, end: usize) {
        if self.copied < end {
            self.segments.push(Segment { view: self.out.len(), original: self.copied, replaced: None });
            self.out.push_str(&self.text[self.copied..end]);
            self.copied = end;
        }
    }

    fn replace(&mut self, offset: usize, c: char, with: impl Iterator<Item = char>) {
        self.copy_up_to(offset);
        let view = self.out.len();
        self.out.extend(with);
        if self.out.len() > view {
            self.segments.push(Segment { view, original: offset, replaced: Some(c.len_utf8()) });
        }
        self.copied = offset + c.len_utf8();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ascii_and_settled_scripts_are_not_copied() {
        for text in ["", "plain 123-45-6789", "naïve café", "漢字かな"] {
            assert!(matches!(View::of(text).text, Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn offsets_lead_back_to_whole_characters() {
        let text = "é １２3\u{200B}–4㏾ end\u{200B}";
        let view = View::of(text);
        assert_eq!(view.text(), "é 123-431日 end");
        let back = |needle: &str| {
            let at = view.text().find(needle).unwrap();
            &text[view.to_original(at..at + needle.len())]
        };
        assert_eq!(back("123"), "１２3");
        assert_eq!(back("3-4"), "3\u{200B}–4");
        assert_eq!(back("3"), "3");
        assert_eq!(back("1日"), "㏾");
        assert_eq!(back("end"), "end");
        assert_eq!(back("é"), "é");
    }

    proptest! {
        #[test]
        fn every_span_of_the_view_is_whole_characters_of_the_original(
            text in "[ -~éß漢０-９٠-٩\u{200B}\u{AD}–—\u{A0}㏾①ﬁ＠．]{0,40}", a in 0_usize..60, b in 0_usize..60,
        ) {
            let view = View::of(&text);
            let len = view.text().len();
            let (a, b) = (a.min(len), b.min(len));
            let range = view.text().floor_char_boundary(a.min(b))..view.text().ceil_char_boundary(a.max(b));
            let original = view.to_original(range.clone());
            prop_assert!(text.get(original.clone()).is_some());
            if !range.is_empty() {
                let piece = &text[original];
                prop_assert!(View::of(piece).text().contains(&view.text()[range]));
            }
        }
    }
}
