//! Holds deployments to the recorded vectors of their space: before a second one may serve beside the first, and again at every canary.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use embermesh_config::ProviderKind;
use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{Reference, config_client::ConfigClient},
    v1::CatalogModel,
};
use embermesh_subscription::Subscription;
use embermesh_transport::Transport;
use embermesh_types::SpaceId;

use crate::{
    attempts::Attempts,
    deployment::Deployment,
    domain::{cosine::median_cosine, space::space_of},
    probe::for_itself,
    proof::Standing,
};

/// Names [`TEXTS`]; another set needs another name.
pub(crate) const TEXTS_VERSION: &str = "2026-11";
/// What deployments are held to: prose, code, numbers, another script, a single word.
pub(crate) const TEXTS: [&str; 5] = [
    "The night ferry leaves the northern harbour at a quarter to eleven and arrives before dawn.",
    "fn main() { let total: u64 = (1..=10).sum(); println!(\"{total}\"); }",
    "Invoice 2047: 12 units at 3.50, delivered within 14 days, no discount.",
    "春の雨が静かに庭の石を濡らしている。",
    "lighthouse",
];
/// Two deployments give the same vectors from here on; what remains are rounding and the provider's own noise.
const EQUAL: f64 = 0.9999;
/// Below, a deployment that was right has drifted.
const STEADY: f64 = 0.999;
/// How soon a probe that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether a deployment may serve beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayServe {
    Yes,
    /// It is being looked at.
    Soon,
    /// It could not be looked at; it will be again.
    NotNow,
}

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Look {
    /// The deployment gives the space's vectors.
    Right(f64),
    /// It does not.
    Wrong(f64),
    /// Its vectors are what the space is now held to.
    Recorded,
}

/// A look under way; however it ends, another may follow.
struct Looking<'a> {
    proofs: &'a Proofs,
    name: &'a Arc<str>,
    failed: bool,
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        let mut state = self.proofs.state();
        if self.failed {
            state.looking.insert(Arc::clone(self.name), Some(Instant::now()));
        } else {
            state.looking.remove(self.name);
        }
    }
}

/// Looks at deployments.
#[derive(Debug)]
pub(crate) struct Proofs {
    /// Absent: neither probe nor canary.
    pub interval: Option<Duration>,
    pub subscription: Subscription,
    pub admin: ConfigClient<Transport>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The deployment of each space that served before anything was recorded.
    founders: HashMap<SpaceId, Arc<str>>,
    /// References that the stream has not brought yet.
    fresh: HashMap<SpaceId, Arc<Vec<Bytes>>>,
    /// Deployments that are being looked at, or could not be: then since when.
    looking: HashMap<Arc<str>, Option<Instant>>,
    /// When each was last right.
    right: HashMap<Arc<str>, SystemTime>,
}

