//! Rotation that the holder of a key completes: when it is due the holder asks for the successor, which is made at that moment and shown
//! to the holder alone; the key goes on until the successor has been used. So a key whose successor never arrived is never retired.

use std::time::{Duration, SystemTime};

use embermesh_errors::{Code, Error};

use super::rotation::KeyState;

/// How long a successor that was given out is waited for. Gateways tell once a minute, unless they are configured otherwise, which keys are
/// used.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How far a key's rotation is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Handover {
    /// Since when the holder should ask.
    pub(crate) due_at: Option<SystemTime>,
    pub(crate) given: Option<Given>,
}

/// A successor that was given out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) id: String,
    pub(crate) at: SystemTime,
    pub(crate) used: bool,
    pub(crate) revoked: bool,
    pub(crate) expires_at: Option<SystemTime>,
}

impl Given {
    /// Whether it works.
    pub(crate) fn is_alive(&self, now: SystemTime) -> bool {
        !self.revoked && self.expires_at.is_none_or(|end| now < end)
    }
}

impl Handover {
    /// The successor that its holder has, by which the key can be replaced: one that has ended since replaces nothing.
    pub(crate) fn delivered(&self, now: SystemTime) -> Option<&Given> {
        self.given.as_ref().filter(|given| given.used && given.is_alive(now))
    }

    /// Whether an operator may rotate the key at `now`.
    pub(crate) fn check_rotation(&self, now: SystemTime) -> Result<(), Error> {
        let Some(Given { id, .. }) = self.delivered(now) else { return Ok(()) };
        let message = format!("the key has been rotated, rotate its successor {id}");
        Err(conflict(message).with_param("id").with_detail("successor_id", id.as_str()))
    }

    /// Whether the key's holder may have a successor at `now`, in place of one that was given out before. `other` is another version of
    /// the key that is alive, but for that one.
    pub(crate) fn check(&self, key: &KeyState, other: Option<&str>, now: SystemTime) -> Result<(), Error> {
        if key.overlap_ends_at.is_some() {
            return Err(conflict(
                "the key has a successor already, ask for it whoever looks after your keys",
            ));
        }
        if self.due_at.is_none() {
            return Err(conflict("the rotation of the key is not due"));
        }
        if let Some(Given { id, .. }) = self.delivered(now) {
            let message = format!("the successor {id} of the key is in use");
            return Err(conflict(message).with_detail("successor_id", id.as_str()));
        }
        if let Some(Given { id, at, .. }) = self.given.as_ref().filter(|given| given.is_alive(now)) {
            let again = *at + PATIENCE;
            if now < again {
                let message =
                    format!("the successor {id} was given out already; if nobody has it, ask again later");
                let left = again.duration_since(now).unwrap_or_default();
                return Err(conflict(message)
                    .with_detail("successor_id", id.as_str())
                    .with_retry_after(left));
            }
        }
        match other {
            Some(other) => {
                let message =
                    format!("another version of the key, {other}, still works, ask again when it has ended");
                Err(conflict(message).with_detail("predecessor_id", other))
            }
            None => Ok(()),
        }
    }
}

fn conflict(message: impl Into<String>) -> Error {
    Error::new(Code::Conflict, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn key() -> KeyState {
        KeyState {
            created_at: NOW,
            expires_at: None,
            revoked: false,
            overlap_ends_at: None,
            own_expires_at: None,
        }
    }

    fn given(used: bool, revoked: bool) -> Option<Given> {
        Some(Given { id: "next".into(), at: NOW, used, revoked, expires_at: None })
    }

    #[test]
    fn a_successor_is_given_out_when_it_is_due_and_again_only_when_nobody_can_have_the_last() {
        let due = Handover { due_at: Some(NOW), given: None };
        assert!(due.check(&key(), None, NOW).is_ok());
        assert!(Handover::default().check(&key(), None, NOW).is_err());
        let rotated = KeyState { overlap_ends_at: Some(NOW), expires_at: Some(NOW), ..key() };
        assert!(due.check(&rotated, None, NOW).is_err());
        assert!(due.check(&key(), Some("predecessor"), NOW).is_err());

        let waiting = Handover { given: given(false, false), ..due.clone() };
        let early = waiting.check(&key(), None, NOW + PATIENCE / 5).unwrap_err();
        assert_eq!((early.code, early.retry_after), (Code::Conflict, Some(PATIENCE / 5 * 4)));
        assert!(waiting.check(&key(), None, NOW + PATIENCE).is_ok());
        let used = Handover { given: given(true, false), ..due.clone() };
        assert!(used.check(&key(), None, NOW + PATIENCE * 100).is_err());
        for used in [false, true] {
            let withdrawn = Handover { given: given(used, true), ..due.clone() };
            assert!(withdrawn.check(&key(), None, NOW).is_ok());
        }
    }

    #[test]
    fn only_a_successor_that_is_used_and_works_replaces_the_key() {
        let end = NOW + PATIENCE;
        for (used, revoked, expires_at, delivered) in [
            (true, false, None, true),
            (true, false, Some(end + PATIENCE), true),
            (true, false, Some(end), false),
            (true, true, None, false),
            (false, false, None, false),
        ] {
            let next = Given { expires_at, ..given(used, revoked).unwrap() };
            let handover = Handover { due_at: Some(NOW), given: Some(next) };
            assert_eq!(handover.delivered(end).is_some(), delivered);
            assert_eq!(handover.check_rotation(end).is_err(), delivered);
        }
    }
}
