//! Calls to the provider, which is the truth that the books are held against.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use embermesh_escrow::{Path, Period, Scope, day_of};
use embermesh_types::{AgentId, AttemptId, KeyId, NanoUsd};
use jiff::{Timestamp, civil::Date};
use uuid::Uuid;

use crate::domain::{
    attempt::State,
    ids::{LeaseId, SessionId},
    part::Part,
    post::Attempted,
    reserve::{Leased, Reserve},
    settlement::{Charge, Settlement},
};

/// A call whose bytes have left.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub attempt: AttemptId,
    pub at: Timestamp,
    pub path: Path,
    pub day: Date,
    pub bound: NanoUsd,
    pub lease: Option<LeaseId>,
    /// What it costs by the router's last word; `None` while it is under way.
    pub cost: Option<NanoUsd>,
}

pub(super) fn attempted(attempt: AttemptId, created_at: SystemTime) -> Attempted {
    Attempted { attempt, created_at }
}

impl Call {
    pub fn new(number: u128, at: Timestamp, path: Path, bound: NanoUsd, lease: Option<LeaseId>) -> Self {
        let attempt = AttemptId::new(Uuid::from_u128(number));
        Self { attempt, at, path, day: day_of(at.into()), bound, lease, cost: None }
    }

    fn spender(&self) -> (AgentId, KeyId, String) {
        let Path::Money { agent, key, provider } = self.path.clone() else { panic!("a call costs money") };
        (agent, key, provider)
    }

    fn part(&self) -> Part {
        let (agent, key, _) = self.spender();
        Part {
            request: "request".parse().unwrap(),
            agent,
            key,
            amount: self.bound,
            tokens_bound: self.bound.0,
            inputs: 1,
            lease: self.lease,
        }
    }

    pub fn reserve(&self, session: SessionId, may_wait: bool) -> Reserve {
        Reserve {
            attempt: self.attempt,
            created_at: self.at.into(),
            parts: vec![self.part()],
            provider: self.spender().2,
            deployment: self.spender().2,
            model: "model".to_owned(),
            space: "family/model@8".parse().unwrap(),
            price: NanoUsd(1_000_000),
            session: Some(session),
            leased: self.lease.map(|_| Leased { at: self.at.into(), day: self.day }),
            may_wait,
        }
    }

    pub fn settlement(&self, outcome: State, amount: NanoUsd) -> Settlement {
        let (agent, key, _) = self.spender();
        let charge =
            Charge { request: "request".parse().unwrap(), agent, key, tokens: amount.0, amount, inputs: 1 };
        Settlement {
            attempt: self.attempt,
            created_at: self.at.into(),
            outcome,
            amount,
            tokens: amount.0,
            billed_units: None,
            charges: if outcome == State::Voided { Vec::new() } else { vec![charge] },
        }
    }
}

/// What was truly spent or is under way, by account and period.
#[derive(Debug, Default)]
pub(super) struct Truth(BTreeMap<(Scope, String, Period, Date), i64>);

impl Truth {
    pub fn add(&mut self, call: &Call, nanos: i64) {
        for scope in Scope::OF_MONEY {
            for period in Period::BOTH {
                let subject = call.path.subject(scope).to_owned();
                *self.0.entry((scope, subject, period, period.start(call.day))).or_default() += nanos;
            }
        }
    }

    pub fn of(&self, path: &Path, scope: Scope, period: Period, day: Date) -> i64 {
        let key = (scope, path.subject(scope).to_owned(), period, period.start(day));
        self.0.get(&key).copied().unwrap_or_default()
    }

    pub fn all(&self) -> impl Iterator<Item = (&(Scope, String, Period, Date), i64)> {
        self.0.iter().map(|(key, nanos)| (key, *nanos))
    }
}

/// The time, moved on.
pub(super) fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp::try_from(SystemTime::from(now) + by).unwrap()
}
