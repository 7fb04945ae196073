//! Groups of digits and what joins them: the raw material of every numeric entity.
//!
//! One pass finds each group; a numeric entity is a function that says whether one of its own *starts* at a group.
//! It sees a bounded number of groups, so the whole is linear whatever the text.

use std::ops::Range;

/// How many groups an entity may span. `+49 (0) 30 12 34 56 78` has eight.
pub(crate) const LOOKAHEAD: usize = 8;
/// Fewer bytes than this from the first digit to the last make no entity.
const MIN_BYTES: usize = 7;
const CAPACITY: usize = 64;
const BLOCK: usize = 64;

/// What stands between a group of digits and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Anything else, or nothing: the groups do not belong together.
    None,
    Space,
    Dash,
    /// A dash between spaces: inside a number, or between it and what follows.
    LooseDash,
    Dot,
    Slash,
    /// `(`, perhaps after a space.
    Open,
    /// `)`, perhaps before a space, dash, dot or slash.
    Close,
}

/// Consecutive digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The join to the next group.
    pub(crate) after: Join,
}

impl Group {
    pub(crate) const fn len(&self) -> usize {
        self.end - self.start
    }
}

/// A group and the few that follow it.
#[derive(Clone, Copy)]
pub(crate) struct Window<'t> {
    pub(crate) text: &'t [u8],
    /// The join of the previous group to the first.
    pub(crate) before: Join,
    /// Never empty, at most [`LOOKAHEAD`].
    pub(crate) groups: &'t [Group],
}

impl<'t> Window<'t> {
    /// The first group.
    pub(crate) fn first(&self) -> Group {
        self.groups[0]
    }

