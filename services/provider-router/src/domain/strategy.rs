//! What an agent wants most of the deployment that serves it.

use std::str::FromStr;

use thiserror::Error;

/// What weighs most in a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Strategy {
    #[default]
    Balanced,
    Quality,
    Speed,
    Cost,
}

/// A strategy that does not exist.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no strategy is called '{0}', use one of smart, balanced, quality, speed, cost")]
pub(crate) struct UnknownStrategy(String);

impl Strategy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::Quality => "quality",
            Self::Speed => "speed",
            Self::Cost => "cost",
        }
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "smart" | "balanced" => Ok(Self::Balanced),
            "quality" => Ok(Self::Quality),
            "speed" => Ok(Self::Speed),
            "cost" => Ok(Self::Cost),
            _ => Err(UnknownStrategy(name.chars().take(100).collect())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_smart_is_balanced() {
        for strategy in [Strategy::Balanced, Strategy::Quality, Strategy::Speed, Strategy::Cost] {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        assert_eq!("smart".parse(), Ok(Strategy::default()));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "Speed".parse::<Strategy>().unwrap_err().to_string();
        assert!(message.contains("'Speed'") && message.contains("smart, balanced, quality, speed, cost"));
    }
}
