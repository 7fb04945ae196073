//! The requests that share an attempt, each with its own agent's money.

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_escrow::Path;
use embermesh_proto::internal::v1 as wire;
use embermesh_types::{AgentId, KeyId, NanoUsd, RequestId};

use super::{
    ids::LeaseId,
    parse::{count, inputs, key_of, money, optional, parse},
};

/// A request's share of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) request: RequestId,
    pub(crate) agent: AgentId,
    pub(crate) key: KeyId,
    /// Upper bound of its cost.
    pub(crate) amount: NanoUsd,
    pub(crate) tokens_bound: i64,
    pub(crate) inputs: i32,
    /// What the amount comes out of, if it was not reserved by itself.
    pub(crate) lease: Option<LeaseId>,
}

/// A part that was not let in while others were.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// Position among the parts.
    pub(crate) part: usize,
    pub(crate) why: Error,
}

/// The parts without those refused, which are in order.
pub(crate) fn reserved<'a>(parts: &'a [Part], refused: &'a [Refused]) -> impl Iterator<Item = &'a Part> {
    let refused = |at: usize| refused.binary_search_by_key(&at, |refused| refused.part).is_ok();
    parts.iter().enumerate().filter(move |(at, _)| !refused(*at)).map(|(_, part)| part)
}

impl Part {
    pub(crate) fn parse(at: usize, message: wire::ReservePart, caller: &Principal) -> Result<Self, Error> {
        let named = |error: Error, name: &str| error.with_param(format!("parts[{at}].{name}"));
        Ok(Self {
            request: parse("", &message.request_id).map_err(|error| named(error, "request_id"))?,
            agent: parse("", &message.agent_id).map_err(|error| named(error, "agent_id"))?,
            key: key_of("", &message.key_id, caller).map_err(|error| named(error, "key_id"))?,
            amount: money("", message.amount_nano_usd).map_err(|error| named(error, "amount_nano_usd"))?,
            tokens_bound: count("", message.tokens_bound).map_err(|error| named(error, "tokens_bound"))?,
            inputs: inputs("", message.inputs).map_err(|error| named(error, "inputs"))?,
            lease: optional("", &message.lease_id).map_err(|error| named(error, "lease_id"))?,
        })
    }

    /// Who pays for it at a provider entry.
    pub(crate) fn path(&self, provider: &str) -> Path {
        Path::Money { agent: self.agent.clone(), key: self.key.clone(), provider: provider.to_owned() }
    }
}
