//! The cheap first look: most text holds neither an `@` nor enough digits to be worth a second one.

use crate::unicode_fold;

/// Fewer digits than this anywhere in the text make no number that any entity knows.
const MIN_DIGITS: usize = 6;
/// No single character folds to more digits than this (U+2152 is "1/10").
pub(crate) const MAX_DIGITS_PER_CHAR: usize = 3;
/// Counts are kept in bytes per block so that the compiler vectorises the loop.
const BLOCK: usize = 128;

/// Whether a text could hold a built-in entity, before or after normalisation. Never wrong when it says no.
pub(crate) fn may_hold_any(text: &str) -> bool {
    let mut digits = 0;
    let mut wide = false;
    for block in text.as_bytes().chunks(BLOCK) {
        let (mut block_digits, mut at, mut high) = (0_u8, false, false);
        for byte in block {
            block_digits += u8::from(byte.is_ascii_digit());
            at |= *byte == b'@';
            high |= *byte >= 0x80;
        }
        digits += usize::from(block_digits);
        wide |= high;
        if at || digits >= MIN_DIGITS {
            return true;
        }
    }
    wide && wide_may_hold(text, digits)
}

fn wide_may_hold(text: &str, mut digits: usize) -> bool {
    for c in text.chars().filter(|c| !c.is_ascii()) {
        if unicode_fold::may_become_at(c) {
            return true;
        }
        if unicode_fold::may_become_digits(c) {
            digits += MAX_DIGITS_PER_CHAR;
        }
    }
    digits >= MIN_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_an_at_sign_or_six_digits_in_any_script() {
        for open in ["a@b", "in 2024 and 25", "٤٥٦", "123４56", "a＠b", "x²x²"] {
            assert!(may_hold_any(open), "{open}");
        }
        for shut in ["", "plain words", "12345", "naïve – café", "漢字かな 2024", &"é".repeat(500)] {
            assert!(!may_hold_any(shut), "{shut}");
        }
        assert!(may_hold_any(&format!("{}1234{}56", "x".repeat(300), "y".repeat(300))));
    }
}
