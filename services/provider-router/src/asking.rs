//! The request behind a provider call, as the call sees it.

use std::{sync::Arc, time::Instant};

use embermesh_lifecycle::Tasks;
use tokio::sync::oneshot;

use crate::{
    batch::Embedded,
    cache::{Cache, Cached, Key},
    domain::price::tokens_per_text,
};

/// What a call knows of its request.
pub(crate) struct Asking {
    /// Closed when the caller has gone away.
    pub gone: oneshot::Sender<()>,
    pub tasks: Tasks,
    pub cache: Cache,
    /// Absent: the agent wants nothing kept.
    pub keys: Option<Vec<Key>>,
    pub texts: Vec<Arc<str>>,
}

impl Asking {
    /// Whether another call is still worth its money.
    pub fn is_waiting(&self) -> bool {
        !self.tasks.is_stopping() && !self.gone.is_closed()
    }

    /// Keeps vectors that are there and checked, before anything else can go wrong.
    pub fn keep(&self, embedded: &Embedded) {
        let keys = self.keys.iter().flatten();
        for (key, cached) in keys.zip(results(&self.texts, embedded)) {
            self.cache.insert(*key, cached);
        }
    }
}

/// What to keep and answer for each text of a call.
pub(crate) fn results(texts: &[Arc<str>], embedded: &Embedded) -> Vec<Cached> {
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let tokens = tokens_per_text(embedded.tokens, &texts);
    let vectors = embedded.answer.vectors.iter().cloned();
    let made = Instant::now();
    let cached = |(vector, tokens)| Cached { vector, tokens, provider: Arc::clone(&embedded.provider), made };
    vectors.zip(tokens).map(cached).collect()
}
