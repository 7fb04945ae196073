//! Has a batch of rows embedded. Their texts were scrubbed when they were stored, and go nowhere but to the router.

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{CopiedRow, FailedRow, ScannedRow},
    v1::CatalogModel,
};
use embermesh_tokens::TokenizerKind;
use embermesh_types::{AgentId, NanoUsd, Price, SpaceId, TokenCount};
use futures::future::{BoxFuture, FutureExt as _, join_all};

use super::run::{Run, Stop};
use crate::embeddings::{InputType, Item, OnTooLong, Route};

/// Rows of a batch. What is in flight when a router dies may have to be paid for again, so it is little.
pub(super) const BATCH: u32 = 64;

/// What a batch came to.
#[derive(Debug, Default)]
pub(super) struct Embedded {
    pub copies: Vec<CopiedRow>,
    pub failures: Vec<FailedRow>,
    pub cost: NanoUsd,
    /// Of all copies, and of those that a provider was called for.
    pub tokens: u64,
    pub called_tokens: u64,
    /// Calls to the router.
    pub calls: u64,
    /// Why some rows are still open.
    pub open: Option<Stop>,
}

/// Where copies go, and how.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub space: SpaceId,
    pub model: String,
    pub on_too_long: OnTooLong,
    /// No provider takes more for a million tokens.
    pub dearest: Price,
    pub tokenizer: Option<TokenizerKind>,
}

impl Target {
    /// Vectors of `model` in `space`.
    pub fn new(space: SpaceId, model: &CatalogModel, on_too_long: OnTooLong) -> Self {
        let prices = model.prices.iter().filter_map(|price| price.per_million_tokens_nano_usd);
        Self {
            space,
            model: model.id.clone(),
            on_too_long,
            dearest: Price(NanoUsd(prices.max().unwrap_or_default())),
            tokenizer: model.tokenizer.parse().ok(),
        }
    }

    /// The most that a text can cost.
    fn bound(&self, text: &str) -> NanoUsd {
        let kind = self.tokenizer.unwrap_or(TokenizerKind::Cl100kBase);
        self.dearest.cost(TokenCount(u64::try_from(kind.upper_bound(text)).unwrap_or(u64::MAX)))
    }

    /// How many of the first rows a budget is certainly enough for.
    pub fn affordable(&self, rows: &[ScannedRow], left: Option<NanoUsd>) -> usize {
        let Some(left) = left else { return rows.len() };
        let mut sum = NanoUsd::ZERO;
        let fits = rows.iter().take_while(|row| {
            sum = NanoUsd(sum.0.saturating_add(self.bound(&row.content).0));
            sum <= left
        });
        fits.count()
    }
}

/// Rows that go in one call.
type Group<'r> = ((&'r str, &'r str, &'r str), Vec<&'r ScannedRow>);

impl Run<'_> {
    /// Embeds rows. `again`: a batch before has no end on record, so what is cached may have been paid for by it.
    pub(super) async fn embed(&self, target: &Target, rows: &[ScannedRow], again: bool) -> Embedded {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for row in rows {
            let route = (row.agent_id.as_str(), row.task_type.as_str(), row.input_type.as_str());
            match groups.iter_mut().find(|(of, _)| *of == route) {
                Some((_, group)) => group.push(row),
                None => groups.push((route, vec![row])),
            }
        }
        // each text whole at first: where only a bound of its tokens is known, it may fit all the same
        let whole = OnTooLong::Error;
        let calls =
            groups.into_iter().map(|(route, rows)| self.embed_group(target, route, rows, whole, again));
        let mut all = Embedded::default();
        for embedded in join_all(calls).await {
            all.add(embedded);
        }
        all
    }

    fn embed_group<'s>(
        &'s self,
        target: &'s Target,
        route: (&'s str, &'s str, &'s str),
        rows: Vec<&'s ScannedRow>,
        on_too_long: OnTooLong,
        again: bool,
    ) -> BoxFuture<'s, Embedded> {
        async move {
            let (agent, task_type, input_type) = route;
            let mut embedded = Embedded { calls: 1, ..Embedded::default() };
            let mut long = Vec::new();
            let is_to_be_cut =
                |error: &Error| error.code == Code::InputTooLong && on_too_long != target.on_too_long;
            let Ok(agent) = agent.parse::<AgentId>() else {
                embedded.fail(&rows, &Error::invalid("agent_id", "the row's agent is none"));
                return embedded;
            };
            let by = Route {
                agent,
                model: Some(target.model.clone()),
                task_type: task_type.to_owned(),
                input_type: if input_type == "query" { InputType::Query } else { InputType::Document },
                dimensions: Some(target.space.dimensions()),
                on_too_long,
            };
            let texts = rows.iter().map(|row| row.content.clone()).collect();
            match self.service.parts.route(&self.context(), &by, texts).await {
                Ok(routed) => {
                    for (row, item) in rows.into_iter().zip(routed.items) {
                        match item {
                            Ok(item) if item.space == target.space => embedded.keep(target, row, item, again),
                            Ok(_) => {
                                embedded
                                    .stop(Error::internal("the router answered in another space than asked"));
                            }
                            Err(error) if is_to_be_cut(&error) => long.push(row),
                            Err(error) if is_of_text(&error) => embedded.fail(&[row], &error),
                            Err(error) => embedded.stop(error),
                        }
                    }
                }
                // too much for one call, or one of the texts: each half is tried alone
                Err(error) if is_of_text(&error) && rows.len() > 1 => {
                    let (left, right) = rows.split_at(rows.len() / 2);
                    for half in [left, right] {
                        let half = self.embed_group(target, route, half.to_vec(), on_too_long, again);
                        embedded.add(half.await);
                    }
                }
                Err(error) if is_to_be_cut(&error) => long = rows,
                Err(error) if is_of_text(&error) => embedded.fail(&rows, &error),
                Err(error) => embedded.stop(error),
            }
            if !long.is_empty() {
                embedded.add(self.embed_group(target, route, long, target.on_too_long, again).await);
            }
            embedded
        }
        .boxed()
    }
}

