//! The blocks of a text: headings, fenced code, paragraphs. As much Markdown as chunking needs, and no more.

use std::ops::Range;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Markdown,
    Plain,
}

/// A stretch of the text that should stay together. Begins and ends with a character that is not whitespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// In bytes of the text.
    pub range: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Level 1 is the outermost.
    Heading {
        level: u8,
        title: String,
    },
    Body,
}

struct Line<'a> {
    start: usize,
    text: &'a str,
}

/// What ends the block that is open.
#[derive(Clone, Copy)]
enum Open {
    Paragraph { first_line: usize },
    Fence { mark: char, length: usize },
    FrontMatter,
}

/// The blocks in order; everything between them is whitespace.
pub(super) fn blocks(text: &str, format: Format) -> Vec<Block> {
    let mut at = 0;
    let lines: Vec<Line<'_>> = text
        .split_inclusive('\n')
        .map(|line| {
            let start = at;
            at += line.len();
            Line { start, text: line }
        })
        .collect();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Open)> = None;
    for (number, line) in lines.iter().enumerate() {
        let end = line.start + line.text.len();
        let close =
            |blocks: &mut Vec<Block>, start: usize, end: usize| push(blocks, text, start..end, Kind::Body);
        let bare = line.text.trim();
        match open {
            Some((start, Open::Fence { mark, length })) => {
                if closes(bare, mark, length) {
                    close(&mut blocks, start, end);
                    open = None;
                }
                continue;
            }
            Some((start, Open::FrontMatter)) => {
                if bare == "---" {
                    close(&mut blocks, start, end);
                    open = None;
                }
                continue;
            }
            Some((start, Open::Paragraph { first_line })) => {
                let level = if format == Format::Markdown && first_line + 1 == number {
                    underline(bare)
                } else {
                    None
                };
                let title = lines[first_line].text.trim();
                if let Some(level) = level.filter(|_| !title.starts_with(['-', '*', '+', '>', '|'])) {
                    push(&mut blocks, text, start..end, Kind::Heading { level, title: title.to_owned() });
                    open = None;
                    continue;
                }
            }
            None => {}
        }
        let begun = match format {
            _ if bare.is_empty() => None,
            Format::Plain => Some(Begun::Line),
            Format::Markdown
                if number == 0 && bare == "---" && lines[1..].iter().any(|l| l.text.trim() == "---") =>
            {
                Some(Begun::Block(Open::FrontMatter))
            }
            Format::Markdown => Some(begun(line.text)),
        };
        let stays = matches!((&open, &begun), (Some(_), Some(Begun::Line)));
        if let Some((start, _)) = open.filter(|_| !stays) {
            close(&mut blocks, start, line.start);
            open = None;
        }
        match begun {
            Some(Begun::Line) if !stays => open = Some((line.start, Open::Paragraph { first_line: number })),
            Some(Begun::Block(kind)) => open = Some((line.start, kind)),
            Some(Begun::Heading { level, title }) => {
                push(&mut blocks, text, line.start..end, Kind::Heading { level, title });
            }
            Some(Begun::Line) | None => {}
        }
    }
    if let Some((start, _)) = open {
        push(&mut blocks, text, start..text.len(), Kind::Body);
    }
    blocks
}

/// What a line of Markdown that is not blank begins, outside fences.
enum Begun {
    Line,
    Block(Open),
    Heading { level: u8, title: String },
}

fn begun(line: &str) -> Begun {
    let bare = line.trim();
    for mark in ['`', '~'] {
        let length = bare.len() - bare.trim_start_matches(mark).len();
        // a backtick after the run makes it code in a sentence
        if length >= 3 && !(mark == '`' && bare[length..].contains('`')) {
            return Begun::Block(Open::Fence { mark, length });
        }
    }
    let indented = line.starts_with("    ") || line.starts_with('\t');
    let title = bare.trim_start_matches('#');
    match u8::try_from(bare.len() - title.len()) {
        Ok(level @ 1..=6) if !indented && title.starts_with([' ', '\t']) => {
            let title = title.trim();
            let open = title.trim_end_matches('#');
            let title = if open.ends_with([' ', '\t']) { open.trim_end() } else { title };
            Begun::Heading { level, title: title.to_owned() }
        }
        _ => Begun::Line,
    }
}

fn closes(bare: &str, mark: char, length: usize) -> bool {
    bare.len() >= length && bare.chars().all(|c| c == mark)
}

/// The level of the heading above this line, when it is an underline.
fn underline(bare: &str) -> Option<u8> {
    [('=', 1), ('-', 2)].into_iter().find(|(mark, _)| closes(bare, *mark, 2)).map(|(_, level)| level)
}

fn push(blocks: &mut Vec<Block>, text: &str, range: Range<usize>, kind: Kind) {
    let found = &text[range.clone()];
    let start = range.start + (found.len() - found.trim_start().len());
    let end = start + found.trim().len();
    if start < end {
        blocks.push(Block { range: start..end, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str, format: Format) -> Vec<String> {
        let show = |block: Block| match block.kind {
            Kind::Heading { level, title } => format!("h{level} {title}"),
            Kind::Body => text[block.range].replace('\n', "/"),
        };
        blocks(text, format).into_iter().map(show).collect()
    }

    #[test]
    fn headings_of_both_kinds_end_a_paragraph() {
        let text = "intro\n# One #\ntext\nmore\n\nTwo\n---\ntext\r\n\r\n### C#\nThree\n===\n#no\n####### no\n    # code\n";
        let expected = [
            "intro",
            "h1 One",
            "text/more",
            "h2 Two",
            "text",
            "h3 C#",
            "h1 Three",
            "#no/####### no/    # code",
        ];
        assert_eq!(shape(text, Format::Markdown), expected);
    }

    #[test]
    fn a_fence_is_one_block_whatever_it_holds() {
        let text =
            "see:\n```sh\n# not a heading\n\nls\n```\nafter\n~~~\n```\n~~~~\n````\nnever closed\n\n```\nend";
        let expected =
            ["see:", "```sh/# not a heading//ls/```", "after", "~~~/```/~~~~", "````/never closed//```/end"];
        assert_eq!(shape(text, Format::Markdown), expected);
    }

    #[test]
    fn code_in_a_sentence_and_rules_are_no_fences_and_no_headings() {
        let text = "```x``` y\n\na\nb\n---\n\n- item\n---\n";
        assert_eq!(shape(text, Format::Markdown), ["```x``` y", "a/b/---", "- item/---"]);
    }

    #[test]
    fn front_matter_is_one_block() {
        assert_eq!(
            shape("---\ntitle: x\n\na: b\n---\ntext", Format::Markdown),
            ["---/title: x//a: b/---", "text"]
        );
        assert_eq!(shape("---\n\ntext", Format::Markdown), ["---", "text"]);
    }

    #[test]
    fn plain_text_has_paragraphs_alone() {
        assert_eq!(shape("# a\n```\nb\n\n \nc\n---", Format::Plain), ["# a/```/b", "c/---"]);
        assert_eq!(shape(" \n\n", Format::Plain), Vec::<String>::new());
    }
}
