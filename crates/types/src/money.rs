//! Money in whole nano-USD. Never a float.

use std::{fmt, iter::Sum, str::FromStr};

use serde::{Deserialize, Serialize};

const NANOS: i64 = 1_000_000_000;

/// Why a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("'{0}' is not a decimal number of USD")]
    NotDecimal(String),
    /// More digits than a nano-USD can hold.
    #[error("'{0}' is finer than a nano-USD (9 decimal places)")]
    TooFine(String),
    /// Larger than i64 nano-USD (about 9.2 billion USD).
    #[error("'{0}' is too large an amount")]
    TooLarge(String),
}

/// An amount of money in nano-USD (10⁻⁹ USD).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Splits the amount by weights, exactly: each part is rounded down and what remains goes, one nano-USD each, to the
    /// first parts with a weight. All weights zero: everything to the first part. No parts: none.
    pub fn split(self, weights: &[u64]) -> Vec<Self> {
        let total: i128 = weights.iter().map(|w| i128::from(*w)).sum();
        let Some(last) = weights.len().checked_sub(1) else { return Vec::new() };
        let mut parts: Vec<i64> = if total == 0 {
            let mut parts = vec![0; last + 1];
            parts[0] = self.0;
            parts
        } else {
            let part = |w: &u64| i128::from(self.0) * i128::from(*w) / total;
            weights.iter().map(|w| i64::try_from(part(w)).unwrap_or(0)).collect()
        };
        let mut rest = self.0 - parts.iter().sum::<i64>();
        let step = rest.signum();
        for (part, _) in parts.iter_mut().zip(weights).filter(|(_, w)| **w > 0) {
            if rest == 0 {
                break;
            }
            *part += step;
            rest -= step;
        }
        parts.into_iter().map(Self).collect()
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|a| a.0).sum())
    }
}

/// A decimal number of USD without superfluous zeros, such as `0.00000002` or `150`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, magnitude) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let (whole, fraction) = (magnitude / NANOS.unsigned_abs(), magnitude % NANOS.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let (mut fraction, mut places) = (fraction, 9);
        while fraction % 10 == 0 {
            (fraction, places) = (fraction / 10, places - 1);
        }
        write!(f, "{sign}{whole}.{fraction:0places$}")
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    /// Reads a JSON number exactly, exponents included.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let not_decimal = || MoneyError::NotDecimal(text.to_owned());
        let too_large = || MoneyError::TooLarge(text.to_owned());
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((m, e)) => (m, e.parse::<i32>().map_err(|_| not_decimal())?),
            None => (text, 0),
        };
        let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |m| (true, m));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        if whole.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_decimal());
        }
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let places = i32::try_from(fraction.len()).map_err(|_| not_decimal())?;
        // the value is digits × 10^shift nano-USD
        let shift = 9_i32.checked_add(exponent).and_then(|s| s.checked_sub(places)).ok_or_else(too_large)?;
        let (digits, zeros) = if shift < 0 {
            let cut = usize::try_from(-i64::from(shift)).unwrap_or(usize::MAX);
            let kept = digits.len().saturating_sub(cut);
            if digits[kept..].bytes().any(|b| b != b'0') {
                return Err(MoneyError::TooFine(text.to_owned()));
            }
            (&digits[..kept], 0)
        } else {
            (digits, u32::try_from(shift).unwrap_or(u32::MAX))
        };
        if digits.is_empty() {
            return Ok(Self::ZERO);
        }
        let magnitude: i64 = digits.parse().map_err(|_| too_large())?;
        let nanos = 10_i64.checked_pow(zeros).and_then(|p| magnitude.checked_mul(p)).ok_or_else(too_large)?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

/// A number of model tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenCount(pub u64);

impl Sum for TokenCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        Self(counts.map(|c| c.0).sum())
    }
}

/// What a million tokens cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(pub NanoUsd);

impl Price {
    /// The cost of `tokens`, rounded up to a whole nano-USD; the largest amount when it does not fit.
    pub fn cost(self, tokens: TokenCount) -> NanoUsd {
        let exact = i128::from(self.0.0) * i128::from(tokens.0);
        NanoUsd(
            i64::try_from(exact.div_euclid(1_000_000) + i128::from(exact.rem_euclid(1_000_000) > 0))
                .unwrap_or(i64::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimal_numbers_are_read_exactly() {
        for (text, nanos) in [
            ("150.0", 150_000_000_000),
            ("0.00000002", 20),
            ("1e-9", 1),
            ("2.5E2", 250_000_000_000),
            ("0", 0),
            ("-0.5", -500_000_000),
            ("10000000000e-1", 1_000_000_000_000_000_000),
            ("0e-400", 0),
        ] {
            assert_eq!(text.parse(), Ok(NanoUsd(nanos)), "{text}");
        }
        for bad in ["", "x", ".5", "1e", "0.0000000001", "1e-10", "9300000000", "1e400", "NaN", "0x1"] {
            assert!(bad.parse::<NanoUsd>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cost_is_rounded_up() {
        let small = Price(NanoUsd(20_000_000)); // 0.02 USD per million
        assert_eq!(small.cost(TokenCount(1)), NanoUsd(20));
        assert_eq!(Price(NanoUsd(1)).cost(TokenCount(1)), NanoUsd(1));
        assert_eq!(Price(NanoUsd(1)).cost(TokenCount(1_000_001)), NanoUsd(2));
        assert_eq!(Price::default().cost(TokenCount(u64::MAX)), NanoUsd::ZERO);
    }

    proptest! {
        #[test]
        fn printing_and_reading_agree(nanos: i64) {
            let money = NanoUsd(nanos.max(-i64::MAX));
            prop_assert_eq!(money.to_string().parse(), Ok(money));
        }

        #[test]
        fn a_split_loses_nothing(nanos in 0..i64::MAX / 2, weights in prop::collection::vec(0_u64..1_000_000, 1..50)) {
            let parts = NanoUsd(nanos).split(&weights);
            prop_assert_eq!(parts.len(), weights.len());
            prop_assert_eq!(parts.iter().copied().sum::<NanoUsd>(), NanoUsd(nanos));
            prop_assert!(parts.iter().all(|p| p.0 >= 0));
        }
    }
}
