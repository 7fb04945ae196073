//! Rotation of keys: which key may get a successor, and when each of the two ends. Of the versions of one key at most two are alive
//! at any time, and what has ended never works again.

use std::time::{Duration, SystemTime};

use embermesh_errors::{Code, Error};

const DEFAULT_OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest time for which a rotated key still works.
pub(crate) const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The end of the year 9999: no later time can be written.
pub(crate) fn last_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799)
}

/// How long a rotated key still works.
pub(crate) fn parse_overlap(text: Option<&str>) -> Result<Duration, Error> {
    let Some(text) = text else { return Ok(DEFAULT_OVERLAP) };
    humantime::parse_duration(text)
        .ok()
        .filter(|overlap| *overlap <= LONGEST_OVERLAP)
        .ok_or_else(|| Error::invalid("overlap", "expected a duration such as 30m or 24h, from 0s to 7d"))
}

/// What the rules ask of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyState {
    pub(crate) created_at: SystemTime,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) revoked: bool,
    /// When the overlap of its rotation ends, if it was rotated.
    pub(crate) overlap_ends_at: Option<SystemTime>,
    /// `expires_at` before the first rotation, if it was rotated.
    pub(crate) own_expires_at: Option<SystemTime>,
}

/// The ends that a rotation sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotation {
    /// `expires_at` of the key that is rotated.
    pub(crate) ends_at: SystemTime,
    /// What its `expires_at` can never be moved beyond.
    pub(crate) overlap_ends_at: SystemTime,
    /// `expires_at` of the successor.
    pub(crate) successor_expires_at: Option<SystemTime>,
}

impl KeyState {
    /// Whether the key works.
    pub(crate) fn is_alive(&self, now: SystemTime) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| now < end)
    }

    /// A rotation at `now`. `other` is another version of the key that is alive.
    pub(crate) fn rotate(
        &self,
        other: Option<&str>,
        overlap: Duration,
        now: SystemTime,
    ) -> Result<Rotation, Error> {
        self.check_alive(now)?;
        match other {
            // whatever is alive beside a rotated key came from it: a key is rotated while its predecessor lives only by ending
            Some(successor) if self.overlap_ends_at.is_some() => {
                let message = format!("the key has been rotated, rotate its successor {successor}");
                return Err(conflict(message).with_detail("successor_id", successor));
            }
            Some(predecessor) if !overlap.is_zero() => {
                let message = format!(
                    "its predecessor {predecessor} still works, and a third version cannot: wait for the end of that \
                     overlap, revoke {predecessor}, or rotate with the overlap 0s"
                );
                return Err(conflict(message).with_detail("predecessor_id", predecessor));
            }
            _ => {}
        }
        let overlap_ends_at = now + overlap;
        let ends_at = self.expires_at.map_or(overlap_ends_at, |end| end.min(overlap_ends_at));
        Ok(Rotation {
            ends_at,
            overlap_ends_at,
            successor_expires_at: self.life().map(|life| after(now, life)),
        })
    }

    /// Whether the key may end at `end`, which lies in the future.
    pub(crate) fn check_end(&self, end: SystemTime, now: SystemTime) -> Result<(), Error> {
        self.check_alive(now)?;
        match self.overlap_ends_at {
            Some(last) if end > last => {
                let last = humantime::format_rfc3339_seconds(last);
                let message =
                    format!("the key has been rotated and cannot work beyond its overlap, until {last}");
                Err(Error::invalid("expires_at", message))
            }
            _ => Ok(()),
        }
    }

    fn check_alive(&self, now: SystemTime) -> Result<(), Error> {
        if self.revoked {
            return Err(conflict("the key was revoked and never works again, make another"));
        }
        if !self.is_alive(now) {
            return Err(conflict("the key has expired and never works again, make another"));
        }
        Ok(())
    }

    /// From its making to its own end, which a rotation does not count as.
    fn life(&self) -> Option<Duration> {
        let end = if self.overlap_ends_at.is_some() { self.own_expires_at } else { self.expires_at };
        end.map(|end| end.duration_since(self.created_at).unwrap_or_default())
    }
}

fn after(now: SystemTime, life: Duration) -> SystemTime {
    now.checked_add(life).map_or_else(last_time, |end| end.min(last_time()))
}

fn conflict(message: impl Into<String>) -> Error {
    Error::new(Code::Conflict, message).with_param("id")
}

#[cfg(test)]
mod tests;
