//! What costs less, for agents that would rather have that than a refusal when a budget is spent: another deployment of the same space
//! first, then, where the agent's vectors may leave it, a fallback model.

use std::sync::Arc;

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::CatalogModel;
use embermesh_types::{NanoUsd, TokenCount};

use crate::{
    admission::Tried,
    answer::Unit,
    attempts::Attempts,
    batch::Batch,
    consider::usual_tariff,
    deployments::Deployments,
    domain::{
        choice::Choice,
        price::{Tariff, tariff_at},
    },
    tokenizers::Tokenizers,
};

impl Attempts {
    /// Ends the wait for texts whose budget does not hold `cost`, unless their agent takes what costs less and there is something.
    pub fn refuse_or_find_cheaper(self: &Arc<Self>, batch: Batch, cost: NanoUsd, error: &Error) {
        let is_spent = error.code == Code::BudgetExceeded;
        if !(is_spent && batch.order.terms.cheaper) {
            return batch.fail(error);
        }
        let now = self.clock.now();
        let texts = || batch.texts.iter().map(|text| (&*text.text, text.bound));
        let dear = self.deployments.of(&batch.order.model).into_iter().filter(|deployment| {
            let account = &deployment.account;
            let tariff = tariff_at(&batch.order.model, &account.name, account.kind, now);
            tariff.is_none_or(|tariff| cost_at_most(tariff, texts()) >= cost)
        });
        let out = dear.map(|deployment| Arc::clone(&deployment.name)).collect();
        let tried = Tried { out, refused: Some(error.clone()), ..Tried::default() };
        tracing::debug!(model = batch.order.model.id, "a budget is spent, a cheaper deployment is tried");
        self.spawn_after(batch, 0, tried);
    }
}

/// What the texts can cost at most.
fn cost_at_most<'a>(tariff: Tariff, texts: impl Iterator<Item = (&'a str, TokenCount)>) -> NanoUsd {
    let units = texts.map(|(text, bound)| match tariff.by_character {
        true => text.chars().count() as u64,
        false => bound.0,
    });
    tariff.price.cost(TokenCount(units.sum()))
}

/// Whether a budget is why nothing could be had.
pub(crate) fn is_spent(outcome: &Result<Vec<Unit>, Error>) -> bool {
    let spent = |error: &Error| error.code == Code::BudgetExceeded;
    match outcome {
        Ok(units) => {
            units.iter().all(|unit| unit.found().next().is_none())
                && units.iter().filter_map(Unit::error).any(spent)
        }
        Err(error) => spent(error),
    }
}

/// Of `others` those for which `texts` usually cost less than for `choice`, in their order.
pub(crate) fn cheaper_models(
    deployments: &Deployments,
    choice: &Choice,
    others: Vec<Choice>,
    texts: &[Arc<str>],
    now: std::time::SystemTime,
) -> Vec<Choice> {
    let cost = |model: &CatalogModel| {
        let tariff = usual_tariff(deployments, model, now)?;
        Some(cost_at_most(tariff, texts.iter().map(|text| (&**text, Tokenizers::bound(model, text)))))
    };
    let Some(refused) = cost(&choice.model) else { return Vec::new() };
    others.into_iter().filter(|other| cost(&other.model).is_some_and(|cost| cost < refused)).collect()
}
