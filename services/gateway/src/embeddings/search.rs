//! Search inside one space, by a text or by a vector.

use bytes::Bytes;
use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{StoreFilter, StoreHit, StoreSearchRequest},
    to_le_bytes, v1,
};
use embermesh_telemetry::Span;
use embermesh_types::{AgentId, Consistency, SpaceId};

use super::{
    Embeddings, InputType, Item, JsonObject, OnTooLong, Route, Summary, about, caller::Caller, defect, entry,
    fields,
};
use crate::scrub::Tally;

const DEFAULT_LIMIT: u32 = 10;

/// What is looked for.
#[derive(Debug)]
enum Query {
    /// To be embedded as the agent's texts are.
    Text { text: String, route: Route },
    /// Embedded by the client; with the words to look for, if any.
    Vector { bytes: Bytes, space: SpaceId, words: Option<String> },
}

/// A scrubbed query as the store takes it.
struct Asked {
    bytes: Bytes,
    space: SpaceId,
    words: Option<String>,
    summary: Summary,
}

impl Query {
    fn parse(
        request: &mut v1::SearchRequest,
        caller: &Caller,
        max_text_bytes: usize,
        is_hybrid: bool,
    ) -> Result<Self, Error> {
        let vector = std::mem::take(&mut request.query_embedding);
        if let Some(text) = &request.query {
            entry::check_text("query", text, max_text_bytes)?;
        }
        match (request.query.take(), vector.is_empty()) {
            (Some(text), true) => {
                if request.space_id.is_some() {
                    return Err(Error::invalid(
                        "space_id",
                        "space_id goes with query_embedding; name the space of a query by `model` and `dimensions`",
                    ));
                }
                let route = Route {
                    agent: caller.agent(request.agent_id.as_deref().unwrap_or_default())?,
                    model: fields::model(request.model.take())?,
                    task_type: fields::task_type(request.task_type.take())?,
                    input_type: InputType::Query,
                    dimensions: fields::dimensions(request.dimensions)?,
                    on_too_long: OnTooLong::Error,
                };
                Ok(Self::Text { text, route })
            }
            (words, false) if words.is_some() == is_hybrid => {
                for (param, is_given) in [
                    ("model", request.model.is_some()),
                    ("task_type", request.task_type.is_some()),
                    ("dimensions", request.dimensions.is_some()),
                ] {
                    if is_given {
                        let message = format!("{param} goes with query; a query_embedding has its space_id");
                        return Err(Error::invalid(param, message));
                    }
                }
                let Some(space) = &request.space_id else {
                    return Err(Error::invalid("space_id", "space_id is required with query_embedding"));
                };
                let space = fields::space(space)?;
                check_vector(&vector, &space)?;
                Ok(Self::Vector { bytes: to_le_bytes(&vector), space, words })
            }
            (None, false) => {
                let message = "mode hybrid needs query, the words to look for, beside query_embedding";
                Err(Error::invalid("query", message))
            }
            (Some(_), false) => {
                Err(Error::invalid("query_embedding", "send query or query_embedding, not both"))
            }
            (None, true) => Err(Error::invalid("query", "query or query_embedding is required")),
        }
    }
}

fn check_vector(vector: &[f32], space: &SpaceId) -> Result<(), Error> {
    const PARAM: &str = "query_embedding";
    if u32::try_from(vector.len()) != Ok(space.dimensions()) {
        let message =
            format!("query_embedding has {} numbers, {space} has {}", vector.len(), space.dimensions());
        return Err(Error::invalid(PARAM, message));
    }
    if let Some(index) = vector.iter().position(|x| !x.is_finite()) {
        let message = format!("query_embedding[{index}] is not a finite 32-bit float");
        return Err(Error::invalid(format!("{PARAM}[{index}]"), message).with_detail("index", index));
    }
    if vector.iter().all(|x| *x == 0.0) {
        return Err(Error::invalid(PARAM, "query_embedding is all zero and points nowhere"));
    }
    Ok(())
}

impl Embeddings {
    /// Finds the nearest rows.
    pub(super) async fn find(
        &self,
        caller: &Caller,
        mut request: v1::SearchRequest,
    ) -> Result<(v1::SearchResponse, Summary), Error> {
        let limits = &self.0.limits;
        let is_hybrid = fields::is_hybrid(request.mode.as_deref())?;
        let query = Query::parse(&mut request, caller, limits.max_text_bytes, is_hybrid)?;
        let limit = fields::bounded("limit", request.limit, DEFAULT_LIMIT)?;
        if request.min_similarity.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
            return Err(Error::invalid("min_similarity", "min_similarity must be a number from -1 to 1"));
        }
        fields::created_between(request.created_after.as_ref(), request.created_before.as_ref())?;
        let (consistency, token) = (request.consistency.as_deref(), request.after_token.as_deref());
        let read = fields::read(consistency, token, Consistency::Eventual)?;
        let context_id = fields::context_id(request.context_id.take())?;
        let metadata = metadata_filter(&request.metadata_filter, limits.max_metadata_bytes)?;
        let agent = caller.given_agent_filter(request.agent_id.as_deref())?;

