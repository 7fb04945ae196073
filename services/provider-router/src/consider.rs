//! What speaks for and against each deployment of a model now.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use embermesh_proto::v1::CatalogModel;
use embermesh_resilience::{BreakerState, Summary};

use crate::{
    batch::{Order, Terms},
    deployment::Deployment,
    deployments::Deployments,
    domain::{
        price::{Tariff, tariff_at},
        rank::Exclusion,
        score::{Parts, Weights, score},
        strategy::Strategy,
    },
};

/// Calls below which a p99 says nothing.
const ENOUGH_CALLS: u64 = 20;

/// A deployment with what is known of it.
#[derive(Debug)]
pub(crate) struct Considered {
    pub deployment: Arc<Deployment>,
    pub tariff: Option<Tariff>,
    pub parts: Parts,
    pub score: f64,
    pub measured: Summary,
    /// Why it gets no call now.
    pub exclusion: Option<Exclusion>,
    /// When that may end.
    pub until: Option<Instant>,
}

/// Every deployment of an order's model, as it stands.
pub(crate) fn consider(
    deployments: &Deployments,
    order: &Order,
    wall: SystemTime,
    now: Instant,
) -> Vec<Considered> {
    let all = deployments.of(&order.model);
    // with nothing to choose from there is nothing to measure
    let lone = all.len() == 1 && order.terms.max_latency_p99.is_none();
    all.into_iter()
        .map(|deployment| {
            let measured = if lone { Summary::default() } else { deployment.stats.summary(now) };
            considered(deployment, &order.model, &order.terms, measured, wall, now)
        })
        .collect()
}

/// One deployment, as it stands.
pub(crate) fn considered(
    deployment: Arc<Deployment>,
    model: &CatalogModel,
    terms: &Terms,
    measured: Summary,
    wall: SystemTime,
    now: Instant,
) -> Considered {
    let account = &deployment.account;
    let tariff = tariff_at(model, &account.name, account.kind, wall);
    let (exclusion, until) = exclusion(&deployment, tariff, terms, &measured, now);
    let parts = Parts::of(
        measured.p95,
        measured.calls,
        measured.success_rate,
        tariff.map(|tariff| tariff.price.0),
        model.quality,
        deployment.concurrency.in_flight(),
        deployment.concurrency.limit(),
    );
    let score = score(&parts, &Weights::of(terms.strategy));
    Considered { tariff, parts, score, measured, exclusion, until, deployment }
}

fn exclusion(
    deployment: &Deployment,
    tariff: Option<Tariff>,
    terms: &Terms,
    measured: &Summary,
    now: Instant,
) -> (Option<Exclusion>, Option<Instant>) {
    let account = &deployment.account;
    let (own, host) = (deployment.breaker.standing(now), account.host.standing(now));
    if own.state == BreakerState::ForcedOpen {
        return (Some(Exclusion::ForcedOpen), None);
    }
    if let Some(why) = deployment.proof.out() {
        return (Some(Exclusion::OtherVectors(why)), None);
    }
    if let Some((until, why)) = account.credential.out(now) {
        return (Some(Exclusion::Credential(why)), Some(until));
    }
    if tariff.is_none() {
        return (Some(Exclusion::NoPrice), None);
    }
    if own.state == BreakerState::ForcedClosed {
        return (None, None);
    }
    for standing in [&own, &host] {
        if standing.state == BreakerState::Open {
            return (Some(Exclusion::BreakerOpen), standing.retry_at);
        }
    }
    if let Some(until) = deployment.resting_until(now) {
        return (Some(Exclusion::Resting), Some(until));
    }
    if let Some(until) = deployment.throttled_until(now) {
        return (Some(Exclusion::Throttled), Some(until));
    }
    let slow = terms.max_latency_p99.zip(measured.p99).filter(|_| measured.calls >= ENOUGH_CALLS);
    if let Some((most, p99)) = slow.filter(|(most, p99)| p99 > most) {
        return (Some(Exclusion::TooSlow { p99, most }), None);
    }
    (None, None)
}

/// Which of some models is the best for a strategy, by what their deployments have measured and whatever their health.
pub(crate) fn best_model(
    deployments: &Deployments,
    models: &[Arc<CatalogModel>],
    strategy: Strategy,
    wall: SystemTime,
) -> Option<usize> {
    let now = Instant::now();
    let terms = Terms { strategy, ..Terms::default() };
    let best_of = |model: &Arc<CatalogModel>| {
        let all = deployments.of(model).into_iter().map(|deployment| {
            let measured = deployment.stats.summary(now);
            considered(deployment, model, &terms, measured, wall, now).score
        });
        all.fold(f64::NEG_INFINITY, f64::max)
    };
    let scores: Vec<f64> = models.iter().map(best_of).collect();
    // the first of equals, which is the one that the configuration names first
    let first_best = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
    (0..scores.len()).reduce(first_best)
}

/// What a model costs where nothing says at which provider: at the first that serves it.
pub(crate) fn usual_tariff(
    deployments: &Deployments,
    model: &CatalogModel,
    wall: SystemTime,
) -> Option<Tariff> {
    deployments.of(model).iter().find_map(|d| tariff_at(model, &d.account.name, d.account.kind, wall))
}