impl Embedded {
    fn add(&mut self, other: Self) {
        self.copies.extend(other.copies);
        self.failures.extend(other.failures);
        self.cost = NanoUsd(self.cost.0.saturating_add(other.cost.0));
        self.tokens += other.tokens;
        self.called_tokens += other.called_tokens;
        self.calls += other.calls;
        // a pause outweighs another attempt
        if !matches!(self.open, Some(Stop::Pause(..))) && other.open.is_some() {
            self.open = other.open;
        }
    }

    fn keep(&mut self, target: &Target, row: &ScannedRow, item: Item, again: bool) {
        let cost = match (item.cached, again) {
            (true, true) => target.dearest.cost(TokenCount(item.tokens)),
            _ => item.cost,
        };
        self.cost = NanoUsd(self.cost.0.saturating_add(cost.0));
        self.tokens += item.tokens;
        self.called_tokens += if item.cached { 0 } else { item.tokens };
        self.copies.push(CopiedRow {
            embedding_id: row.embedding_id.clone(),
            truncated: item.cut.is_some(),
            provider: item.provider,
            vector: item.vector,
            tokens: item.tokens,
            cost_nano_usd: cost.0,
        });
    }

    fn fail(&mut self, rows: &[&ScannedRow], error: &Error) {
        self.failures.extend(rows.iter().map(|row| FailedRow {
            embedding_id: row.embedding_id.clone(),
            code: error.code.as_str().to_owned(),
            message: error.message.chars().take(300).collect(),
        }));
    }

    fn stop(&mut self, error: Error) {
        let stop = match error.code {
            Code::BudgetExceeded | Code::QuotaExceeded => Stop::Pause("budget_exceeded", error.message),
            Code::RateLimited
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Internal => Stop::Again(error),
            // nothing that waiting would change
            _ => Stop::Pause("provider_error", error.message),
        };
        self.add(Self { open: Some(stop), ..Self::default() });
    }
}

/// Whether it is the text that cannot be embedded.
fn is_of_text(error: &Error) -> bool {
    // the agent's limit of one request is a budget too, which fewer texts keep to
    let of_one_request = error.code == Code::BudgetExceeded && error.param.as_deref() == Some("input");
    of_one_request
        || matches!(error.code, Code::Invalid | Code::InputTooLong | Code::TooLarge | Code::PiiRejected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(per_million: i64) -> Target {
        Target {
            space: "m@3".parse().unwrap(),
            model: "m".into(),
            on_too_long: OnTooLong::Error,
            dearest: Price(NanoUsd(per_million)),
            tokenizer: Some(TokenizerKind::Cl100kBase),
        }
    }

    fn row(id: &str, content: &str) -> ScannedRow {
        ScannedRow { embedding_id: id.into(), content: content.into(), ..ScannedRow::default() }
    }

    fn item(cached: bool) -> Item {
        Item {
            vector: vec![0; 12].into(),
            space: "m@3".parse().unwrap(),
            provider: "p".into(),
            tokens: 10,
            cost: if cached { NanoUsd::ZERO } else { NanoUsd(7) },
            cached,
            cut: None,
        }
    }

    #[test]
    fn a_budget_is_enough_for_the_rows_whose_bounds_fit_into_it() {
        // a bound of 16 tokens more than bytes, at 1 nano-USD a token
        let rows = [row("a", "1234"), row("b", "1234"), row("c", "1234")];
        let target = target(1_000_000);
        for (left, count) in
            [(None, 3), (Some(0), 0), (Some(19), 0), (Some(20), 1), (Some(59), 2), (Some(60), 3)]
        {
            assert_eq!(target.affordable(&rows, left.map(NanoUsd)), count, "{left:?}");
        }
    }

    #[test]
    fn what_a_lost_batch_may_have_paid_for_is_counted_at_its_price() {
        let mut embedded = Embedded::default();
        let target = target(2_000_000);
        embedded.keep(&target, &row("a", "x"), item(false), false);
        embedded.keep(&target, &row("b", "x"), item(true), false);
        assert_eq!((embedded.cost, embedded.tokens, embedded.called_tokens), (NanoUsd(7), 20, 10));
        embedded.keep(&target, &row("c", "x"), item(true), true);
        assert_eq!((embedded.cost, embedded.copies[2].cost_nano_usd), (NanoUsd(27), 20));
    }

    #[test]
    fn a_pause_outweighs_another_attempt() {
        let mut embedded = Embedded::default();
        embedded.stop(Error::unavailable("away"));
        assert!(matches!(embedded.open, Some(Stop::Again(_))));
        embedded.stop(Error::new(Code::BudgetExceeded, "spent"));
        embedded.stop(Error::unavailable("away"));
        assert!(matches!(embedded.open, Some(Stop::Pause("budget_exceeded", _))));
    }
}
