//! An attempt as the books hold it.

use std::{collections::BTreeMap, time::SystemTime};

use embermesh_types::{AgentId, AttemptId, NanoUsd};
use jiff::civil::Date;

use super::{
    part::{Part, Refused, reserved},
    settlement::Charge,
};

/// Where an attempt is in its life. All but the first are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Reserved,
    Settled,
    Voided,
    Presumed,
}

impl State {
    pub(crate) const ALL: [Self; 4] = [Self::Reserved, Self::Settled, Self::Voided, Self::Presumed];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Settled => "settled",
            Self::Voided => "voided",
            Self::Presumed => "presumed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// What later operations need of an attempt.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) created_at: SystemTime,
    pub(crate) state: State,
    /// As they were asked for.
    pub(crate) parts: Vec<Part>,
    /// Those of the parts that were left out, in order.
    pub(crate) refused: Vec<Refused>,
    pub(crate) provider: String,
    pub(crate) model: String,
    /// The sum over the parts that were let in.
    pub(crate) reserved: NanoUsd,
    pub(crate) amount: Option<NanoUsd>,
    pub(crate) tokens: Option<i64>,
    pub(crate) billed_units: Option<i64>,
    pub(crate) day: Date,
    pub(crate) reserved_at: SystemTime,
}

/// An agent whose share came to more than was set aside for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Overdrawn<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) reserved: NanoUsd,
    pub(crate) charged: NanoUsd,
}

impl Attempt {
    /// The parts that were let in.
    pub(crate) fn reserved_parts(&self) -> impl Iterator<Item = &Part> {
        reserved(&self.parts, &self.refused)
    }

    /// The first agent whose charges exceed what its parts had set aside.
    pub(crate) fn overdrawn<'a>(&'a self, charges: &'a [Charge]) -> Option<Overdrawn<'a>> {
        let mut sums: BTreeMap<&AgentId, (NanoUsd, NanoUsd)> = BTreeMap::new();
        for part in self.reserved_parts() {
            sums.entry(&part.agent).or_default().0.0 += part.amount.0;
        }
        for charge in charges {
            sums.entry(&charge.agent).or_default().1.0 += charge.amount.0;
        }
        let over = sums.into_iter().find(|(_, (reserved, charged))| charged > reserved);
        over.map(|(agent, (reserved, charged))| Overdrawn { agent, reserved, charged })
    }
}