    /// Bytes of one group.
    pub(crate) fn digits(&self, index: usize) -> &'t [u8] {
        &self.text[self.groups[index].start..self.groups[index].end]
    }

    /// Whether the first `lens.len()` groups have these lengths.
    pub(crate) fn has_lens(&self, lens: &[usize]) -> bool {
        self.groups.len() >= lens.len()
            && self.groups.iter().zip(lens).all(|(group, len)| group.len() == *len)
    }

    /// The byte before `at`.
    pub(crate) fn previous(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).map(|p| self.text[p])
    }

    /// Whether what ends before `start` is part of the same word or code: `SKU-123`, `x123`, `_123`.
    pub(crate) fn glued_before(&self, start: usize) -> bool {
        match self.previous(start) {
            Some(b'-') => self.previous(start - 1).is_some_and(is_word),
            Some(byte) => is_word(byte),
            None => false,
        }
    }

    /// Whether what begins at `end` is part of the same word or code: `123-A`, `123x`, `123_`.
    pub(crate) fn glued_after(&self, end: usize) -> bool {
        match self.text.get(end) {
            Some(b'-') => self.text.get(end + 1).copied().is_some_and(is_word),
            Some(&byte) => is_word(byte),
            None => false,
        }
    }

    /// From the first group to `last`.
    pub(crate) fn span(&self, last: usize) -> Range<usize> {
        self.groups[0].start..self.groups[last].end
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Calls `visit` with the window of every group that could begin a number of some length.
pub(crate) fn for_each_window(text: &str, mut visit: impl FnMut(Window<'_>)) {
    let text = text.as_bytes();
    let mut ring = [Group { start: 0, end: 0, after: Join::None }; CAPACITY];
    let mut from = 0;
    while let Some(first) = next_digit(text, from) {
        let (mut head, mut len, mut next, mut before) = (0, 0, Some(first), Join::None);
        loop {
            if head + LOOKAHEAD > len && next.is_some() {
                ring.copy_within(head..len, 0);
                len -= head;
                head = 0;
                while let Some(start) = next.filter(|_| len < CAPACITY) {
                    let end = end_of_digits(text, start);
                    let (after, width) = join(&text[end..]);
                    ring[len] = Group { start, end, after };
                    len += 1;
                    next = (after != Join::None).then_some(end + width);
                    from = end;
                }
            }
            if head == len {
                break;
            }
            let groups = &ring[head..len.min(head + LOOKAHEAD)];
            if groups[groups.len() - 1].end - groups[0].start >= MIN_BYTES {
                visit(Window { text, before, groups });
            }
            before = ring[head].after;
            head += 1;
        }
    }
}

fn next_digit(text: &[u8], mut from: usize) -> Option<usize> {
    // whole blocks first: the fold has no early exit, so it is vectorised
    while let Some(block) = text.get(from..from + BLOCK) {
        if block.iter().fold(false, |any, byte| any | byte.is_ascii_digit()) {
            break;
        }
        from += BLOCK;
    }
    text[from..].iter().position(u8::is_ascii_digit).map(|offset| from + offset)
}

fn end_of_digits(text: &[u8], start: usize) -> usize {
    text[start..].iter().position(|byte| !byte.is_ascii_digit()).map_or(text.len(), |offset| start + offset)
}

/// The join at the start of `rest`, and its width; a digit follows it.
fn join(rest: &[u8]) -> (Join, usize) {
    let (join, width) = match rest {
        [b'-', b'0'..=b'9', ..] => (Join::Dash, 1),
        [b' ', b'0'..=b'9', ..] => (Join::Space, 1),
        [b'.', b'0'..=b'9', ..] => (Join::Dot, 1),
        [b'/', b'0'..=b'9', ..] => (Join::Slash, 1),
        [b'(', b'0'..=b'9', ..] => (Join::Open, 1),
        [b')', b'0'..=b'9', ..] => (Join::Close, 1),
        [b' ' | b'-', b'(', b'0'..=b'9', ..] => (Join::Open, 2),
        [b')', b' ' | b'-' | b'.' | b'/', b'0'..=b'9', ..] => (Join::Close, 2),
        [b' ', b' ', b'0'..=b'9', ..] => (Join::Space, 2),
        [b' ', b'-', b' ', b'0'..=b'9', ..] => (Join::LooseDash, 3),
        [b')', b' ', b'-', b' ', b'0'..=b'9', ..] => (Join::Close, 4),
        _ => (Join::None, 0),
    };
    (join, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(text: &str) -> Vec<(Join, Vec<(String, Join)>)> {
        let mut seen = Vec::new();
        for_each_window(text, |window| {
            let groups = window.groups.iter().map(|g| (text[g.start..g.end].to_owned(), g.after)).collect();
            seen.push((window.before, groups));
        });
        seen
    }

    #[test]
    fn groups_joined_by_one_separator_are_one_run() {
        let seen = windows("a 1 (415) 555-0132, 22 - 33.44/5 6x");
        let group = |digits: &str, after| (digits.to_owned(), after);
        assert_eq!(
            seen[0],
            (
                Join::None,
                vec![
                    group("1", Join::Open),
                    group("415", Join::Close),
                    group("555", Join::Dash),
                    group("0132", Join::None)
                ]
            )
        );
        assert_eq!(seen[1].0, Join::Open);
        assert_eq!(
            seen[3],
            (
                Join::None,
                vec![
                    group("22", Join::LooseDash),
                    group("33", Join::Dot),
                    group("44", Join::Slash),
                    group("5", Join::Space),
                    group("6", Join::None)
                ]
            )
        );
    }

    #[test]
    fn a_long_run_shows_every_group_once_with_full_lookahead() {
        let text = (0..500).map(|n| format!("{n:03}")).collect::<Vec<_>>().join("-");
        let seen = windows(&text);
        assert_eq!(seen.len(), 499, "the last group alone is too short");
        for (index, (_, groups)) in seen.iter().enumerate() {
            assert_eq!(groups[0].0, format!("{index:03}"));
            assert_eq!(groups.len(), LOOKAHEAD.min(500 - index));
        }
    }

    #[test]
    fn digits_are_found_wherever_they_stand_in_a_block() {
        for pad in 0..200 {
            let text = format!("{}1234567{}", "x".repeat(pad), "y".repeat(pad));
            assert_eq!(windows(&text).len(), 1, "{pad}");
        }
    }
}
