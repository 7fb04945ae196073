//! Inputs that the cache answered.

use std::time::SystemTime;

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1 as wire;
use embermesh_types::{AgentId, KeyId, NanoUsd, RequestId};
use uuid::Uuid;

use super::{
    parse::{count, inputs, key_of, label, money, parse, uuid7},
    reserve::known_time,
};

/// A charge of nothing.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) id: Uuid,
    /// The time in the id.
    pub(crate) at: SystemTime,
    pub(crate) request: RequestId,
    pub(crate) agent: AgentId,
    pub(crate) key: KeyId,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) tokens: i64,
    pub(crate) inputs: i32,
    pub(crate) saved: NanoUsd,
}

impl Hit {
    pub(crate) fn parse(message: wire::Hit, caller: &Principal, now: SystemTime) -> Result<Self, Error> {
        let (id, at) = uuid7("charge_id", &message.charge_id)?;
        known_time("charge_id", at, now)?;
        Ok(Self {
            id,
            at,
            request: parse("request_id", &message.request_id)?,
            agent: parse("agent_id", &message.agent_id)?,
            key: key_of("key_id", &message.key_id, caller)?,
            provider: label("provider", message.provider)?,
            model: label("model", message.model)?,
            tokens: count("tokens", message.tokens)?,
            inputs: inputs("inputs", message.inputs)?,
            saved: money("saved_nano_usd", message.saved_nano_usd)?,
        })
    }
}
