//! A length of time, written `15m`, `1h 30m`, or as a number of seconds.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const DAY: u64 = 24 * 60 * 60;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // beyond a month `humantime` counts in months of 30.44 days
        match (self.0.as_secs(), self.0.subsec_nanos()) {
            (seconds, 0) if seconds > 30 * DAY && seconds.is_multiple_of(DAY) => {
                to.collect_str(&format_args!("{}days", seconds / DAY))
            }
            _ => to.collect_str(&humantime::format_duration(self.0)),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"15m\", or a number of seconds")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Span, E> {
                Ok(Span::seconds(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Span, E> {
                u64::try_from(seconds)
                    .map(Span::seconds)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(seconds), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                humantime::parse_duration(text)
                    .map(Span)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        from.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_written_as_a_person_would_and_read_back_as_it_was() {
        for (seconds, written) in [
            (0, "0s"),
            (900, "15m"),
            (5_400, "1h 30m"),
            (DAY, "1day"),
            (30 * DAY, "30days"),
            (90 * DAY, "90days"),
        ] {
            let text = serde_json::to_string(&Span::seconds(seconds)).unwrap();
            assert_eq!(text, format!("\"{written}\""));
            assert_eq!(serde_json::from_str::<Span>(&text).unwrap(), Span::seconds(seconds));
        }
        let odd = serde_json::to_string(&Span::seconds(90 * DAY + 1)).unwrap();
        assert_eq!(serde_json::from_str::<Span>(&odd).unwrap(), Span::seconds(90 * DAY + 1));
    }
}
