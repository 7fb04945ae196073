//! What an agent may spend.

use embermesh_proto::v1::Agent;
use embermesh_types::NanoUsd;

use super::period::Period;

/// An agent's limits; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) day: Option<NanoUsd>,
    pub(crate) month: Option<NanoUsd>,
    /// Of a single attempt.
    pub(crate) request: Option<NanoUsd>,
}

impl Limits {
    /// Those of an agent; one without a configuration has none.
    pub(crate) fn of(agent: Option<&Agent>) -> Self {
        let Some(constraints) = agent.and_then(|agent| agent.constraints.as_ref()) else {
            return Self::default();
        };
        Self {
            day: constraints.max_cost_per_day_nano_usd.map(NanoUsd),
            month: constraints.max_cost_per_month_nano_usd.map(NanoUsd),
            request: constraints.max_cost_per_request_nano_usd.map(NanoUsd),
        }
    }

    pub(crate) const fn over(&self, period: Period) -> Option<NanoUsd> {
        match period {
            Period::Day => self.day,
            Period::Month => self.month,
        }
    }
}
