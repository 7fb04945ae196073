//! Temporary keys: what AssumeRole hands out and requests are then signed with.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::super::wall;

/// Temporary keys handed out by AssumeRole, per deployment.
#[derive(Debug, Default)]
pub(in super::super) struct Sessions(Mutex<HashMap<String, Session>>);

/// Keys that are good for a while.
#[derive(Clone, Debug)]
pub(in super::super) struct Session {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: String,
    pub expires: SystemTime,
}

impl Sessions {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New keys for `role`, other ones each time.
    pub fn open(&self, role: &str, life: Duration) -> Session {
        let mut known = self.known();
        let seed =
            blake3::hash(format!("{role} {} {:?}", known.len(), wall::since_epoch()).as_bytes()).to_hex();
        let session = Session {
            access_key_id: format!("ASIA{}", seed[..16].to_ascii_uppercase()),
            secret_access_key: seed[16..56].to_owned(),
            session_token: format!("Session/{seed}+token=="),
            expires: wall::now() + life,
        };
        known.insert(session.access_key_id.clone(), session.clone());
        session
    }

    pub fn find(&self, access_key_id: &str) -> Option<Session> {
        self.known().get(access_key_id).cloned()
    }
}
