//! What is read of the server's answers.

use std::time::SystemTime;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct Page<K> {
    pub keys: Vec<K>,
    pub next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Key {
    pub id: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub agent_id: Option<String>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
    pub last_used_at: Option<String>,
    pub successor_id: Option<String>,
    pub rotation_due_at: Option<String>,
}

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// It works, and whoever holds it should take its successor.
    Due,
    /// It works until its overlap ends.
    Rotated,
    Expired,
    Revoked,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Due => "due",
            Self::Rotated => "rotated",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    /// At `now` of this machine. A time that cannot be read has not come.
    pub fn state(&self, now: SystemTime) -> State {
        let expired = self.expires_at.as_deref().and_then(time).is_some_and(|end| end <= now);
        match (&self.revoked_at, expired, &self.successor_id) {
            (Some(_), ..) => State::Revoked,
            (None, true, _) => State::Expired,
            (None, false, Some(_)) => State::Rotated,
            (None, false, None) if self.rotation_due_at.is_some() => State::Due,
            (None, false, None) => State::Live,
        }
    }
}

/// A time of the server's.
pub(super) fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// Has the secret.
#[derive(Deserialize)]
pub(super) struct CreatedKey {
    pub id: String,
    pub key: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub agent_id: Option<String>,
    pub expires_at: Option<String>,
}

/// Has the secret.
#[derive(Deserialize)]
pub(super) struct RotatedKey {
    pub id: String,
    pub key: String,
    pub name: String,
    pub agent_id: Option<String>,
    pub predecessor_id: String,
    pub predecessor_expires_at: Option<String>,
}
