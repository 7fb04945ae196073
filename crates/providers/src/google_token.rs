//! Access tokens of Google Cloud: one for all calls of a provider, fetched once however many calls want it, and renewed ahead of its
//! expiry while calls go on with the one at hand.
//!
//! Where tokens come from is [`source`]'s business; what they are for is the caller's.

mod key_file;
mod source;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use embermesh_config::Secret;
use http::HeaderValue;
use tokio::sync::watch;

use crate::{Failure, ProviderError, Surroundings, http::HttpClient};

pub(crate) use source::Source;

/// The metadata server hands out the token that it has until four minutes before that one's end: asking earlier brings nothing new.
const AHEAD: Duration = Duration::from_secs(225);
/// A token is not used in its last seconds, in which it might end on its way.
const MARGIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What a source gives.
struct Grant {
    access_token: Secret,
    expires_in: Duration,
}

/// An access token, as a header.
#[derive(Clone)]
pub(crate) struct Token {
    authorization: HeaderValue,
    renew_from: SystemTime,
    expires: SystemTime,
    /// Shared by the clones of one token, which makes it the token's identity too.
    accepted: Arc<AtomicBool>,
}

impl Token {
    fn new(grant: &Grant, asked: SystemTime) -> Result<Self, ProviderError> {
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", grant.access_token.reveal()))
            .map_err(|_| ProviderError::new(Failure::Local, "the access token cannot be sent in a header"))?;
        authorization.set_sensitive(true);
        // counted from the question on: the answer was on its way for an unknown part of the time since
        let lasts = grant.expires_in;
        Ok(Self {
            authorization,
            renew_from: asked + lasts.saturating_sub(AHEAD.min(lasts / 4)),
            expires: asked + lasts.saturating_sub(MARGIN.min(lasts / 10)),
            accepted: Arc::default(),
        })
    }

    /// The `Authorization` header; marked as sensitive.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// Notes that the API took it.
    pub fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }
}

/// The tokens of one provider.
pub(crate) struct Tokens(Arc<Shared>);

struct Shared {
    source: Source,
    client: HttpClient,
    surroundings: Surroundings,
    state: Mutex<State>,
    landed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    asking: bool,
    setback: Option<Setback>,
}

/// The last question brought no token.
struct Setback {
    error: ProviderError,
    pause: Duration,
    over: SystemTime,
}

impl Tokens {
    /// Asks for nothing yet.
    pub fn new(source: Source, client: HttpClient, surroundings: Surroundings) -> Self {
        let (landed, _) = watch::channel(());
        Self(Arc::new(Shared { source, client, surroundings, state: Mutex::default(), landed }))
    }

    /// A token that is good now, at once if there is one, else within `patience`.
    pub async fn get(&self, patience: Duration) -> Result<Token, ProviderError> {
        match tokio::time::timeout(patience, self.wait()).await {
            Ok(token) => token,
            Err(_) => {
                let source = &self.0.source;
                Err(ProviderError::new(Failure::Local, format!("{source} gave no access token in time")))
            }
        }
    }

    /// Takes a token back that the API did not take. True: it had been good before, so a new one may help.
    pub fn refused(&self, token: &Token) -> bool {
        let had_been_good = token.accepted.load(Ordering::Relaxed);
        let mut state = self.0.state();
        let current = state.token.as_ref().is_some_and(|held| Arc::ptr_eq(&held.accepted, &token.accepted));
        if current {
            state.token = None;
            if !had_been_good {
                // a source whose fresh tokens are refused is not asked anew for each call
                let source = &self.0.source;
                let what = format!("the API does not take the access tokens of {source}");
                self.0.set_back(&mut state, ProviderError::new(Failure::Unauthorized, what));
            }
        }
        had_been_good
    }

    async fn wait(&self) -> Result<Token, ProviderError> {
        loop {
            let mut landed = {
                let mut state = self.0.state();
                let now = self.0.surroundings.clock.now();
                let held = state.token.as_ref().filter(|token| now < token.expires).cloned();
                let wanted = held.as_ref().is_none_or(|token| now >= token.renew_from);
                let paused = state.setback.as_ref().filter(|setback| now < setback.over);
                if wanted && !state.asking {
                    match (paused, &held) {
                        (None, _) => {
                            state.asking = true;
                            Shared::ask(&self.0);
                        }
                        (Some(setback), None) => return Err(setback.error.clone()),
                        (Some(_), Some(_)) => {}
                    }
                }
                if let Some(token) = held {
                    return Ok(token);
                }
                self.0.landed.subscribe()
            };
            if landed.changed().await.is_err() {
                return Err(ProviderError::new(Failure::Local, "the provider is gone"));
            }
        }
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.source).finish()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks in a task of its own: no caller that gives up takes the answer from the others.
    fn ask(this: &Arc<Self>) {
        let question = Question(Arc::clone(this));
        this.surroundings.tasks.spawn("google token", async move {
            let shared = &question.0;
            let asked = shared.surroundings.clock.now();
            let grant = shared.source.ask(&shared.client, asked).await;
            shared.land(grant.and_then(|grant| Token::new(&grant, asked)));
        });
    }

    fn land(&self, token: Result<Token, ProviderError>) {
        let mut state = self.state();
        state.asking = false;
        match token {
            Ok(token) => {
                state.token = Some(token);
                state.setback = None;
            }
            Err(error) => {
                let source = &self.source;
                tracing::warn!(%source, %error, held = state.token.is_some(), "cannot get an access token");
                self.set_back(&mut state, error);
            }
        }
        drop(state);
        self.landed.send_replace(());
    }

    fn set_back(&self, state: &mut State, error: ProviderError) {
        let pause = state.setback.as_ref().map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
        let over = self.surroundings.clock.now() + pause;
        state.setback = Some(Setback { error, pause, over });
    }
}

/// A question underway. Dropped unanswered, when the process stops, it still wakes those who wait.
struct Question(Arc<Shared>);

impl Drop for Question {
    fn drop(&mut self) {
        if self.0.state().asking {
            self.0.land(Err(ProviderError::new(Failure::Local, "the process stops")));
        }
    }
}
