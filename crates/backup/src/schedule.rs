//! When backups are due: the five fields of cron, in UTC.

use std::str::FromStr;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// The fields and their ranges; a Sunday is 0 or 7.
const FIELDS: [(&str, u8, u8); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7)];

/// Minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// A bit for each value.
    fields: [u64; 5],
    /// Both days are named: then either will do, as cron has it.
    either_day: bool,
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write five fields as cron does, such as \"0 2 * * *\" for two at night")]
pub struct ScheduleError(String);

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let words: [&str; 5] = words
            .try_into()
            .map_err(|words: Vec<&str>| ScheduleError(format!("`{text}` has {} fields", words.len())))?;
        let mut fields = [0; 5];
        for ((field, word), (name, low, high)) in fields.iter_mut().zip(words).zip(FIELDS) {
            let wrong = || ScheduleError(format!("`{word}` is no {name}"));
            for item in word.split(',') {
                *field |= values(item, low, high).ok_or_else(wrong)?;
            }
        }
        // 7 is 0
        fields[4] = (fields[4] | fields[4] >> 7) & 0x7f;
        Ok(Self { fields, either_day: !words[2].starts_with('*') && !words[4].starts_with('*') })
    }
}

impl Schedule {
    /// Whether the minute that `time` lies in is one of those.
    pub fn is_due(&self, time: Timestamp) -> bool {
        let at: DateTime = time.to_zoned(TimeZone::UTC).datetime();
        let weekday = at.weekday().to_sunday_zero_offset();
        let values = [at.minute(), at.hour(), at.day(), at.month(), weekday];
        let mut fits = self.fields.iter().zip(values).map(|(field, value)| field >> value & 1 == 1);
        let [minute, hour, day, month, weekday] = std::array::from_fn(|_| fits.next().unwrap_or(false));
        let days = if self.either_day { day || weekday } else { day && weekday };
        minute && hour && month && days
    }
}

/// `*`, `3`, `1-5`, `*/15`, `0-30/10`.
fn values(item: &str, low: u8, high: u8) -> Option<u64> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| *step > 0)?),
        None => (item, 1),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (low, high),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => {
            let value = range.parse().ok()?;
            (value, if item.contains('/') { high } else { value })
        }
    };
    if first < low || last > high || first > last {
        return None;
    }
    Some((first..=last).step_by(step.into()).fold(0, |bits, value| bits | 1 << value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(schedule: &str, time: &str) -> bool {
        schedule.parse::<Schedule>().unwrap().is_due(time.parse().unwrap())
    }

    #[test]
    fn the_guides_schedules_are_two_at_night_and_every_hour() {
        assert!(due("0 2 * * *", "2026-11-30T02:00:59Z"));
        assert!(!due("0 2 * * *", "2026-11-30T02:01:00Z") && !due("0 2 * * *", "2026-11-30T14:00:00Z"));
        assert!(due("0 * * * *", "2026-11-30T14:00:00Z"));
    }

    #[test]
    fn lists_ranges_steps_and_either_day() {
        assert!(due("*/15 8-18 * * 1-5", "2026-11-30T08:45:00Z"));
        assert!(!due("*/15 8-18 * * 1-5", "2026-11-29T08:45:00Z"));
        // 2026-11-29 is a Sunday
        for sunday in ["0 0 * * 0", "0 0 * * 7", "0 0 1 * 0", "0 0 29 * 3", "5,0 0 * 11,12 *"] {
            assert!(due(sunday, "2026-11-29T00:00:00Z"), "{sunday}");
        }
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (text, said) in [
            ("", "0 fields"),
            ("0 2 * *", "4 fields"),
            ("60 2 * * *", "`60` is no minute"),
            ("0 2 * * mon", "no weekday"),
            ("*/0 * * * *", "no minute"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
