//! How an attempt ends.

use std::time::SystemTime;

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1 as wire;
use embermesh_types::{AgentId, AttemptId, KeyId, NanoUsd, RequestId};

use super::{
    attempt::{Attempt, State},
    parse::{attempt_id, count, inputs, key_of, money, parse},
    part::Part,
};

/// An attempt's end.
#[derive(Debug, Clone)]
pub(crate) struct Settlement {
    pub(crate) attempt: AttemptId,
    pub(crate) created_at: SystemTime,
    pub(crate) outcome: State,
    pub(crate) amount: NanoUsd,
    pub(crate) tokens: i64,
    /// What the provider billed, where its price is not by token.
    pub(crate) billed_units: Option<i64>,
    pub(crate) charges: Vec<Charge>,
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
        let billed_units = count("billed_units", message.billed_units)?;
        let billed_units = (billed_units > 0).then_some(billed_units);
        Ok(Self { attempt, created_at, outcome, amount, tokens, billed_units, charges })
    }

    /// Of an attempt whose end nobody knows: each part at its bound.
    pub(crate) fn presumed(attempt: &Attempt) -> Self {
        let charges: Vec<_> = attempt.reserved_parts().map(Charge::at_bound).collect();
        Self {
            attempt: attempt.id,
            created_at: attempt.created_at,
            outcome: State::Presumed,
            amount: attempt.reserved,
            tokens: charges.iter().map(|charge| charge.tokens).sum(),
            billed_units: None,
            charges,
        }
    }
}

impl Charge {
    /// All that a part may cost.
    fn at_bound(part: &Part) -> Self {
        Self {
            request: part.request.clone(),
            agent: part.agent.clone(),
            key: part.key.clone(),
            tokens: part.tokens_bound,
            amount: part.amount,
            inputs: part.inputs,
        }
    }

    /// Whether it is of that part's request.
    pub(crate) fn is_of(&self, part: &Part) -> bool {
        self.request == part.request && self.agent == part.agent && self.key == part.key
    }

    fn parse(at: usize, message: wire::Charge, caller: &Principal) -> Result<Self, Error> {
        let field = |name: &str| format!("charges[{at}].{name}");
        let named = |error: Error, name: &str| error.with_param(field(name));
        Ok(Self {
            request: parse("", &message.request_id).map_err(|error| named(error, "request_id"))?,
            agent: parse("", &message.agent_id).map_err(|error| named(error, "agent_id"))?,
            key: key_of("", &message.key_id, caller).map_err(|error| named(error, "key_id"))?,
            tokens: count("", message.tokens).map_err(|error| named(error, "tokens"))?,
            amount: money("", message.amount_nano_usd).map_err(|error| named(error, "amount_nano_usd"))?,
            inputs: inputs("", message.inputs).map_err(|error| named(error, "inputs"))?,
        })
    }
}
