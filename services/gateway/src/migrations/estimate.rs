//! What a migration would embed, cost and take, before anything is paid.

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{FindSpacesRequest, MeasureRequest, SampledText, StoreFilter},
    v1::{self, operations_client::OperationsClient},
};
use embermesh_tokens::{Cl100kBase, TextTokenizer as _, TokenizerKind};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, Price, SpaceId, TokenCount};

use super::{Migrations, batch::BATCH};
use crate::embeddings::{defect, fields, makers};

const REQUESTS_PER_MINUTE: u32 = 600;
const TOKENS_PER_MINUTE: u64 = 1_000_000;
/// Texts that are counted where the models count differently.
const SAMPLE: u32 = 200;
/// What the router is asked the price of.
const PRICED_TOKENS: u64 = 1_000;

/// A migration that somebody thinks of.
#[derive(Debug)]
pub(super) struct Wanted {
    to_model: String,
    to_dimensions: Option<u32>,
    agent: Option<AgentId>,
    from: Option<SpaceId>,
    requests_per_minute: u32,
    tokens_per_minute: u64,
}

impl Wanted {
    /// Reads a request.
    pub fn parse(asked: &v1::EstimateMigrationRequest, context: &CallContext) -> Result<Self, Error> {
        let to_model = fields::model(Some(asked.to_model.clone())).map_err(|error| {
            Error::invalid("to_model", error.message.replace("model must", "to_model must"))
        })?;
        let to_dimensions = fields::dimensions(asked.to_dimensions).map_err(|mut error| {
            error.param = Some("to_dimensions".to_owned());
            error
        })?;
        let bound = &context.principal.agent;
        let agent = match &asked.agent_id {
            None => bound.clone(),
            Some(named) => {
                let agent: AgentId =
                    named.parse().map_err(|error| Error::invalid("agent_id", format!("{error}")))?;
                if !context.principal.may_act_as(&agent) {
                    let message = "the key belongs to another agent, leave `agent_id` out or use its own key";
                    return Err(Error::new(Code::Forbidden, message).with_param("agent_id"));
                }
                Some(agent)
            }
        };
        let from = asked.from_space_id.as_deref().map(fields::space).transpose().map_err(|mut error| {
            error.param = Some("from_space_id".to_owned());
            error
        })?;
        let requests_per_minute = asked.requests_per_minute.unwrap_or(REQUESTS_PER_MINUTE);
        let tokens_per_minute = asked.tokens_per_minute.unwrap_or(TOKENS_PER_MINUTE);
        if requests_per_minute == 0 {
            return Err(Error::invalid("requests_per_minute", "requests_per_minute must be at least 1"));
        }
        if tokens_per_minute == 0 {
            return Err(Error::invalid("tokens_per_minute", "tokens_per_minute must be at least 1"));
        }
        Ok(Self {
            to_model: to_model.unwrap_or_default(),
            to_dimensions,
            agent,
            from,
            requests_per_minute,
            tokens_per_minute,
        })
    }
}

