//! An attempt as the books hold it.

use std::time::SystemTime;

use embermesh_types::{AgentId, AttemptId, NanoUsd};
use jiff::civil::Date;

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

/// What later operations need of a row of `attempts`.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) id: AttemptId,
    pub(crate) state: State,
    pub(crate) agent: AgentId,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) reserved: NanoUsd,
    pub(crate) amount: Option<NanoUsd>,
    pub(crate) tokens: Option<i64>,
    pub(crate) day: Date,
    pub(crate) reserved_at: SystemTime,
}

/// The time inside a UUIDv7, which the row is filed under; `None` for other ids.
pub(crate) fn created_at(id: AttemptId) -> Option<SystemTime> {
    (id.uuid().get_version_num() == 7).then_some(())?;
    let (seconds, nanos) = id.uuid().get_timestamp()?.to_unix();
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::new(seconds, nanos))
}
