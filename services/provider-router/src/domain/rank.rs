//! Which deployment comes before which, and why one gets no call.

use std::{fmt, time::Duration};

use super::choice::Role;

/// What keeps a deployment from being called now. Being suspect does not: others are only preferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exclusion {
    /// By an administrator.
    ForcedOpen,
    /// Its vectors are not, or no longer, those of the space; in what way.
    OtherVectors(&'static str),
    /// Its credential is no good for now; in what way.
    Credential(&'static str),
    /// Nobody could be charged.
    NoPrice,
    /// Its own breaker, or that of its host.
    BreakerOpen,
    /// It has said for how long it takes no more calls.
    Throttled,
    /// It has said for how long it cannot serve, or does not know the model.
    Resting,
    /// Slower than the agent allows.
    TooSlow { p99: Duration, most: Duration },
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForcedOpen => f.write_str("its breaker has been forced open, reset it to use it again"),
            Self::OtherVectors(why) | Self::Credential(why) => f.write_str(why),
            Self::NoPrice => f.write_str("no price is in force for it, add one to the catalog"),
            Self::BreakerOpen => f.write_str("its breaker is open after failures"),
            Self::Throttled => f.write_str("it has throttled its callers"),
            Self::Resting => f.write_str("it rests after an error"),
            Self::TooSlow { p99, most } => write!(
                f,
                "its p99 of {} ms is over the {} ms of max_latency_p99_ms",
                p99.as_millis(),
                most.as_millis()
            ),
        }
    }
}

/// Scores that fall on the same step of this width are alike: what is measured moves all the time, and an order that followed every
/// thousandth of it would flap.
const STEP: f64 = 0.02;

/// What an order of candidates is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Candidate<'a> {
    pub name: &'a str,
    pub role: Role,
    /// Among the models of a role that are tried one after the other.
    pub tier: usize,
    /// Nothing excludes it.
    pub callable: bool,
    pub score: f64,
    /// From 0 (full) to 1 (idle).
    pub load: f64,
}

/// Positions of `candidates`, best first: by role and tier whatever the scores, callable ones first, then by score. Of those that
/// score alike the less loaded comes first, and names settle the rest. Where one stands to another depends on those two alone.
pub(crate) fn rank(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let mut order: Vec<(usize, &Candidate<'_>)> = candidates.iter().enumerate().collect();
    order.sort_by(|(_, a), (_, b)| {
        (a.role, a.tier, !a.callable)
            .cmp(&(b.role, b.tier, !b.callable))
            .then_with(|| step(b.score).total_cmp(&step(a.score)))
            .then_with(|| step(b.load).total_cmp(&step(a.load)))
            .then_with(|| a.name.cmp(b.name))
    });
    order.into_iter().map(|(position, _)| position).collect()
}

fn step(value: f64) -> f64 {
    // adding zero turns a negative zero into the positive one
    (value / STEP).round() + 0.0
}

#[cfg(test)]
mod tests;
