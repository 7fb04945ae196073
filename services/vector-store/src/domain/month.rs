//! Months, by which rows are partitioned.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

const DAY: u64 = 24 * 3_600;

/// A month of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month {
    year: u16,
    month: u8,
}

/// What is no month.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no month; write it like 2026-01")]
pub(crate) struct NoMonth(String);

impl Month {
    /// The month of an instant since 1970.
    pub(crate) fn of(instant: SystemTime) -> Self {
        let days = instant.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / DAY;
        // Howard Hinnant, "chrono-compatible low-level date algorithms": years that begin in March, eras of 400 years
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { year: u16::try_from(year).unwrap_or(u16::MAX), month: u8::try_from(month).unwrap_or(1) }
    }

    /// The month after this one.
    pub(crate) const fn next(self) -> Self {
        match self.month {
            12 => Self { year: self.year.saturating_add(1), month: 1 },
            month => Self { month: month + 1, ..self },
        }
    }

    /// The month so many before this one.
    pub(crate) fn minus(self, months: u32) -> Self {
        let count = (u32::from(self.year) * 12 + u32::from(self.month) - 1).saturating_sub(months);
        Self {
            year: u16::try_from(count / 12).unwrap_or_default(),
            month: u8::try_from(count % 12 + 1).unwrap_or(1),
        }
    }

    /// The month at the end of a partition's name, such as `space_1_2026_01`.
    pub(crate) fn of_partition(name: &str) -> Option<Self> {
        let digits = name.get(name.len().checked_sub(7)?..)?;
        digits.replace('_', "-").parse().ok()
    }

    /// Its first instant.
    pub(crate) fn begin(self) -> SystemTime {
        let year = u64::from(self.year) - u64::from(self.month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let from_march = (u64::from(self.month) + 9) % 12;
        let day_of_year = (153 * from_march + 2) / 5;
        let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        SystemTime::UNIX_EPOCH + Duration::from_secs(days.saturating_sub(719_468) * DAY)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl FromStr for Month {
    type Err = NoMonth;

    fn from_str(text: &str) -> Result<Self, NoMonth> {
        let parsed = || {
            let (year, month) = text.split_once('-')?;
            if year.len() != 4 || month.len() != 2 {
                return None;
            }
            let (year, month) = (year.parse().ok()?, month.parse().ok()?);
            ((1970..=9999).contains(&year) && (1..=12).contains(&month)).then_some(Self { year, month })
        };
        parsed().ok_or_else(|| NoMonth(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_told_from_instants_and_back() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, name) in [
            (0, "1970-01"),
            (951_782_399, "2000-02"),
            (951_868_799, "2000-02"),
            (951_868_800, "2000-03"),
            (1_763_164_800, "2025-11"),
            (1_767_225_599, "2025-12"),
            (1_767_225_600, "2026-01"),
            (4_102_444_800, "2100-01"),
        ] {
            assert_eq!(Month::of(at(seconds)).to_string(), name);
        }
        for year in 1970..2200 {
            for month in 1..=12 {
                let month = Month { year, month };
                assert_eq!(Month::of(month.begin()), month);
                assert_eq!(month.next().minus(1), month);
                assert_eq!(
                    Month::of(month.begin() - Duration::from_secs(u64::from(month.begin() > at(0)))),
                    month.minus(u32::from(month.begin() > at(0)))
                );
            }
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!(Month::of_partition("space_12_2026_01").unwrap().to_string(), "2026-01");
        assert_eq!("2026-01".parse::<Month>().unwrap().minus(13).to_string(), "2024-12");
        for bad in ["", "2026", "2026-13", "2026-1", "1969-12", "26-01", "2026-00", "x026-01"] {
            assert!(bad.parse::<Month>().is_err(), "{bad}");
        }
        assert!(Month::of_partition("x").is_none() && Month::of_partition("space_1").is_none());
    }
}
