//! Payment card numbers: an issuer's prefix with a length that issuer uses, and the Luhn check digit.

use std::ops::Range;

use crate::context::Words;
use crate::digits::{Join, Window};

const MIN_DIGITS: usize = 12;
const MAX_DIGITS: usize = 19;

const WORDS: Words = Words {
    hints: &[
        "card",
        "cards",
        "cc",
        "pan",
        "visa",
        "amex",
        "maestro",
        "mastercard",
        "discover",
        "credit",
        "debit",
    ],
    prefixes: &["card", "credit", "debit", "payment"],
    vetoes: &["order", "invoice", "ticket", "sku", "tracking", "isbn", "id"],
};

/// A card number that starts at the window's first group, in one piece or in the groups that cards are printed in.
pub(crate) fn find(window: &Window<'_>) -> Option<Range<usize>> {
    let first = window.first().len();
    let last = match first {
        MIN_DIGITS..=MAX_DIGITS => bare(window)?,
        4 => grouped(window)?,
        _ => return None,
    };
    let span = window.span(last);
    (!window.glued_before(span.start) && !window.glued_after(span.end)).then_some(span)
}

/// Ids of 12, 13 and 17 to 19 digits are everywhere and cards of these lengths rare: a tenth of those that begin like a
/// card pass the check digit, so only a word nearby makes them one.
fn bare(window: &Window<'_>) -> Option<usize> {
    let group = window.first();
    let apart = |join: Join| !matches!(join, Join::Dash | Join::Dot);
    if !apart(window.before) || !apart(group.after) || !is_card(window.digits(0)) {
        return None;
    }
    let usual = (14..=16).contains(&group.len());
    (usual || WORDS.near(window.text, group.start, group.end)).then_some(0)
}

fn grouped(window: &Window<'_>) -> Option<usize> {
    let separator = window.first().after;
    // after spaces anything may follow (an expiry date), between them a dash too; a tight dash or dot would make it a longer code
    let apart = |join: Join| !matches!(join, Join::Dash | Join::Dot);
    if !matches!(separator, Join::Space | Join::Dash | Join::LooseDash | Join::Dot) || !apart(window.before) {
        return None;
    }
    let mut digits = [0; MAX_DIGITS];
    let mut len = 0;
    let mut longest = None;
    for (index, group) in window.groups.iter().enumerate() {
        let Some(room) = digits.get_mut(len..len + group.len()) else { break };
        room.copy_from_slice(window.digits(index));
        len += group.len();
        if is_printed_as(window, index) && apart(group.after) && is_card(&digits[..len]) {
            longest = Some(index);
        }
        if group.after != separator {
            break;
        }
    }
    longest
}

/// Fours with a shorter last group, or the 4-6-5 and 4-6-4 of American Express and Diners, or 4-4-5.
fn is_printed_as(window: &Window<'_>, last: usize) -> bool {
    let lens = |expected: [usize; 3]| last == 2 && window.has_lens(&expected);
    let fours = last >= 2 && window.groups[..last].iter().all(|group| group.len() == 4);
    (fours && window.groups[last].len() <= 4) || lens([4, 6, 5]) || lens([4, 6, 4]) || lens([4, 4, 5])
}

fn is_card(digits: &[u8]) -> bool {
    (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len()) && is_issued(digits) && passes_luhn(digits)
}

/// Whether some network issues numbers with this prefix in this length.
fn is_issued(digits: &[u8]) -> bool {
    let prefix =
        |len: usize| digits[..len].iter().fold(0_u32, |value, byte| value * 10 + u32::from(byte - b'0'));
    let len = digits.len();
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    match (two, len) {
        (40..=49, 13 | 16 | 19) => true,                                    // Visa
        (51..=55, 16) => true,                                              // Mastercard
        (22..=27, 16) if (2221..=2720).contains(&four) => true,             // Mastercard, 2-series
        (34 | 37, 15) => true,                                              // American Express
        (36 | 38 | 39, 14 | 16) => true,                                    // Diners Club
        (30, 14 | 16) => three <= 305 || four == 3095,                      // Diners Club
        (35, 16..=19) => true,                                              // JCB
        (18 | 21, 15) => four == 1800 || four == 2131,                      // JCB, older
        (65, 16..=19) => true,                                              // Discover
        (64, 16..=19) => three >= 644,                                      // Discover
        (62 | 81, 16..=19) => true,                                         // UnionPay
        (22, 16..=19) => (2200..=2204).contains(&four),                     // Mir
        (56..=58 | 67, _) => true,                                          // Maestro
        (97, 16) => four == 9792,                                           // Troy
        (60, 16) => true,                                                   // Discover, RuPay
        (60, 17..=19) => four == 6011,                                      // Discover
        (50, 16) if three == 508 => true,                                   // RuPay
        _ => matches!(four, 604 | 5018 | 5020 | 5038 | 5893 | 6304 | 6390), // Maestro
    }
}

/// Luhn's check (ISO/IEC 7812-1): from the right, every second digit doubled, digits summed, divisible by ten.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = u32::from(byte - b'0');
            if index % 2 == 0 { digit } else { digit * 2 - u32::from(digit > 4) * 9 }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests;
