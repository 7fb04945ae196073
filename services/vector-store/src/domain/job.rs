//! Jobs: what is asked of them, and how far they are.

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{StartClearRequest, StartWarmRequest};
use embermesh_types::{AgentId, SpaceId, TenantId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{agent, filter::parse_space};

/// Most rows of an agent and space.
const MAX_ROWS: u32 = 100_000;
/// Most models of a catalog.
const MAX_MODELS: usize = 10_000;

/// What a job is to do, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Task {
    /// Puts stored rows into Redis.
    CacheWarm(Warm),
    /// Takes entries out of Redis.
    CacheClear(Clear),
}

impl Task {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::CacheWarm(_) => "cache_warm",
            Self::CacheClear(_) => "cache_clear",
        }
    }
}

/// Which rows, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warm {
    pub(crate) tenant: Uuid,
    pub(crate) agent: Option<String>,
    pub(crate) space: Option<String>,
    pub(crate) most_used: bool,
    pub(crate) rows_per_agent: u32,
    pub(crate) stamp: i64,
    /// Entries with this stamp or a greater one were not cleared.
    pub(crate) cleared: i64,
    /// `None`: as configured.
    pub(crate) ttl_seconds: Option<u64>,
    /// Catalog ids, and whether the model embeds documents and queries differently.
    pub(crate) models: Vec<(String, bool)>,
}

/// Which entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clear {
    /// `None`: of all tenants.
    pub(crate) tenant: Option<Uuid>,
    pub(crate) space: Option<String>,
    /// Entries with this stamp or a greater one are newer than the order.
    pub(crate) number: i64,
    /// No entry goes: the other agents of the tenant have them too.
    pub(crate) of_one_agent: bool,
}

/// A job that somebody works on.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    pub(crate) tenant: TenantId,
    pub(crate) id: Uuid,
    pub(crate) task: Task,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    pub(crate) changed: u64,
}

/// A job as its tenant sees it.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) progress: Progress,
    pub(crate) note: Option<String>,
    pub(crate) created_at: SystemTime,
    pub(crate) started_at: Option<SystemTime>,
    pub(crate) finished_at: Option<SystemTime>,
}

/// Reads a request to warm.
pub(crate) fn parse_warm(request: StartWarmRequest) -> Result<Task, Error> {
    if !(1..=MAX_ROWS).contains(&request.rows_per_agent) {
        let message = format!("rows_per_agent is {}, it must be 1 to {MAX_ROWS}", request.rows_per_agent);
        return Err(Error::invalid("rows_per_agent", message));
    }
    if request.models.len() > MAX_MODELS {
        return Err(Error::invalid("models", format!("more than {MAX_MODELS} models")));
    }
    Ok(Task::CacheWarm(Warm {
        tenant: tenant(&request.tenant_id)?.uuid(),
        agent: agent::parse(&request.agent_id)?.map(AgentId::into),
        space: space(&request.space_id)?,
        most_used: request.most_used,
        rows_per_agent: request.rows_per_agent,
        stamp: request.stamp,
        cleared: request.cleared,
        ttl_seconds: Some(request.ttl_seconds).filter(|seconds| *seconds > 0),
        models: request.models.into_iter().map(|model| (model.id, model.distinguishes_input_type)).collect(),
    }))
}

/// Reads a request to clear.
pub(crate) fn parse_clear(request: &StartClearRequest) -> Result<Task, Error> {
    let of = match request.tenant_id.as_str() {
        "" => None,
        text => Some(tenant(text)?.uuid()),
    };
    Ok(Task::CacheClear(Clear {
        tenant: of,
        space: space(&request.space_id)?,
        number: request.number,
        of_one_agent: request.of_one_agent,
    }))
}

fn tenant(text: &str) -> Result<TenantId, Error> {
    text.parse().map_err(|error: embermesh_types::IdError| Error::invalid("tenant_id", error.to_string()))
}

fn space(text: &str) -> Result<Option<String>, Error> {
    match text {
        "" => Ok(None),
        text => parse_space(text).map(SpaceId::into).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

    fn warm() -> StartWarmRequest {
        StartWarmRequest { tenant_id: TENANT.into(), rows_per_agent: 5, ..StartWarmRequest::default() }
    }

    #[test]
    fn a_task_is_kept_and_read_back() {
        let model =
            embermesh_proto::internal::v1::WarmModel { id: "m".into(), distinguishes_input_type: true };
        let request = StartWarmRequest { agent_id: "a".into(), models: vec![model], ..warm() };
        let clear = StartClearRequest { space_id: "m@3".into(), number: 7, ..StartClearRequest::default() };
        for task in [parse_warm(request).unwrap(), parse_clear(&clear).unwrap()] {
            let kept = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&kept).unwrap(), task, "{kept}");
            assert!(kept.contains(task.kind()));
        }
    }

    #[test]
    fn what_cannot_be_done_is_named() {
        let refused = |change: fn(&mut StartWarmRequest)| {
            let mut request = warm();
            change(&mut request);
            parse_warm(request).unwrap_err().param.unwrap()
        };
        assert_eq!(refused(|r| r.rows_per_agent = 0), "rows_per_agent");
        assert_eq!(refused(|r| r.rows_per_agent = 100_001), "rows_per_agent");
        assert_eq!(refused(|r| r.tenant_id = "x".into()), "tenant_id");
        assert_eq!(refused(|r| r.agent_id = "a b".into()), "agent_id");
        assert_eq!(refused(|r| r.space_id = "m".into()), "space_id");
    }
}
