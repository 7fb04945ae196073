//! Vectors that a deployment made while it had drifted, before anybody noticed: no cache may serve them, wherever they are kept.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use embermesh_types::SpaceId;

use crate::cache::Cached;

/// Suspicions that are remembered; vectors older than that many drifts have left the caches.
const REMEMBERED: usize = 64;

/// What is under suspicion.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    /// Most processes never have one.
    any: AtomicBool,
    all: RwLock<Vec<Suspicion>>,
}

#[derive(Debug)]
struct Suspicion {
    provider: String,
    family: String,
    /// When it was last known to be right.
    from: SystemTime,
    until: SystemTime,
}

impl Suspicions {
    /// What `provider` made for the spaces of a family in that time may not be served.
    pub fn add(&self, provider: &str, family: &str, from: SystemTime, until: SystemTime) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.remove(0);
        }
        all.push(Suspicion { provider: provider.to_owned(), family: family.to_owned(), from, until });
        self.any.store(true, Ordering::Release);
    }

    /// Whether a vector that is kept for `space` may be served.
    pub fn allow(&self, space: &SpaceId, cached: &Cached) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return true;
        }
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        !all.iter().any(|suspicion| {
            suspicion.family == space.family()
                && suspicion.provider == *cached.provider
                && (suspicion.from..=suspicion.until).contains(&cached.made)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use embermesh_types::TokenCount;

    use super::*;

    #[test]
    fn only_what_the_suspect_made_in_that_time_for_that_family_is_held_back() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let cached = |provider: &str, made| Cached {
            vector: Bytes::new(),
            tokens: TokenCount(1),
            provider: provider.into(),
            made: at(made),
            // kept since later, as a stored row is
            kept: at(1_000),
            stamp: 0,
        };
        let space = |text: &str| text.parse::<SpaceId>().unwrap();
        let suspicions = Suspicions::default();
        assert!(suspicions.allow(&space("f/m@3"), &cached("a", 150)));
        suspicions.add("a", "f/m", at(100), at(200));
        assert!(!suspicions.allow(&space("f/m@3"), &cached("a", 150)));
        assert!(!suspicions.allow(&space("f/m@2"), &cached("a", 200)));
        for (id, provider, made) in
            [("f/m@3", "a", 99), ("f/m@3", "a", 201), ("f/m@3", "b", 150), ("f/n@3", "a", 150)]
        {
            assert!(suspicions.allow(&space(id), &cached(provider, made)), "{id} {provider} {made}");
        }
    }
}
