//! What callers ask of the books, checked on arrival.

use std::time::{Duration, SystemTime};

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1 as wire;
use embermesh_types::{AgentId, AttemptId, KeyId, NanoUsd, RequestId, SpaceId, TenantId};

use super::attempt::{State, created_at};

/// How far a router's clock may be from this one's.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// An operation of one tenant.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) tenant: TenantId,
    pub(crate) operation: Operation,
}

/// What to do.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Reserve(Reserve),
    Settle(Settlement),
    Hits(Vec<Hit>),
}

/// Money to set aside.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    pub(crate) attempt: AttemptId,
    pub(crate) created_at: SystemTime,
    pub(crate) agent: AgentId,
    pub(crate) request: RequestId,
    pub(crate) key: KeyId,
    pub(crate) provider: String,
    pub(crate) deployment: String,
    pub(crate) model: String,
    pub(crate) space: SpaceId,
    pub(crate) amount: NanoUsd,
    pub(crate) tokens_bound: i64,
    pub(crate) price: NanoUsd,
}

/// An attempt's end.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) attempt: AttemptId,
    pub(crate) created_at: SystemTime,
    pub(crate) outcome: State,
    pub(crate) amount: NanoUsd,
    pub(crate) tokens: i64,
    pub(crate) charges: Vec<Charge>,
    /// From the sweeper, which is content when somebody else was first.
    pub(crate) swept: bool,
}

/// A request's part of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Charge {
    pub(crate) request: RequestId,
    pub(crate) agent: AgentId,
    pub(crate) key: KeyId,
    pub(crate) tokens: i64,
    pub(crate) amount: NanoUsd,
    pub(crate) inputs: i32,
}

/// Inputs that the cache answered.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) request: RequestId,
    pub(crate) agent: AgentId,
    pub(crate) key: KeyId,
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) tokens: i64,
    pub(crate) inputs: i32,
    pub(crate) saved: NanoUsd,
}

impl Reserve {
    pub(crate) fn parse(
        message: wire::ReserveRequest,
        caller: &Principal,
        now: SystemTime,
    ) -> Result<Self, Error> {
        let (attempt, created_at) = attempt_id(&message.attempt_id)?;
        let skew = now.duration_since(created_at).unwrap_or_else(|error| error.duration());
        if skew > SKEW {
            let message = "the time in the id is more than a day from the ledger's, check the clocks";
            return Err(Error::invalid("attempt_id", message));
        }
        Ok(Self {
            attempt,
            created_at,
            agent: parse("agent_id", &message.agent_id)?,
            request: parse("request_id", &message.request_id)?,
            key: key_of("key_id", &message.key_id, caller)?,
            provider: label("provider", message.provider)?,
            deployment: label("deployment", message.deployment)?,
            model: label("model", message.model)?,
            space: parse("space_id", &message.space_id)?,
            amount: money("amount_nano_usd", message.amount_nano_usd)?,
            tokens_bound: count("tokens_bound", message.tokens_bound)?,
            price: money("price_per_million_nano_usd", message.price_per_million_nano_usd)?,
        })
    }
}

impl Settlement {
    pub(crate) fn parse(message: wire::SettleRequest, caller: &Principal) -> Result<Self, Error> {
        let outcome = match message.outcome() {
            wire::AttemptOutcome::Settled => State::Settled,
            wire::AttemptOutcome::Voided => State::Voided,
            wire::AttemptOutcome::Presumed => State::Presumed,
            wire::AttemptOutcome::Unspecified => {
                return Err(Error::invalid("outcome", "say settled, voided or presumed"));
            }
        };
        let (attempt, created_at) = attempt_id(&message.attempt_id)?;
        let amount = money("amount_nano_usd", message.amount_nano_usd)?;
        if outcome == State::Voided && amount != NanoUsd::ZERO {
            return Err(Error::invalid("amount_nano_usd", "a voided attempt costs nothing"));
        }
        let charges = message.charges.into_iter().enumerate();
        let charges =
            charges.map(|(at, charge)| Charge::parse(at, charge, caller)).collect::<Result<Vec<_>, _>>()?;
        let sum = charges.iter().try_fold(NanoUsd::ZERO, |sum, charge| sum.checked_add(charge.amount));
        if sum != Some(amount) {
            return Err(Error::invalid("charges", "the charges must sum to amount_nano_usd exactly"));
        }
        let tokens = count("tokens", message.tokens)?;
        Ok(Self { attempt, created_at, outcome, amount, tokens, charges, swept: false })
    }
}

impl Charge {
    fn parse(at: usize, message: wire::Charge, caller: &Principal) -> Result<Self, Error> {
        let field = |name: &str| format!("charges[{at}].{name}");
        Ok(Self {
            request: parse(&field("request_id"), &message.request_id)?,
            agent: parse(&field("agent_id"), &message.agent_id)?,
            key: key_of(&field("key_id"), &message.key_id, caller)?,
            tokens: count(&field("tokens"), message.tokens)?,
            amount: money(&field("amount_nano_usd"), message.amount_nano_usd)?,
            inputs: inputs(&field("inputs"), message.inputs)?,
        })
    }
}

impl Hit {
    pub(crate) fn parse(at: usize, message: wire::Hit, caller: &Principal) -> Result<Self, Error> {
        let field = |name: &str| format!("hits[{at}].{name}");
        Ok(Self {
            request: parse(&field("request_id"), &message.request_id)?,
            agent: parse(&field("agent_id"), &message.agent_id)?,
            key: key_of(&field("key_id"), &message.key_id, caller)?,
            provider: label(&field("provider"), message.provider)?,
            model: label(&field("model"), message.model)?,
            tokens: count(&field("tokens"), message.tokens)?,
            inputs: inputs(&field("inputs"), message.inputs)?,
            saved: money(&field("saved_nano_usd"), message.saved_nano_usd)?,
        })
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(param: &str, text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: T::Err| Error::invalid(param, error.to_string()))
}

/// No key means the caller's.
fn key_of(param: &str, text: &str, caller: &Principal) -> Result<KeyId, Error> {
    if text.is_empty() { Ok(caller.key.clone()) } else { parse(param, text) }
}

fn attempt_id(text: &str) -> Result<(AttemptId, SystemTime), Error> {
    let id: AttemptId = parse("attempt_id", text)?;
    let time = created_at(id)
        .ok_or_else(|| Error::invalid("attempt_id", "attempt_id must be a UUID of version 7"))?;
    Ok((id, time))
}

fn label(param: &str, text: String) -> Result<String, Error> {
    if (1..=255).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Error::invalid(param, "expected 1 to 255 characters and no control characters"))
}

fn money(param: &str, nanos: i64) -> Result<NanoUsd, Error> {
    if nanos < 0 {
        Err(Error::invalid(param, "an amount of money may not be negative"))
    } else {
        Ok(NanoUsd(nanos))
    }
}

fn count(param: &str, tokens: u64) -> Result<i64, Error> {
    i64::try_from(tokens).map_err(|_| Error::invalid(param, "too large a count"))
}

fn inputs(param: &str, inputs: u32) -> Result<i32, Error> {
    i32::try_from(inputs).map_err(|_| Error::invalid(param, "too large a count"))
}
