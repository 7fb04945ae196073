//! Days and months in UTC.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A span that budgets are counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first midnight of a month on.
    Month,
}

impl Period {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::Day, Self::Month];

    /// As it is written in rows and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The first day of the period that `day` lies in.
    pub fn start(self, day: Date) -> Date {
        match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
        }
    }

    /// The midnight that ends the period of `day`.
    pub fn end(self, day: Date) -> SystemTime {
        let next = match self {
            Self::Day => day.tomorrow(),
            Self::Month => day.last_of_month().tomorrow(),
        };
        midnight(next.unwrap_or(Date::MAX))
    }
}

/// The day of an instant.
pub fn day_of(time: SystemTime) -> Date {
    Timestamp::try_from(time).unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

/// The instant that `day` begins.
pub fn midnight(day: Date) -> SystemTime {
    day.to_zoned(TimeZone::UTC).map_or(SystemTime::UNIX_EPOCH, |zoned| zoned.timestamp().into())
}

/// Whole seconds from `now` to `then`, rounded up, so that whoever waits so long is not early.
pub fn seconds_until(then: SystemTime, now: SystemTime) -> Duration {
    let left = then.duration_since(now).unwrap_or_default();
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn periods_begin_and_end_at_midnight_utc() {
        let day = day_of(at("2028-02-29T23:59:59.999Z"));
        assert_eq!(day.to_string(), "2028-02-29");
        assert_eq!(Period::Month.start(day).to_string(), "2028-02-01");
        assert_eq!(Period::Day.end(day), at("2028-03-01T00:00:00Z"));
        assert_eq!(Period::Month.end(day_of(at("2026-12-05T00:00:00Z"))), at("2027-01-01T00:00:00Z"));
        assert_eq!(day_of(midnight(day)), day);
        assert_eq!(
            seconds_until(at("2026-01-02T00:00:00Z"), at("2026-01-01T23:59:58.5Z")),
            Duration::from_secs(2)
        );
    }
}
