//! United States social security numbers.
//!
//! Never assigned (SSA POMS RM 10201.035): area 000, 666 or 900-999, group 00, serial 0000. Since 2011 the rest is
//! handed out at random, so nothing else can be ruled out.

use std::ops::Range;

use crate::context::Words;
use crate::digits::{Join, Window};

const WORDS: Words = Words {
    hints: &["ssn", "ssns", "social", "socsec"],
    prefixes: &["ssn", "socialsecurity"],
    vetoes: &["order", "invoice", "ticket", "sku", "tracking", "isbn"],
};

/// A number that starts at the window's first group: `123-45-6789` with one kind of separator, or nine bare digits
/// beside a word that says so.
pub(crate) fn find(window: &Window<'_>) -> Option<Range<usize>> {
    if window.has_lens(&[3, 2, 4]) { separated(window) } else { bare(window) }
}

fn separated(window: &Window<'_>) -> Option<Range<usize>> {
    let [area, group, serial, ..] = window.groups else { return None };
    let separator = area.after;
    // after dashes a space ends the number, after spaces it goes on
    let apart = |join| {
        !matches!(join, Join::Dash | Join::Dot)
            && (join != separator || !matches!(join, Join::Space | Join::LooseDash))
    };
    let shaped = matches!(separator, Join::Dash | Join::LooseDash | Join::Space | Join::Dot)
        && group.after == separator
        && apart(window.before)
        && apart(serial.after)
        && assignable(window.digits(0), window.digits(1), window.digits(2));
    (shaped && is_apart(window, window.span(2))).then(|| window.span(2))
}

fn bare(window: &Window<'_>) -> Option<Range<usize>> {
    let group = window.first();
    let apart = |join: Join| !matches!(join, Join::Dash | Join::Dot | Join::Slash);
    let shaped = group.len() == 9 && apart(window.before) && apart(group.after);
    let digits = window.digits(0);
    let span = window.span(0);
    (shaped
        && assignable(&digits[..3], &digits[3..5], &digits[5..])
        && is_apart(window, span.clone())
        && WORDS.near(window.text, span.start, span.end))
    .then_some(span)
}

/// Not a piece of a code, unless the piece before it is the label: `SKU-123-45-6789` against `SSN-123-45-6789`.
fn is_apart(window: &Window<'_>, span: Range<usize>) -> bool {
    !window.glued_after(span.end) && (!window.glued_before(span.start) || labelled(window, span.start))
}

fn labelled(window: &Window<'_>, start: usize) -> bool {
    let label = match window.previous(start) {
        Some(b'-' | b'_') => start - 1,
        _ => start,
    };
    let head = &window.text[..label];
    let word = &head[head.len().saturating_sub(4)..];
    let word = if word.len() == 4 && !word[0].is_ascii_alphanumeric() { &word[1..] } else { word };
    word.eq_ignore_ascii_case(b"ssn")
}

fn assignable(area: &[u8], group: &[u8], serial: &[u8]) -> bool {
    area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000"
}

#[cfg(test)]
mod tests {
    use crate::Entity::UsSsn;
    use crate::detect::testing::{found, none};

    #[test]
    fn assignable_numbers_are_found() {
        for (text, value) in [
            ("123-45-6789", "123-45-6789"),
            ("My SSN is 536-22-1234.", "536-22-1234"),
            ("(899-99-9999)", "899-99-9999"),
            ("a,001-01-0001,b", "001-01-0001"),
            ("123 45 6789", "123 45 6789"),
            ("123.45.6789", "123.45.6789"),
            ("123 - 45 - 6789", "123 - 45 - 6789"),
            ("SSN 123-45-6789 - 1980-01-02", "123-45-6789"),
            ("1 - 123-45-6789", "123-45-6789"),
            ("ssn 536221234 - active", "536221234"),
            ("ssn 536221234 - 1980", "536221234"),
            ("His SSN—123-45-6789—was leaked", "123-45-6789"),
            ("in 2024 123-45-6789 12", "123-45-6789"),
            ("SSN-123-45-6789", "123-45-6789"),
            ("ssn123-45-6789", "123-45-6789"),
            ("号码123-45-6789。", "123-45-6789"),
            ("social security number 536221234", "536221234"),
            ("{\"ssn\": 536221234}", "536221234"),
            ("１２３-４５-６７８９", "１２３-４５-６７８９"),
            ("123\u{2013}45\u{2013}6789", "123\u{2013}45\u{2013}6789"),
            ("123\u{200B}-45-67\u{200D}89", "123\u{200B}-45-67\u{200D}89"),
            ("123\u{A0}45\u{A0}6789", "123\u{A0}45\u{A0}6789"),
            ("١٢٣-٤٥-٦٧٨٩", "١٢٣-٤٥-٦٧٨٩"),
        ] {
            found(&UsSsn, text, value);
        }
    }

    #[test]
    fn impossible_numbers_and_pieces_of_longer_codes_are_not() {
        for text in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "999-99-9999",
            "123-00-4567",
            "123-45-0000",
            "ssn 000123456",
            "ssn 987654321",
            "ssn 123004567",
            "SKU-123-45-6789",
            "123-45-6789-01",
            "123 - 45 - 6789 - 12",
            "01-123-45-6789",
            "A123-45-6789",
            "123-45-6789A",
            "123-45-6789-X",
            "id_123-45-6789",
            "123-45-6789_2",
            "5123-45-6789",
            "123-45-67890",
            "123-45-6789.5",
            "1.123-45-6789",
            "123-45 6789",
            "123 45-6789",
            "123/45/6789",
            "123 45 6789 12",
            "9 123 45 6789",
            "536221234",
            "order 536221234",
            "my ssn order 536221234",
            "1１23–45\u{200B}–6789",
            "xssn-123-45-6789",
        ] {
            none(&UsSsn, text);
        }
    }
}
