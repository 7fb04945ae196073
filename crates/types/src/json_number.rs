//! Which numbers of a JSON text are kept.

/// Digits and all; PostgreSQL's `numeric` holds far more, nobody's metadata does.
const MAX_BYTES: usize = 300;
/// More than any double has. Also of zero: `jsonb` refuses `0e99999`.
const MAX_EXPONENT: i32 = 400;

/// Whether a number, as JSON spells it, can be stored as `jsonb` and read as a double that is neither infinite nor rounded to nothing.
///
/// Whoever takes metadata asks this, so that none is refused after it has been paid for.
pub fn is_kept_number(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let is_zero = mantissa.bytes().all(|b| matches!(b, b'0' | b'.' | b'-'));
    text.len() <= MAX_BYTES
        && exponent.parse::<i32>().is_ok_and(|exponent| exponent.abs() <= MAX_EXPONENT)
        && text.parse::<f64>().is_ok_and(|x| x.is_finite() && (x != 0.0 || is_zero))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_double_holds_are_kept() {
        let long = "9".repeat(300);
        for kept in ["0", "-0.0", "0.0e-5", "1e305", "-1E+308", "5e-324", "1.7976931348623157e308", &long] {
            assert!(is_kept_number(kept), "{kept}");
        }
        let longer = "9".repeat(301);
        for refused in ["1e309", "1e-400", "0e401", "0e-99999999999", "1e99999999999", &longer] {
            assert!(!is_kept_number(refused), "{refused}");
        }
    }
}
