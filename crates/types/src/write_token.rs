//! How far the database was when a write was there, and what a read has to see.

use std::{fmt, str::FromStr};

/// A place in PostgreSQL's write-ahead log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    /// As PostgreSQL writes it: `16/B374D848`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (high, low) = text.split_once('/').ok_or(TokenError)?;
        let half = |half: &str| u32::from_str_radix(half, 16).map_err(|_| TokenError);
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

/// A place in the log of one cluster and one timeline. A fail-over begins a timeline, in which the same place of the log may hold
/// other writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// The identifier that a cluster shares with its standbys.
    pub system: u64,
    /// The timeline.
    pub timeline: u32,
    /// The place.
    pub lsn: Lsn,
}

impl Position {
    /// Whether whoever has come this far has also passed `other`. Never across clusters or timelines.
    pub fn covers(&self, other: &Self) -> bool {
        (self.system, self.timeline) == (other.system, other.timeline) && self.lsn >= other.lsn
    }
}

/// Stands for a write; a read that is given it sees the write. Opaque to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum WriteToken {
    /// Only the primary surely has the write.
    #[default]
    Primary,
    /// Whoever has come here has the write.
    At(Position),
}

/// Its text form where only the primary will do.
const PRIMARY: &str = "primary";
/// Begins the others, before 16, 8 and 16 hexadecimal digits.
const PREFIX: &str = "w1-";

/// A text is no token of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no write_token that was given out")]
pub struct TokenError;

impl WriteToken {
    /// A token for both writes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            // a later timeline may lack the end of an earlier one, so neither stands for both
            (Self::At(one), Self::At(two)) if one.covers(&two) => Self::At(one),
            (Self::At(one), Self::At(two)) if two.covers(&one) => Self::At(two),
            _ => Self::Primary,
        }
    }
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primary => f.write_str(PRIMARY),
            Self::At(Position { system, timeline, lsn }) => {
                write!(f, "{PREFIX}{system:016x}{timeline:08x}{:016x}", lsn.0)
            }
        }
    }
}

impl FromStr for WriteToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text == PRIMARY {
            return Ok(Self::Primary);
        }
        let digits = text.strip_prefix(PREFIX).ok_or(TokenError)?;
        if digits.len() != 40 || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(TokenError);
        }
        let part = |range| digits.get(range).and_then(|part| u64::from_str_radix(part, 16).ok());
        let (Some(system), Some(timeline), Some(lsn)) = (part(0..16), part(16..24), part(24..40)) else {
            return Err(TokenError);
        };
        let timeline = u32::try_from(timeline).map_err(|_| TokenError)?;
        Ok(Self::At(Position { system, timeline, lsn: Lsn(lsn) }))
    }
}

/// What a read has to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Whatever a healthy replica has.
    Eventual,
    /// The write of the token, and all before it.
    ReadYourWrites(WriteToken),
}

/// A consistency that cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// Its name is unknown.
    #[error("consistency must be eventual or read_your_writes")]
    Unknown,
    /// The token is none.
    #[error("after_token must be a write_token as it was given out")]
    Token,
    /// The token would not be obeyed.
    #[error("after_token goes with consistency read_your_writes; an eventual read may miss the write")]
    TokenOfEventual,
}

impl ConsistencyError {
    /// The field that is wrong.
    pub const fn param(self) -> &'static str {
        match self {
            Self::Unknown => "consistency",
            Self::Token | Self::TokenOfEventual => "after_token",
        }
    }
}

impl Consistency {
    /// Everything that was ever acknowledged.
    pub const PRIMARY: Self = Self::ReadYourWrites(WriteToken::Primary);

    /// From what a caller wrote. A token alone asks for its write; neither, for `default`.
    ///
    /// # Errors
    /// [`ConsistencyError`], which names the field.
    pub fn parse(
        consistency: Option<&str>,
        after_token: Option<&str>,
        default: Self,
    ) -> Result<Self, ConsistencyError> {
        let token = after_token.map(str::parse).transpose().map_err(|TokenError| ConsistencyError::Token)?;
        match (consistency, token) {
            (None, None) => Ok(default),
            (Some("eventual"), None) => Ok(Self::Eventual),
            (Some("eventual"), Some(_)) => Err(ConsistencyError::TokenOfEventual),
            (Some("read_your_writes") | None, token) => Ok(Self::ReadYourWrites(token.unwrap_or_default())),
            (Some(_), _) => Err(ConsistencyError::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(system: u64, timeline: u32, lsn: u64) -> WriteToken {
        WriteToken::At(Position { system, timeline, lsn: Lsn(lsn) })
    }

    #[test]
    fn places_are_written_as_postgresql_writes_them() {
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_b374_d848)));
        assert_eq!(Lsn(0x16_0000_0048).to_string(), "16/48");
        for wrong in ["", "/", "1/", "1/123456789", "x/1", "12"] {
            assert_eq!(wrong.parse::<Lsn>(), Err(TokenError), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let good = at(1, 2, 3).to_string();
        for wrong in
            ["", "Primary", "w1-", &good[..42], &format!("{good}0"), &good.replace("w1", "w2"), "w1-ü"]
        {
            assert_eq!(wrong.parse::<WriteToken>(), Err(TokenError), "{wrong}");
        }
        // one written form each, so that nothing is read as something else
        assert_eq!(at(0xab, 1, 1).to_string().to_uppercase().parse::<WriteToken>(), Err(TokenError));
    }

    #[test]
    fn consistencies_are_read_and_contradictions_refused() {
        let token = at(1, 1, 1);
        let (text, default) = (token.to_string(), Consistency::Eventual);
        let parse = |consistency, token| Consistency::parse(consistency, token, default);
        assert_eq!(parse(None, None), Ok(default));
        assert_eq!(parse(Some("eventual"), None), Ok(Consistency::Eventual));
        assert_eq!(parse(Some("read_your_writes"), None), Ok(Consistency::PRIMARY));
        for consistency in [None, Some("read_your_writes")] {
            assert_eq!(parse(consistency, Some(&text)), Ok(Consistency::ReadYourWrites(token)));
            assert_eq!(parse(consistency, Some("x")), Err(ConsistencyError::Token));
        }
        assert_eq!(parse(Some("eventual"), Some(&text)), Err(ConsistencyError::TokenOfEventual));
        assert_eq!(parse(Some("strong"), None), Err(ConsistencyError::Unknown));
    }

    proptest! {
        #[test]
        fn tokens_are_read_as_they_were_written(system: u64, timeline: u32, lsn: u64) {
            let token = at(system, timeline, lsn);
            prop_assert_eq!(token.to_string().parse(), Ok(token));
            prop_assert_eq!(Lsn(lsn).to_string().parse(), Ok(Lsn(lsn)));
        }

        #[test]
        fn a_token_for_both_is_covered_only_by_who_has_both(
            one in (0..2u64, 0..2u32, 0..4u64), two in (0..2u64, 0..2u32, 0..4u64), here in (0..2u64, 0..2u32, 0..4u64),
        ) {
            let position = |(system, timeline, lsn)| Position { system, timeline, lsn: Lsn(lsn) };
            let (one, two, here) = (position(one), position(two), position(here));
            if let WriteToken::At(both) = WriteToken::At(one).and(WriteToken::At(two)) {
                prop_assert_eq!(here.covers(&both), here.covers(&one) && here.covers(&two));
            }
            prop_assert_eq!(WriteToken::Primary.and(WriteToken::At(one)), WriteToken::Primary);
        }
    }
}
