//! The money of one call: set aside before its bytes leave, by request, and charged or given back after.

use std::sync::Arc;

use embermesh_errors::{Code, Error};
use embermesh_escrow::Quota;
use embermesh_proto::internal::v1::{AttemptOutcome, ReservePart, ReserveRequest};
use embermesh_transport::CallContext;
use embermesh_types::{AttemptId, TokenCount};

use crate::{
    attempts::Attempts,
    batch::{Batch, Part},
    books::{Settlement, Wanted},
    deployment::Deployment,
    domain::{
        price::{Tariff, tariff_at},
        usage::Share,
    },
    hold::Hold,
    ids::uuid_v7,
    quotas::Taken,
};

/// What was set aside.
pub(crate) struct Reserved {
    pub hold: Hold,
    pub ctx: CallContext,
    pub parts: Vec<Part>,
    /// Of each part, at most.
    pub bounds: Vec<Bound>,
    pub tariff: Tariff,
}

/// What a part can take at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bound {
    pub tokens: TokenCount,
    /// What the price counts: tokens or characters.
    pub units: TokenCount,
}

impl Attempts {
    /// Sets aside what the batch can cost at most: by the lengths of its texts, which is at once, and for those parts alone whose
    /// budget does not hold that much, by their tokens. `None`: nothing is left to call for.
    pub async fn reserve(
        self: &Arc<Self>,
        mut batch: Batch,
        deployment: &Deployment,
    ) -> Option<(Batch, Reserved)> {
        let now = self.clock.now();
        let tariff = tariff_at(&batch.order.model, &deployment.account.name, deployment.account.kind, now);
        let Some(tariff) = tariff else {
            let message = format!("{} has no price; add one before it can be charged", batch.order.model.id);
            batch.fail(&Error::unavailable(message));
            return None;
        };
        let attempt = AttemptId::new(uuid_v7(now));
        let mut parts = batch.parts();
        let mut bounds = Vec::with_capacity(parts.len());
        for part in &parts {
            let mut bound = Bound::default();
            for text in part.texts.iter().map(|at| &batch.texts[*at]) {
                let tokens = if batch.exact {
                    self.tokenizers.count(&batch.order.model, &text.text).await
                } else {
                    text.bound
                };
                bound.tokens.0 += tokens.0;
                bound.units.0 +=
                    if tariff.by_character { text.text.chars().count() as u64 } else { tokens.0 };
            }
            bounds.push(bound);
        }
        let mut ctx = parts.first()?.asker.ctx.clone();
        ctx.deadline = batch.deadline();
        let (mut tokens, short) = self.take_tokens(&ctx, &bounds).await;
        if !short.is_empty() {
            // from the end, so that positions stay right
            for (at, error) in short.into_iter().rev() {
                let mut poor = batch.split_off(&parts[at].texts);
                bounds.remove(at);
                if batch.exact {
                    poor.fail(&error);
                } else {
                    poor.exact = true;
                    self.spawn(poor, 0);
                }
            }
            parts = batch.parts();
            if parts.is_empty() {
                return None;
            }
        }
        let wanted = Wanted {
            attempt,
            now,
            tenant: batch.order.tenant,
            provider: &deployment.account.name,
            parts: &parts,
            request: reservation(&batch, deployment, attempt, &parts, &bounds, tariff),
        };
        let (mut hold, mut refused) = match self.books.reserve(&ctx, wanted).await {
            Ok((hold, refused)) => (hold, refused),
            Err(error) if error.code == Code::BudgetExceeded && parts.len() == 1 => {
                (Hold::unwritten(attempt, batch.order.tenant), vec![(0, error)])
            }
            Err(error) => {
                tokens.into_iter().for_each(give_back);
                batch.fail(&error);
                return None;
            }
        };
        if refused.is_empty() {
            hold.hold_tokens(tokens);
            return Some((batch, Reserved { hold, ctx, parts, bounds, tariff }));
        }
        // from the end, so that positions stay right
        refused.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, error) in refused {
            let Some(part) = parts.get(at) else { continue };
            let mut poor = batch.split_off(&part.texts);
            let bound = bounds.remove(at);
            give_back(tokens.remove(at));
            if batch.exact || tariff.by_character {
                self.refuse_or_find_cheaper(poor, tariff.price.cost(bound.units), &error);
            } else {
                poor.exact = true;
                self.spawn(poor, 0);
            }
        }
        let parts = batch.parts();
        if parts.is_empty() {
            // without parts there is no attempt
            hold.forget();
            return None;
        }
        hold.hold_tokens(tokens);
        Some((batch, Reserved { hold, ctx, parts, bounds, tariff }))
    }
}

impl Attempts {
    /// Takes of the tenant's tokens what each part can take at most, where they are limited: for those let in, in order; and which parts
    /// there was no room for.
    async fn take_tokens(
        &self,
        ctx: &CallContext,
        bounds: &[Bound],
    ) -> (Vec<Option<Taken>>, Vec<(usize, Error)>) {
        let (mut tokens, mut short) = (Vec::new(), Vec::new());
        for (at, bound) in bounds.iter().enumerate() {
            match self.books.quotas.take(ctx, Quota::Tokens, bound.tokens.0.max(1)).await {
                Ok(taken) => tokens.push(taken),
                Err(error) => short.push((at, error)),
            }
        }
        (tokens, short)
    }
}

fn give_back(taken: Option<Taken>) {
    if let Some(taken) = taken {
        taken.end(0);
    }
}

fn reservation(
    batch: &Batch,
    deployment: &Deployment,
    attempt: AttemptId,
    parts: &[Part],
    bounds: &[Bound],
    tariff: Tariff,
) -> ReserveRequest {
    let parts = parts.iter().zip(bounds).map(|(part, bound)| ReservePart {
        request_id: part.asker.ctx.request_id.as_str().to_owned(),
        agent_id: part.asker.agent.as_str().to_owned(),
        key_id: part.asker.ctx.principal.key.as_str().to_owned(),
        amount_nano_usd: tariff.price.cost(bound.units).0,
        tokens_bound: bound.tokens.0,
        inputs: u32::try_from(part.texts.len()).unwrap_or(u32::MAX),
        lease_id: String::new(),
    });
    ReserveRequest {
        attempt_id: attempt.text(),
        parts: parts.collect(),
        provider: (*deployment.account.name).to_owned(),
        deployment: (*deployment.account.name).to_owned(),
        model: batch.order.model.id.clone(),
        space_id: batch.order.space.as_str().to_owned(),
        price_per_million_nano_usd: tariff.price.0.0,
        session_id: String::new(),
    }
}

/// Nobody knows what was billed: charged at the bound.
pub(crate) fn presumed(reserved: &Reserved, batch: &Batch) -> Settlement {
    let Reserved { hold, parts, bounds, tariff, .. } = reserved;
    let charges = parts.iter().zip(bounds).map(|(part, bound)| {
        let share = Share { tokens: bound.tokens, cost: tariff.price.cost(bound.units) };
        (Arc::clone(&part.asker), share, part.texts.len())
    });
    Settlement {
        attempt: hold.attempt,
        outcome: AttemptOutcome::Presumed,
        tokens: bounds.iter().map(|bound| bound.tokens).sum(),
        billed_units: if tariff.by_character { batch.characters() } else { 0 },
        charges: charges.collect(),
    }
}
