//! Search in every space that holds matching rows: the query is embedded once for each, each is searched by itself, and what
//! they find is fused by rank. A space that cannot be searched now is named and costs the others nothing.

use std::{sync::Arc, time::Duration};

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{FindSpacesRequest, StoreFilter, StoreRead, StoreRow, StoreSearchRequest},
    v1::{self, CatalogModel},
};
use embermesh_rank_fusion::{Fused, Place, fuse};
use embermesh_types::{AgentId, Consistency, SpaceId};
use futures::{StreamExt as _, stream};
use tokio::time::timeout;

use super::{
    Embeddings, InputType, Item, OnTooLong, Route, Summary, about,
    caller::Caller,
    defect, entry, fields,
    makers::{Chosen, makers, usable},
    search::metadata_filter,
};
use crate::scrub::Tally;

const DEFAULT_LIMIT: u32 = 10;
/// Spaces that are searched at once.
const AT_ONCE: usize = 8;
/// How long one space may keep the others waiting, where the request has no deadline.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hit inside a space.
struct Found {
    row: StoreRow,
    similarity: f64,
}

/// A space that was searched.
struct Searched {
    item: Item,
    model: String,
    hits: Vec<Found>,
    scan: String,
    truncated: String,
}

/// A scrubbed question, the same for every space.
struct Question {
    text: String,
    agent: AgentId,
    task_type: String,
    filter: StoreFilter,
    limit: u32,
    min_similarity: Option<f64>,
    exact: bool,
    read: StoreRead,
    is_hybrid: bool,
}

impl Embeddings {
    /// Finds the nearest rows of every space.
    pub(super) async fn find_cross_model(
        &self,
        caller: &Caller,
        request: v1::CrossModelSearchRequest,
    ) -> Result<(v1::CrossModelSearchResponse, Summary), Error> {
        let limits = &self.0.limits;
        if request.query.is_empty() {
            return Err(Error::invalid("query", "query is required, a vector lies in one space alone"));
        }
        entry::check_text("query", &request.query, limits.max_text_bytes)?;
        let limit = fields::bounded("limit", request.limit, DEFAULT_LIMIT)?;
        if request.min_similarity.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
            return Err(Error::invalid("min_similarity", "min_similarity must be a number from -1 to 1"));
        }
        let is_hybrid = fields::is_hybrid(request.mode.as_deref())?;
        fields::created_between(request.created_after.as_ref(), request.created_before.as_ref())?;
        let (consistency, token) = (request.consistency.as_deref(), request.after_token.as_deref());
        let read = fields::read(consistency, token, Consistency::Eventual)?;
        let context_id = fields::context_id(request.context_id)?;
        let task_type = fields::task_type(request.task_type)?;
        let metadata = metadata_filter(&request.metadata_filter, limits.max_metadata_bytes)?;
        let filtered = caller.given_agent_filter(request.agent_id.as_deref())?;
        let agent = caller.agent(request.agent_id.as_deref().unwrap_or_default())?;
        let snapshot = self.0.subscription.current();
        let chosen = Chosen::parse(request.include_models, request.exclude_models, &snapshot)?;

        let (tenant, mut tally) = (caller.context.principal.tenant, Tally::default());
        let scrubber = self.0.scrubber(tenant, Some(&agent))?;
        if let Some(filter) = &metadata {
            scrubber.filter(filter, &mut tally)?;
        }
        let text = scrubber.text("query", &request.query, &mut tally)?.into_owned();
        let question = Question {
            text,
            agent,
            task_type,
            filter: StoreFilter {
                agent_id: filtered.map_or_else(String::new, String::from),
                context_id: context_id.unwrap_or_default(),
                metadata: metadata.map_or_else(String::new, String::from),
                created_after: request.created_after,
                created_before: request.created_before,
                ..Default::default()
            },
            limit,
            min_similarity: request.min_similarity,
            exact: request.exact.unwrap_or(false),
            read,
            is_hybrid,
        };

