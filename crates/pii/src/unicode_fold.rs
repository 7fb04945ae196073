//! What a single non-ASCII character is read as: dropped, a dash, a digit, a space, or its NFKC form.
//!
//! NFKC alone leaves en dashes, zero-width characters and most scripts' digits alone, so general categories come first.
//! The category tables are those of `regex-syntax`, so that they age with it and not with this file.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// How one character is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// As it is.
    Keep,
    /// Invisible: left out.
    Drop,
    /// One ASCII character.
    Ascii(char),
    /// Its compatibility form, to be had from [`compatibility`].
    Compatibility,
}

#[derive(Clone, Copy)]
enum Category {
    Invisible,
    Dash,
    Digit,
    Space,
}

struct Span {
    first: u32,
    last: u32,
    category: Category,
}

/// Sorted and disjoint. The keycap and the two minus-like signs are in no category that says what a reader sees.
static SPANS: LazyLock<Vec<Span>> = LazyLock::new(|| {
    let classes = [
        (r"[[\p{Cf}\p{Default_Ignorable_Code_Point}\x{20E3}]--\p{Nd}]", Category::Invisible),
        (r"[[\p{Pd}\x{2212}\x{2043}]--[\x{2014}\x{2015}\x{2E3A}\x{2E3B}\x{FE31}\x{FE58}]]", Category::Dash),
        (r"\p{Nd}", Category::Digit),
        // em dashes and longer ones stand between clauses, with or without spaces
        (r"[\p{Zs}\x{2014}\x{2015}\x{2E3A}\x{2E3B}\x{FE31}\x{FE58}]", Category::Space),
    ];
    let mut spans: Vec<Span> =
        classes.into_iter().flat_map(|(class, category)| spans_of(class, category)).collect();
    spans.sort_unstable_by_key(|span| span.first);
    spans
});

fn spans_of(class: &str, category: Category) -> Vec<Span> {
    match regex_syntax::parse(class).map(|hir| hir.into_kind()) {
        Ok(HirKind::Class(Class::Unicode(class))) => class
            .ranges()
            .iter()
            .map(|range| Span { first: range.start().into(), last: range.end().into(), category })
            .collect(),
        // the patterns are constants; `every_category_is_filled` keeps this arm dead
        _ => Vec::new(),
    }
}

/// Scripts in bulk use whose every character stays as it is; saves the lookups below.
const fn is_settled(c: char) -> bool {
    matches!(c, '\u{C0}'..='\u{131}' | '\u{391}'..='\u{3A1}' | '\u{3AC}'..='\u{3CE}' | '\u{400}'..='\u{45F}'
        | '\u{3041}'..='\u{3096}' | '\u{30A1}'..='\u{30FA}' | '\u{4E00}'..='\u{9FFF}' | '\u{AC00}'..='\u{D7A3}')
}

/// How `c` is folded.
pub(crate) fn fold(c: char) -> Fold {
    if c.is_ascii() || is_settled(c) {
        return Fold::Keep;
    }
    match category(c) {
        Some((Category::Invisible, _)) => Fold::Drop,
        Some((Category::Dash, _)) => Fold::Ascii('-'),
        Some((Category::Space, _)) => Fold::Ascii(' '),
        // Unicode keeps decimal digits in runs of ten from zero, so a range's start is always a zero
        Some((Category::Digit, offset)) => char::from_digit(offset % 10, 10).map_or(Fold::Keep, Fold::Ascii),
        None if is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes => Fold::Keep,
        None => Fold::Compatibility,
    }
}

/// The NFKC form of one character, folded again (a fullwidth form can be a space or a dash).
pub(crate) fn compatibility(c: char) -> impl Iterator<Item = char> {
    std::iter::once(c).nfkc().filter_map(|c| match fold(c) {
        Fold::Drop => None,
        Fold::Ascii(ascii) => Some(ascii),
        Fold::Keep | Fold::Compatibility => Some(c),
    })
}

/// Whether `c` may fold to ASCII digits. A superset, for the gate.
pub(crate) fn may_become_digits(c: char) -> bool {
    // the ranges are ideographic months, hours and days ("12月") and squared units, which no category calls numeric
    c.is_numeric() || matches!(c, '\u{32C0}'..='\u{32CB}' | '\u{3358}'..='\u{33FF}')
}

/// Whether `c` folds to `@`.
pub(crate) const fn may_become_at(c: char) -> bool {
    matches!(c, '\u{FF20}' | '\u{FE6B}')
}

fn category(c: char) -> Option<(Category, u32)> {
    let code = u32::from(c);
    let spans = &*SPANS;
    let span = &spans[spans.partition_point(|span| span.first <= code).checked_sub(1)?];
    (code <= span.last).then(|| (span.category, code - span.first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::MAX_DIGITS_PER_CHAR;

    fn folded(c: char) -> String {
        match fold(c) {
            Fold::Keep => c.to_string(),
            Fold::Drop => String::new(),
            Fold::Ascii(ascii) => ascii.to_string(),
            Fold::Compatibility => compatibility(c).collect(),
        }
    }

    #[test]
    fn every_category_is_filled() {
        let cases = [
            ('\u{200B}', ""),
            ('\u{200D}', ""),
            ('\u{FEFF}', ""),
            ('\u{AD}', ""),
            ('\u{FE0F}', ""),
            ('\u{2060}', ""),
            ('\u{2010}', "-"),
            ('\u{2011}', "-"),
            ('\u{2013}', "-"),
            ('\u{2014}', " "),
            ('\u{2015}', " "),
            ('\u{FE58}', " "),
            ('\u{FF0D}', "-"),
            ('\u{2212}', "-"),
            ('٤', "4"),
            ('९', "9"),
            ('０', "0"),
            ('９', "9"),
            ('\u{1D7D7}', "9"),
            ('\u{1D7D8}', "0"),
            ('\u{1FBF3}', "3"),
            ('\u{A0}', " "),
            ('\u{202F}', " "),
            ('\u{3000}', " "),
            ('\u{2007}', " "),
            ('＠', "@"),
            ('．', "."),
            ('＋', "+"),
            ('（', "("),
            ('ａ', "a"),
            ('①', "1"),
            ('²', "2"),
            ('㏾', "31日"),
            ('é', "é"),
            ('漢', "漢"),
            ('한', "한"),
            ('я', "я"),
        ];
        for (c, expected) in cases {
            assert_eq!(folded(c), expected, "{:04x}", u32::from(c));
        }
    }

    #[test]
    fn what_the_gate_and_the_bulk_ranges_assume_holds_for_every_character() {
        for c in '\u{80}'..=char::MAX {
            let text = folded(c);
            let digits = text.bytes().filter(u8::is_ascii_digit).count();
            assert!(digits == 0 || may_become_digits(c), "{:04x} {text}", u32::from(c));
            assert!(digits <= MAX_DIGITS_PER_CHAR, "{:04x} {text}", u32::from(c));
            assert!(!text.contains('@') || may_become_at(c), "{:04x}", u32::from(c));
            if is_settled(c) {
                assert!(category(c).is_none(), "{:04x}", u32::from(c));
                assert_eq!(is_nfkc_quick(std::iter::once(c)), IsNormalized::Yes, "{:04x}", u32::from(c));
            }
        }
    }
}
