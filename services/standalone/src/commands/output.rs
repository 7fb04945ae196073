//! What reaches the terminal. Texts of others are stripped of what could steer it.

use std::{
    fmt::Display,
    io::{self, Write},
};

use console::{Term, measure_text_width, truncate_str};

/// Columns where there is no terminal to ask.
const COLUMNS_OF_A_FILE: usize = 120;

/// Writes a result. A reader that has seen enough (`| head`) is no error.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes an error.
pub(crate) fn complain(error: &dyn Display) {
    let _unread = writeln!(io::stderr(), "error: {error}");
}

/// Columns of the terminal.
pub(crate) fn columns() -> usize {
    Term::stdout().size_checked().map_or(COLUMNS_OF_A_FILE, |(_, columns)| usize::from(columns))
}

/// A text on one line: whitespace runs become one space, and characters that steer terminals or reorder a line are dropped.
pub(crate) fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !steers(*c)));
    }
    line
}

/// A printable text in at most `columns`, wide characters counted as two.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    // four bytes and more for each column cannot matter, and stored texts can be megabytes
    let head: String = text.chars().take(columns.saturating_mul(8).max(64)).collect();
    truncate_str(&printable(&head), columns, "…").into_owned()
}

/// As `fit`, but keeps the end: of a path the last part says most.
pub(crate) fn fit_end(text: &str, columns: usize) -> String {
    let text = printable(text);
    if measure_text_width(&text) <= columns {
        return text;
    }
    let room = columns.saturating_sub(1);
    let mut ends = text.char_indices().map(|(at, _)| &text[at..]);
    let end = ends.find(|end| measure_text_width(end) <= room).unwrap_or_default();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stored_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\tb\r\n c\u{202e}d\u{7}"), "a[31m b cd");
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(fit("漢字漢字", 5), "漢字…");
        assert_eq!(fit("🦀🦀", 4), "🦀🦀");
        assert_eq!(fit("plain", 5), "plain");
        assert_eq!(fit("plain", 4), "pla…");
        assert_eq!(fit_end("a/漢字.md", 7), "…字.md");
        assert_eq!(fit_end("a.md", 4), "a.md");
    }

    proptest! {
        #[test]
        fn a_cut_text_fits_and_is_one_line(text in "(?s).{0,80}", columns in 1_usize..60) {
            let line = fit(&text, columns);
            prop_assert!(measure_text_width(&line) <= columns);
            prop_assert!(measure_text_width(&fit_end(&text, columns)) <= columns);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
