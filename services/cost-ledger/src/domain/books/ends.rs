//! How attempts end: what their parts had set aside becomes what they are charged, once.

use std::borrow::Cow;

use embermesh_errors::{Code, Error};
use embermesh_types::NanoUsd;

use super::{Books, Known};
use crate::domain::{
    attempt::{Attempt, Overdrawn, State},
    part::Part,
    post::Attempted,
    settlement::{Charge, Settlement},
};

impl<'a> Books<'a> {
    pub(super) fn settle(&mut self, settlement: &'a Settlement) -> Result<(), Error> {
        let Some(at) = self.positions.get(&settlement.attempt).copied() else {
            let message = "no such attempt was reserved, reserve it before it is settled";
            return Err(Error::not_found(message).with_param("attempt_id"));
        };
        let known = &self.attempts[at];
        only_reserved(&known.attempt, &settlement.charges)?;
        if known.attempt.state != State::Reserved {
            return self.same_settlement(known, settlement);
        }
        if let Some(Overdrawn { agent, reserved, charged }) = known.attempt.overdrawn(&settlement.charges) {
            // the provider's word decides; the bound was wrong
            let (attempt, reserved, charged) = (known.attempt.id, reserved.0, charged.0);
            tracing::error!(%attempt, %agent, reserved, charged, "an attempt cost more than its bound");
        }
        self.end(at, Cow::Borrowed(settlement));
        Ok(())
    }

    /// What was never reserved, or has ended, costs nothing more.
    pub(super) fn presume(&mut self, attempted: Attempted) {
        let Some(at) = self.positions.get(&attempted.attempt).copied() else { return };
        let attempt = &self.attempts[at].attempt;
        if attempt.state == State::Reserved {
            let settlement = Settlement::presumed(attempt);
            self.end(at, Cow::Owned(settlement));
        }
    }

    /// Turns what the parts of an open attempt had set aside into what they are charged.
    fn end(&mut self, at: usize, settlement: Cow<'a, Settlement>) {
        let Known { attempt, ends, .. } = &mut self.attempts[at];
        let day = attempt.day;
        let mut left: Vec<Option<&Charge>> = settlement.charges.iter().map(Some).collect();
        let parts: Vec<_> = attempt.reserved_parts().collect();
        for (nth, part) in parts.iter().enumerate() {
            // each charge once: by the first part of its request, and what comes twice by its twin
            let twins = parts[nth + 1..].iter().any(|other| same_request(other, part));
            let mut charged = NanoUsd::ZERO;
            for slot in &mut left {
                if let Some(charge) = slot.filter(|charge| charge.is_of(part)) {
                    charged.0 += charge.amount.0;
                    *slot = None;
                    if twins {
                        break;
                    }
                }
            }
            let path = part.path(&attempt.provider);
            let kept = part.lease.and_then(|id| self.leases.get_mut(&id));
            if part.amount > NanoUsd::ZERO || charged > NanoUsd::ZERO {
                self.uncertain |= part.amount == NanoUsd::ZERO;
                match kept {
                    Some(kept) => kept.now.end(part.amount, charged),
                    None => self.accounts.release(&path, day, part.amount.into()),
                }
                self.accounts.spend(&path, day, charged.into());
            }
        }
        attempt.state = settlement.outcome;
        attempt.amount = Some(settlement.amount);
        attempt.tokens = Some(settlement.tokens);
        attempt.billed_units = settlement.billed_units;
        *ends = Some(settlement);
    }

    fn same_settlement(&self, known: &Known<'_>, settlement: &Settlement) -> Result<(), Error> {
        let attempt = &known.attempt;
        let mut charges = settlement.charges.clone();
        charges.sort();
        let same_charges = || match &known.ends {
            Some(ended) => {
                let mut booked = ended.charges.clone();
                booked.sort();
                booked == charges
            }
            None => self.charges.get(&attempt.id).map_or(charges.is_empty(), |booked| *booked == charges),
        };
        if attempt.state == settlement.outcome
            && attempt.amount == Some(settlement.amount)
            && attempt.tokens == Some(settlement.tokens)
            && attempt.billed_units == settlement.billed_units
            && same_charges()
        {
            return Ok(());
        }
        let (state, outcome) = (attempt.state.as_str(), settlement.outcome.as_str());
        tracing::error!(attempt = %attempt.id, state, outcome, "an attempt was settled again with other values");
        let message = format!("the attempt is {state} already, with other values");
        Err(Error::new(Code::Conflict, message).with_param("attempt_id").with_detail("state", state))
    }
}

/// Whether every charge is to a request, an agent and a key that the attempt was reserved for.
fn only_reserved(attempt: &Attempt, charges: &[Charge]) -> Result<(), Error> {
    for (at, charge) in charges.iter().enumerate() {
        if attempt.reserved_parts().any(|part| charge.is_of(part)) {
            continue;
        }
        let mut of_agent = attempt.reserved_parts().filter(|part| part.agent == charge.agent).peekable();
        let (field, message) = if of_agent.peek().is_none() {
            ("agent_id", "a charge must be to an agent whose budget was reserved")
        } else if of_agent.any(|part| part.request == charge.request) {
            ("key_id", "a charge must be to the key that the request was reserved for")
        } else {
            ("request_id", "a charge must be of a request that the attempt was reserved for")
        };
        return Err(Error::invalid(format!("charges[{at}].{field}"), message));
    }
    Ok(())
}

fn same_request(one: &Part, other: &Part) -> bool {
    one.request == other.request && one.agent == other.agent && one.key == other.key
}