impl Proofs {
    pub fn new(interval: Duration, subscription: Subscription, admin: Transport) -> Self {
        let interval = (!interval.is_zero()).then_some(interval);
        Self { interval, subscription, admin: ConfigClient::new(admin), state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `deployment` may serve beside its `peers`; starts a look where that is not known.
    pub fn may_serve(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        model: &Arc<CatalogModel>,
        peers: &[&Arc<Deployment>],
        attempts: &Arc<Attempts>,
    ) -> MayServe {
        if self.interval.is_none() {
            return MayServe::Yes;
        }
        match deployment.proof.standing() {
            Standing::Unproven => {}
            Standing::Proven(_) => return MayServe::Yes,
            // found out since the deployment was considered
            Standing::Different(_) | Standing::Drifted(_) => return MayServe::NotNow,
        }
        let Ok(space) = space_of(model, None) else { return MayServe::Yes };
        let founds = self.recorded(&space).is_none() && self.is_founder(&space, deployment, peers);
        let now = Instant::now();
        {
            let mut state = self.state();
            match state.looking.get(&deployment.name) {
                // what a space is held to is recorded beside its first calls, not before them
                Some(_) if founds => return MayServe::Yes,
                Some(None) => return MayServe::Soon,
                Some(Some(failed)) if now < *failed + AGAIN => return MayServe::NotNow,
                _ => state.looking.insert(Arc::clone(&deployment.name), None),
            };
        }
        let (this, inner) = (Arc::clone(self), Arc::clone(attempts));
        let (deployment, model) = (Arc::clone(deployment), Arc::clone(model));
        let peers: Vec<Arc<Deployment>> = peers.iter().map(|peer| Arc::clone(peer)).collect();
        attempts.tasks.spawn("equivalence probe", async move {
            let mut looking = Looking { proofs: &this, name: &deployment.name, failed: true };
            match this.prove(&deployment, &model, &peers, &inner).await {
                Ok(_) => looking.failed = false,
                Err(error) => {
                    tracing::warn!(deployment = %deployment.name, %error, "the equivalence probe failed");
                }
            }
        });
        if founds {
            return MayServe::Yes;
        }
        MayServe::Soon
    }

    /// Whether a space that nothing is recorded of is held to this deployment.
    fn is_founder(&self, space: &SpaceId, deployment: &Arc<Deployment>, peers: &[&Arc<Deployment>]) -> bool {
        let mut state = self.state();
        let peers: Vec<_> = peers.iter().map(|peer| (&peer.name, peer.ever_answered())).collect();
        let founder = Arc::clone(founder(state.founders.get(space), &deployment.name, &peers));
        let is_it = founder == deployment.name;
        state.founders.insert(space.clone(), founder);
        is_it
    }

    /// Whether a look has shown that `deployment` gives its space's vectors, or none is wanted.
    pub fn is_shown(&self, deployment: &Deployment) -> bool {
        self.interval.is_none() || matches!(deployment.proof.standing(), Standing::Proven(_))
    }

    /// What `space` is held to.
    fn recorded(&self, space: &SpaceId) -> Option<Arc<Vec<Bytes>>> {
        let snapshot = self.subscription.current();
        let streamed = snapshot.reference(space).filter(|reference| reference.texts_version == TEXTS_VERSION);
        match streamed {
            Some(reference) => Some(Arc::new(reference.vectors.clone())),
            None => self.state().fresh.get(space).cloned(),
        }
    }

    /// Looks at a deployment that wants to serve beside others: there has to be something to hold it to first.
    async fn prove(
        &self,
        deployment: &Arc<Deployment>,
        model: &Arc<CatalogModel>,
        peers: &[Arc<Deployment>],
        attempts: &Arc<Attempts>,
    ) -> Result<Look, Error> {
        let space = space_of(model, None)?;
        if self.recorded(&space).is_none() {
            let founder = self.state().founders.get(&space).cloned();
            if let Some(founder) = peers.iter().find(|peer| Some(&peer.name) == founder.as_ref()) {
                self.look(founder, model, attempts).await?;
            }
        }
        self.look(deployment, model, attempts).await
    }

    /// Asks `deployment` for the fixed texts and compares; records them where nothing is.
    pub async fn look(
        &self,
        deployment: &Arc<Deployment>,
        model: &Arc<CatalogModel>,
        attempts: &Arc<Attempts>,
    ) -> Result<Look, Error> {
        let space = space_of(model, None)?;
        let ctx =
            for_itself("canary").ok_or_else(|| Error::internal("the system's identity is malformed"))?;
        let asked = attempts.clock.now();
        let vectors = attempts.ask(deployment, model, &TEXTS, ctx.clone()).await?;
        let known = self.recorded(&space);
        let first = known.is_none();
        let held_to = match known {
            Some(recorded) => recorded,
            None => {
                let reference = Reference {
                    space_id: space.to_string(),
                    texts_version: TEXTS_VERSION.to_owned(),
                    vectors: vectors.clone(),
                    deployment: deployment.name.to_string(),
                };
                let recorded =
                    self.admin.clone().record_reference(ctx.request(reference)).await?.into_inner();
                let recorded = Arc::new(recorded.vectors);
                self.state().fresh.insert(space.clone(), Arc::clone(&recorded));
                recorded
            }
        };
        let cosine = median_cosine(&vectors, &held_to)
            .ok_or_else(|| Error::internal("the recorded vectors of the space do not fit its texts"))?;
        let enough = match deployment.proof.standing() {
            Standing::Proven(_) => STEADY,
            Standing::Unproven | Standing::Different(_) | Standing::Drifted(_) => EQUAL,
        };
        let right = cosine >= enough;
        self.note(deployment, &space, cosine, right.then_some(asked), attempts);
        Ok(match (right, first) {
            (true, true) => Look::Recorded,
            (true, false) => Look::Right(cosine),
            (false, _) => Look::Wrong(cosine),
        })
    }

    /// Notes what a look has found; `right`: when it was asked what turned out to be right.
    fn note(
        &self,
        deployment: &Arc<Deployment>,
        space: &SpaceId,
        cosine: f64,
        right: Option<SystemTime>,
        attempts: &Arc<Attempts>,
    ) {
        let last_right = {
            let mut state = self.state();
            let before = state.right.get(&deployment.name).copied();
            if let Some(asked) = right {
                state.right.insert(Arc::clone(&deployment.name), asked);
            }
            before
        };
        let moved = deployment.proof.looked(cosine, right.is_some());
        match (moved, right) {
            (true, None) => {
                tracing::error!(deployment = %deployment.name, %space, cosine, "the deployment gives other vectors than those recorded, it is taken out of rotation");
                let from = last_right.unwrap_or(SystemTime::UNIX_EPOCH);
                // whatever it made since it was last right may be as wrong; what it makes from here on is not kept
                let until = attempts.clock.now();
                attempts.tiers.suspicions.add(&deployment.account.name, space.family(), from, until);
            }
            (true, Some(_)) => {
                tracing::info!(deployment = %deployment.name, %space, cosine, "the deployment gives the vectors of its space");
            }
            (false, _) => {}
        }
    }

    /// Whether anything has to be asked of `deployment` at all.
    pub fn concerns(&self, deployment: &Deployment) -> bool {
        // the model in this process is the file that it was loaded from
        self.interval.is_some() && deployment.account.kind != ProviderKind::Local
    }
}

/// Whose vectors a space is held to while nothing is recorded: whoever has given some, above all the one that was taken so far; who
/// came first may have served alone, and so without being asked. `peers` are all that serve it, and whether they have answered.
fn founder<'a>(
    so_far: Option<&'a Arc<str>>,
    asking: &'a Arc<str>,
    peers: &[(&'a Arc<str>, bool)],
) -> &'a Arc<str> {
    let mut answered = peers.iter().filter(|(_, answered)| *answered).map(|(name, _)| *name);
    let kept = so_far.filter(|so_far| answered.clone().any(|name| name == *so_far));
    kept.or_else(|| answered.next()).unwrap_or(asking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_served_alone_is_not_overtaken_by_a_newcomer() {
        let [first, second]: [Arc<str>; 2] = ["first".into(), "second".into()];
        for (so_far, asking, answered, expected) in [
            // it served before there was anybody to be compared with
            (None, &second, [true, false], &first),
            (None, &first, [true, false], &first),
            // nobody has answered: whoever is asked
            (None, &second, [false, false], &second),
            (Some(&first), &second, [false, false], &second),
            // who was taken stays, whoever else has answered
            (Some(&second), &first, [true, true], &second),
            (Some(&second), &first, [true, false], &first),
        ] {
            let peers = [(&first, answered[0]), (&second, answered[1])];
            assert_eq!(founder(so_far, asking, &peers), expected, "{so_far:?} {asking} {answered:?}");
        }
    }
}
