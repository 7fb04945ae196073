//! Where a text is cut when it must be: at the strongest boundary near a wished place. Only whitespace is lost, never a letter.

use std::ops::RangeInclusive;

/// What a cut divides, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Boundary {
    /// Half a card or telephone number would not be known as one when it is scrubbed.
    Number,
    Char,
    Word,
    Line,
    Sentence,
    Paragraph,
}

#[derive(Debug, Clone, Copy)]
struct Cut {
    /// End of what comes before, in bytes.
    end: usize,
    /// Start of what comes after; whitespace may lie between.
    start: usize,
    boundary: Boundary,
}

/// Divides a text into a head of at most `max` characters, as long as its boundary allows, and the rest. `None` when the whole
/// text fits. The text must not begin or end with whitespace.
pub(super) fn split_at_most(text: &str, max: usize) -> Option<(&str, &str)> {
    let (limit, _) = text.char_indices().nth(max.max(1))?;
    let cut = first_of(text, [limit / 2..=limit, 1..=limit], limit)?;
    Some((&text[..cut.end], &text[cut.start..]))
}

/// Divides a text near its middle, surrounding whitespace aside. `None` when it is a single character or nothing.
pub(crate) fn halve(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let (quarter, middle) = (text.len() / 4, text.len() / 2);
    let windows = [quarter.max(1)..=text.len() - quarter, 1..=text.len()];
    let cut = first_of(text, windows, middle)?;
    Some((&text[..cut.end], &text[cut.start..]))
}

/// The best cut of the first window that has one outside numbers, else of the first that has any.
fn first_of(text: &str, windows: [RangeInclusive<usize>; 2], wish: usize) -> Option<Cut> {
    let mut inside = None;
    for window in windows {
        let cut = best(text, window, wish);
        if cut.is_some_and(|cut| cut.boundary > Boundary::Number) {
            return cut;
        }
        inside = inside.or(cut);
    }
    inside
}

/// The strongest cut that ends in the window, and of those the one nearest to `wish`.
fn best(text: &str, window: RangeInclusive<usize>, wish: usize) -> Option<Cut> {
    Cuts { text, at: 0, previous: None }
        .take_while(|cut| cut.end <= *window.end())
        .filter(|cut| window.contains(&cut.end))
        .max_by_key(|cut| (cut.boundary, std::cmp::Reverse(cut.end.abs_diff(wish))))
}

/// Every place between two characters that are not whitespace, in order.
struct Cuts<'a> {
    text: &'a str,
    at: usize,
    previous: Option<char>,
}

impl Iterator for Cuts<'_> {
    type Item = Cut;

    fn next(&mut self) -> Option<Cut> {
        loop {
            let rest = &self.text[self.at..];
            let after_space = rest.trim_start();
            let next = after_space.chars().next()?;
            let space = &rest[..rest.len() - after_space.len()];
            let (end, start) = (self.at, self.at + space.len());
            self.at = start + next.len_utf8();
            if let Some(previous) = self.previous.replace(next) {
                return Some(Cut { end, start, boundary: boundary(previous, space, next) });
            }
        }
    }
}

fn boundary(previous: char, space: &str, next: char) -> Boundary {
    let newlines = space.bytes().filter(|b| *b == b'\n').count();
    let ends_sentence = match previous {
        '。' | '！' | '？' | '．' => true,
        '.' | '!' | '?' | '…' => !space.is_empty(),
        _ => false,
    };
    match (newlines, ends_sentence) {
        (2.., _) => Boundary::Paragraph,
        (_, true) => Boundary::Sentence,
        (1, _) => Boundary::Line,
        _ if is_number(previous) && is_number(next) => Boundary::Number,
        _ if !space.is_empty() => Boundary::Word,
        _ => Boundary::Char,
    }
}

/// Whether it may stand at an edge of a group of a number.
fn is_number(c: char) -> bool {
    c.is_numeric() || matches!(c, '+' | '(' | ')')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_fits_is_left_alone() {
        assert_eq!(split_at_most("naïve", 5), None);
        assert_eq!(split_at_most("", 5), None);
    }

    #[test]
    fn the_strongest_boundary_in_reach_wins() {
        for (text, head, tail) in [
            ("one two three.\n\nfour. five six", "one two three.", "four. five six"),
            ("one two three. four five six", "one two three.", "four five six"),
            ("one two three\nfour five six", "one two three", "four five six"),
            ("onetwothreefourfive six", "onetwothreefourfive", "six"),
            ("onetwothreefourfivesixseven", "onetwothreefourfives", "ixseven"),
            (
                "一二三四五六七八九十。一二三四五六七八九十一二三",
                "一二三四五六七八九十。",
                "一二三四五六七八九十一二三",
            ),
            ("a card 4111 1111 1111 1111", "a card", "4111 1111 1111 1111"),
            ("tel (020) 7946 0958 now", "tel (020) 7946 0958", "now"),
            // a boundary in the first half would waste the room
            ("a. bcdefghij klmnopqr stuvw", "a. bcdefghij", "klmnopqr stuvw"),
        ] {
            assert_eq!(split_at_most(text, 20), Some((head, tail)), "{text}");
        }
    }

    #[test]
    fn halves_meet_near_the_middle() {
        assert_eq!(halve("  one two three four  "), Some(("one two", "three four")));
        assert_eq!(halve("first one here. second one"), Some(("first one here.", "second one")));
        assert_eq!(halve("🦀🦀"), Some(("🦀", "🦀")));
        assert_eq!(halve(" x "), None);
        assert_eq!(halve("  "), None);
        assert_eq!(halve(&format!("a{}b", " ".repeat(900))), Some(("a", "b")));
    }

    fn solid(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn a_split_keeps_every_letter_and_the_limit(text in "[a-c.。é🦀 \n\t]{0,80}", max in 1_usize..40) {
            let text = text.trim();
            match split_at_most(text, max) {
                None => prop_assert!(text.chars().count() <= max),
                Some((head, tail)) => {
                    prop_assert!(head.chars().count() <= max);
                    prop_assert!(!head.is_empty() && head.trim() == head);
                    prop_assert!(!tail.is_empty() && tail.trim() == tail);
                    prop_assert_eq!(solid(head) + &solid(tail), solid(text));
                }
            }
        }

        #[test]
        fn halving_again_and_again_ends_in_single_letters(text in "\\PC{0,60}") {
            let mut work = vec![text.trim().to_owned()];
            let mut letters = String::new();
            while let Some(text) = work.pop() {
                match halve(&text) {
                    None => letters.push_str(&text),
                    Some((head, tail)) => work.extend([tail.to_owned(), head.to_owned()]),
                }
            }
            prop_assert_eq!(letters, solid(&text));
        }
    }
}
