//! What a simulated Google Cloud project remembers between requests: the key of its service account and the access tokens that it has
//! handed out.
//!
//! [`oauth`] trades signed assertions for tokens, [`metadata`] is the metadata server of a machine that runs as the service account.

pub(super) mod error;
mod key;
pub(super) mod metadata;
pub(super) mod oauth;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Deployment;
use super::wall;
use super::wire::{Refusal, Written};
use key::AccountKey;

/// What a deployment insists on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleSpec {
    /// The only project that there is.
    pub project: String,
    /// The only region that there is.
    pub region: String,
    /// Seconds that an access token lasts.
    #[serde(default = "an_hour")]
    pub token_lifetime_s: u64,
}

const fn an_hour() -> u64 {
    3600
}

impl GoogleSpec {
    /// Tokens last an hour, as the real ones do.
    #[must_use]
    pub fn new(project: &str, region: &str) -> Self {
        Self { project: project.to_owned(), region: region.to_owned(), token_lifetime_s: an_hour() }
    }
}

/// An access token, as both endpoints answer it.
#[derive(Debug, Serialize)]
struct Grant {
    access_token: String,
    expires_in: u64,
    token_type: &'static str,
}

/// The service account and its access tokens.
#[derive(Debug, Default)]
pub struct Tokens {
    key: OnceLock<AccountKey>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ends: HashMap<String, SystemTime>,
    granted: u64,
    /// The token that the metadata server hands out until it is nearly over.
    machines: Option<String>,
    outage: Option<StatusCode>,
    ahead: Duration,
}

impl Tokens {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock by which tokens end and assertions are dated.
    pub fn advance(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// Both token endpoints answer with this status from now on; with none, tokens again.
    pub fn refuse_with(&self, status: Option<StatusCode>) {
        self.state().outage = status;
    }

    /// Every token handed out so far is good for nothing any more.
    pub fn revoke(&self) {
        let mut state = self.state();
        state.ends.clear();
        state.machines = None;
    }

    /// How many tokens have been made.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.state().granted
    }

    fn now(&self) -> SystemTime {
        wall::now() + self.state().ahead
    }

    fn key(&self) -> &AccountKey {
        self.key.get_or_init(AccountKey::generate)
    }

    fn outage(&self) -> Option<Refusal> {
        let status = self.state().outage?;
        Some(Refusal {
            status,
            written: Written::of("text/plain", b"simulated outage of the token endpoint".to_vec()),
        })
    }

    fn grant(&self, lifetime_s: u64) -> Grant {
        let ends = self.now() + Duration::from_secs(lifetime_s);
        let mut state = self.state();
        state.granted += 1;
        let access_token = format!("ya29.simulated-{}", state.granted);
        state.ends.insert(access_token.clone(), ends);
        Grant { access_token, expires_in: lifetime_s, token_type: "Bearer" }
    }

    /// Whether a token is good now.
    pub(super) fn admits(&self, token: &str) -> bool {
        let now = self.now();
        self.state().ends.get(token).is_some_and(|ends| now < *ends)
    }
}

impl Deployment {
    /// Its service account and the access tokens of it.
    #[must_use]
    pub const fn google(&self) -> &Tokens {
        &self.tokens
    }

    /// The JSON key file of its service account.
    #[must_use]
    pub fn google_key_file(&self) -> String {
        let project = self.spec().google.as_ref().map_or("simulated", |google| google.project.as_str());
        self.tokens.key().file(project, &self.token_uri())
    }

    fn token_uri(&self) -> String {
        format!("{}/token", self.origin())
    }

    fn token_lifetime_s(&self) -> u64 {
        self.spec().google.as_ref().map_or_else(an_hour, |google| google.token_lifetime_s)
    }
}