impl Migrations {
    /// What the migration would take.
    pub(super) async fn estimate(
        &self,
        context: &CallContext,
        wanted: &Wanted,
    ) -> Result<v1::MigrationEstimate, Error> {
        let select = v1::SelectModelRequest {
            agent_id: wanted.agent.as_ref().map(|agent| agent.as_str().to_owned()),
            model: Some(wanted.to_model.clone()),
            dimensions: wanted.to_dimensions,
            token_estimate: Some(PRICED_TOKENS),
            ..v1::SelectModelRequest::default()
        };
        let mut router = OperationsClient::new(self.parts.router.clone());
        let selected = router.select_model(context.request(select)).await.map_err(|status| {
            let mut error = Error::from(status);
            if matches!(error.param.as_deref(), Some("model" | "dimensions")) {
                error.param = error.param.map(|param| format!("to_{param}"));
            }
            error
        })?;
        let selected = selected.into_inner();
        let to: SpaceId =
            selected.space_id.parse().map_err(|_| defect("the router chose a model without its space"))?;
        let from = match &wanted.from {
            Some(from) => from.clone(),
            None => self.only_other_space(context, wanted.agent.as_ref(), &to).await?,
        };
        if from == to {
            return Err(Error::invalid("to_model", format!("the rows lie in {from} already")));
        }
        let sampled = self.counts_differently(&from, &selected.model);
        let measure = MeasureRequest {
            from_space_id: from.to_string(),
            to_space_id: to.to_string(),
            agent_id: wanted.agent.as_ref().map_or_else(String::new, ToString::to_string),
            sample: if sampled { SAMPLE } else { 0 },
        };
        let measured = self.store().measure(context.request(measure)).await?.into_inner();
        let tokens = if sampled { corrected(measured.tokens, &measured.sample) } else { measured.tokens };
        let per_million = NanoUsd(selected.estimated_cost_nano_usd.saturating_mul(1_000));
        let (requests, allowed) = (wanted.requests_per_minute, wanted.tokens_per_minute);
        let calls = measured.rows.div_ceil(u64::from(BATCH));
        let minutes = (calls as f64 / f64::from(requests)).max(tokens as f64 / allowed as f64);
        Ok(v1::MigrationEstimate {
            agent_id: wanted.agent.as_ref().map(|agent| agent.as_str().to_owned()),
            from_space_id: from.into(),
            to_space_id: to.into(),
            to_model: selected.model,
            rows: measured.rows,
            rows_there: measured.rows_there,
            tokens,
            tokens_basis: if sampled { "sampled" } else { "stored" }.to_owned(),
            per_million_tokens_nano_usd: per_million.0,
            cost_nano_usd: Price(per_million).cost(TokenCount(tokens)).0,
            hours: minutes / 60.0,
            disk_bytes: measured.disk_bytes,
            index_bytes: measured.index_bytes,
            requests_per_minute: requests,
            tokens_per_minute: allowed,
        })
    }

    /// The one space but `to` that holds rows.
    async fn only_other_space(
        &self,
        context: &CallContext,
        agent: Option<&AgentId>,
        to: &SpaceId,
    ) -> Result<SpaceId, Error> {
        let agent_id = agent.map_or_else(String::new, ToString::to_string);
        let find = FindSpacesRequest {
            filter: Some(StoreFilter { agent_id, ..StoreFilter::default() }),
            ..FindSpacesRequest::default()
        };
        let mut found = self.parts.store().find_spaces(context.request(find)).await?.into_inner().space_ids;
        found.retain(|space| space != to.as_str());
        match found.as_slice() {
            [one] => one.parse().map_err(|_| defect("the store holds rows in a space that is none")),
            [] => Err(Error::invalid("from_space_id", format!("no space but {to} holds rows to migrate"))),
            several => {
                let several = several.join(", ");
                let message = format!("rows lie in several spaces, choose one of {several}");
                Err(Error::invalid("from_space_id", message))
            }
        }
    }

    /// Whether the new model counts tokens otherwise than the old one did, in a way that can be counted here.
    fn counts_differently(&self, from: &SpaceId, to_model: &str) -> bool {
        let snapshot = self.parts.subscription.current();
        let kind = |model: &v1::CatalogModel| model.tokenizer.parse::<TokenizerKind>().ok();
        let new = snapshot.model(to_model).and_then(|model| kind(model));
        let old = makers(&snapshot, from).first().and_then(|model| kind(model));
        new == Some(TokenizerKind::Cl100kBase) && old != new
    }
}

/// What `tokens` become when the sampled texts are counted anew.
fn corrected(tokens: u64, sample: &[SampledText]) -> u64 {
    let (mut before, mut after) = (0_u64, 0_u64);
    for text in sample {
        if let Ok(count) = Cl100kBase.count(&text.content) {
            before += text.tokens;
            after += u64::try_from(count).unwrap_or(u64::MAX);
        }
    }
    if before == 0 {
        return tokens;
    }
    let exact = u128::from(tokens) * u128::from(after) / u128::from(before);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_corrected_by_what_some_texts_have() {
        let text = |content: &str, tokens| SampledText { content: content.into(), tokens };
        // two tokens each
        let sample = [text("hello world", 4), text("hello world", 4)];
        assert_eq!(corrected(1_000, &sample), 500);
        assert_eq!(corrected(1_000, &[]), 1_000);
        assert_eq!(corrected(1_000, &[text("hello", 0)]), 1_000);
    }
}