        let mut pii = None;
        let scrubbed = self.scrub_query(caller, query, agent.as_ref(), metadata.as_ref(), &mut pii)?;
        let Asked { bytes, space, words, summary } = self.vector_of(caller, scrubbed).await?;
        let filter = StoreFilter {
            agent_id: agent.map_or_else(String::new, String::from),
            context_id: context_id.unwrap_or_default(),
            metadata: metadata.map_or_else(String::new, String::from),
            created_after: request.created_after,
            created_before: request.created_before,
            ..Default::default()
        };
        let search = StoreSearchRequest {
            space_id: space.as_str().to_owned(),
            query: bytes,
            filter: Some(filter),
            limit,
            min_similarity: request.min_similarity,
            exact: request.exact.unwrap_or(false),
            read: Some(read),
            text: words.filter(|_| is_hybrid),
        };
        let reply = self.0.store().search(caller.context.request(search)).await?.into_inner();
        let results = reply.hits.into_iter().map(|hit| hit_of(hit, &space)).collect::<Result<Vec<_>, _>>()?;
        let answer = v1::SearchResponse {
            count: u32::try_from(results.len()).unwrap_or(u32::MAX),
            results,
            scan: reply.scan,
            truncated: (!reply.truncated.is_empty()).then_some(reply.truncated),
            space_id: space.into(),
            other_spaces: reply.other_spaces,
            cost_nano_usd: summary.cost.0,
            pii,
        };
        Ok((answer, summary))
    }

    /// A query passes the policy that its agent's documents have passed.
    fn scrub_query(
        &self,
        caller: &Caller,
        query: Query,
        filtered: Option<&AgentId>,
        filter: Option<&JsonObject>,
        report: &mut Option<v1::PiiReport>,
    ) -> Result<Query, Error> {
        let agent = match &query {
            Query::Text { route, .. } => Some(&route.agent),
            Query::Vector { .. } => filtered,
        };
        let _span = Span::new("scrub");
        let scrubber = self.0.scrubber(caller.context.principal.tenant, agent)?;
        let mut tally = Tally::default();
        if let Some(filter) = filter {
            scrubber.filter(filter, &mut tally)?;
        }
        let query = match query {
            Query::Text { text, route } => {
                let clean = scrubber.text("query", &text, &mut tally)?.into_owned();
                *report = Some(scrubber.report(tally));
                Query::Text { text: clean, route }
            }
            Query::Vector { bytes, space, words: Some(words) } => {
                let clean = scrubber.text("query", &words, &mut tally)?.into_owned();
                *report = Some(scrubber.report(tally));
                Query::Vector { bytes, space, words: Some(clean) }
            }
            vector @ Query::Vector { words: None, .. } => vector,
        };
        Ok(query)
    }

    async fn vector_of(&self, caller: &Caller, query: Query) -> Result<Asked, Error> {
        let mut summary = Summary::default();
        let (text, by) = match query {
            Query::Vector { bytes, space, words } => return Ok(Asked { bytes, space, words, summary }),
            Query::Text { text, route } => (text, route),
        };
        let mut routed = self.0.route(&caller.context, &by, vec![text.clone()]).await?;
        let item: Item = match routed.items.pop() {
            Some(item) => item.map_err(|error| about(error, "query"))?,
            None => return Err(defect("one query gave no vector")),
        };
        summary.add(&item);
        Ok(Asked { bytes: item.vector, space: item.space, words: Some(text), summary })
    }
}

/// A filter that asks for something. What its operators are is the store's to know.
pub(super) fn metadata_filter(text: &str, max_bytes: usize) -> Result<Option<JsonObject>, Error> {
    let filter = JsonObject::parse("metadata_filter", text, max_bytes)?;
    Ok(filter.filter(|filter| !filter.is_empty()))
}

fn hit_of(hit: StoreHit, space: &SpaceId) -> Result<v1::SearchHit, Error> {
    let row = hit.row.ok_or_else(|| defect("a search hit has no row"))?;
    if row.space_id != space.as_str() {
        return Err(defect("a search hit lies in another space"));
    }
    Ok(v1::SearchHit {
        embedding_id: row.embedding_id,
        agent_id: row.agent_id,
        context_id: (!row.context_id.is_empty()).then_some(row.context_id),
        content: row.content,
        similarity: hit.similarity,
        score: hit.score,
        metadata: row.metadata,
        model_used: row.model,
        space_id: row.space_id,
        created_at: row.created_at,
    })
}