        let find =
            FindSpacesRequest { filter: Some(question.filter.clone()), read: Some(question.read.clone()) };
        let with_rows = self.0.store().find_spaces(caller.context.request(find)).await?.into_inner();
        let mut spaces = Vec::new();
        for id in &with_rows.space_ids {
            let space: SpaceId =
                id.parse().map_err(|_| defect("the store holds rows in a space that is none"))?;
            let of_space = makers(&snapshot, &space);
            if chosen.allow(&of_space) {
                spaces.push((space, usable(&of_space, &snapshot, tenant)));
            }
        }
        let outcomes: Vec<_> = stream::iter(spaces)
            .map(async |(space, models)| {
                let outcome = self.search_space(caller, &question, &space, &models).await;
                (space, outcome)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut answer = answer(outcomes, &question)?;
        answer.0.pii = Some(scrubber.report(tally));
        Ok(answer)
    }

    /// One space, by the first of its models that can be asked now.
    async fn search_space(
        &self,
        caller: &Caller,
        question: &Question,
        space: &SpaceId,
        models: &[Arc<CatalogModel>],
    ) -> Result<Searched, Error> {
        // a provider that does not answer must leave time for the others' answer
        let patience = caller.context.time_left().map_or(PATIENCE, |left| left.mul_f64(0.75));
        let search = async {
            let (model, item) = self.embed_for(caller, question, space, models).await?;
            let request = StoreSearchRequest {
                space_id: space.as_str().to_owned(),
                query: item.vector.clone(),
                filter: Some(question.filter.clone()),
                limit: question.limit,
                min_similarity: question.min_similarity,
                exact: question.exact,
                read: Some(question.read.clone()),
                text: question.is_hybrid.then(|| question.text.clone()),
            };
            let reply = self.0.store().search(caller.context.request(request)).await?.into_inner();
            let hits = reply.hits.into_iter().map(|hit| {
                let row = hit.row.ok_or_else(|| defect("a search hit has no row"))?;
                if row.space_id != space.as_str() {
                    return Err(defect("a search hit lies in another space"));
                }
                Ok(Found { row, similarity: hit.similarity })
            });
            let hits = hits.collect::<Result<Vec<_>, Error>>()?;
            Ok(Searched { item, model, hits, scan: reply.scan, truncated: reply.truncated })
        };
        let late = || Error::new(Code::DeadlineExceeded, "its provider or the store did not answer in time");
        timeout(patience, search).await.unwrap_or_else(|_| Err(late()))
    }

    async fn embed_for(
        &self,
        caller: &Caller,
        question: &Question,
        space: &SpaceId,
        models: &[Arc<CatalogModel>],
    ) -> Result<(String, Item), Error> {
        let mut last =
            Error::unavailable("no model of the catalog that the tenant may use makes its vectors");
        for model in models {
            let route = Route {
                agent: question.agent.clone(),
                model: Some(model.id.clone()),
                task_type: question.task_type.clone(),
                input_type: InputType::Query,
                dimensions: Some(space.dimensions()),
                on_too_long: OnTooLong::Error,
            };
            let routed = self.0.route(&caller.context, &route, vec![question.text.clone()]).await;
            let item = routed.and_then(|mut routed| {
                routed.items.pop().unwrap_or_else(|| Err(defect("one query gave no vector")))
            });
            match item {
                Ok(item) if item.space == *space => return Ok((model.id.clone(), item)),
                Ok(_) => last = defect("the router answered in another space than asked"),
                Err(error) => last = about(error, "query"),
            }
        }
        Err(last)
    }
}

/// The answer of all spaces; an error when there are some and none could be searched.
fn answer(
    outcomes: Vec<(SpaceId, Result<Searched, Error>)>,
    question: &Question,
) -> Result<(v1::CrossModelSearchResponse, Summary), Error> {
    let mut summary = Summary::default();
    let (mut spaces, mut rankings, mut truncated) = (Vec::new(), Vec::new(), None);
    let mut first_error = None;
    for (space, outcome) in outcomes {
        let mut of_space = v1::SearchedSpace { space_id: space.into(), ..Default::default() };
        match outcome {
            Ok(searched) => {
                summary.add(&searched.item);
                of_space.model = Some(searched.model);
                of_space.searched = true;
                of_space.scan = Some(searched.scan);
                of_space.found = u32::try_from(searched.hits.len()).unwrap_or(u32::MAX);
                of_space.cost_nano_usd = searched.item.cost.0;
                truncated = truncated.or(Some(searched.truncated).filter(|reason| !reason.is_empty()));
                rankings.push(searched.hits);
            }
            Err(error) => {
                tracing::warn!(space = of_space.space_id, code = error.code.as_str(), %error, "a space is left out");
                of_space.reason = Some(error.message.clone());
                of_space.code = Some(error.code.as_str().to_owned());
                first_error.get_or_insert(error);
            }
        }
        spaces.push(of_space);
    }
    if let (Some(error), true) = (first_error, rankings.is_empty()) {
        let left_out: Vec<&str> = spaces.iter().map(|space| space.space_id.as_str()).collect();
        return Err(error.with_detail("spaces", left_out));
    }
    let mut fused = fuse(rankings, |found| document(&found.row));
    fused.truncate(question.limit as usize);
    let results: Vec<v1::CrossModelHit> = fused.into_iter().filter_map(hit).collect();
    let short = results.len() < question.limit as usize;
    let left_out = spaces.iter().filter(|space| !space.searched).count();
    let truncated = match left_out {
        _ if !short => None,
        0 if spaces.is_empty() => Some("no rows match".to_owned()),
        0 => Some(truncated.unwrap_or_else(|| format!("only {} different texts match", results.len()))),
        _ => Some(format!("{left_out} of {} spaces could not be searched", spaces.len())),
    };
    let answer = v1::CrossModelSearchResponse {
        count: u32::try_from(results.len()).unwrap_or(u32::MAX),
        results,
        truncated,
        spaces,
        cost_nano_usd: summary.cost.0,
        pii: None,
    };
    Ok((answer, summary))
}

/// Rows of different spaces that are the same text of the same agent.
fn document(row: &StoreRow) -> [String; 6] {
    let StoreRow { agent_id, context_id, content, metadata, input_type, task_type, .. } = row;
    [agent_id, context_id, content, metadata, input_type, task_type].map(String::clone)
}

fn hit(fused: Fused<Found>) -> Option<v1::CrossModelHit> {
    let mut places = fused.places.into_iter();
    let Place { rank, item: Found { row, similarity }, .. } = places.next()?;
    let others = places.map(|Place { rank, item: Found { row, similarity }, .. }| v1::OtherRow {
        embedding_id: row.embedding_id,
        space_id: row.space_id,
        model_used: row.model,
        space_rank: rank,
        similarity,
    });
    Some(v1::CrossModelHit {
        embedding_id: row.embedding_id,
        agent_id: row.agent_id,
        context_id: (!row.context_id.is_empty()).then_some(row.context_id),
        content: row.content,
        similarity,
        score: fused.score,
        metadata: row.metadata,
        model_used: row.model,
        space_id: row.space_id,
        space_rank: rank,
        created_at: row.created_at,
        also_in: others.collect(),
    })
}
