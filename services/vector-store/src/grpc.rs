//! The service as others call it: reads messages, takes tenant and agent from the call's identity, and nothing else.

pub(crate) mod answers;
pub(crate) mod jobs;
pub(crate) mod migrations;
mod put_stream;
pub(crate) mod throttle;
pub(crate) mod vector_cache;

use std::sync::Arc;

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    self as proto, FindSpacesReply, FindSpacesRequest, PutReply, PutRequest, PutResult, StoreDeleteReply,
    StoreDeleteRequest, StoreGetRequest, StoreListReply, StoreListRequest, StoreRow, StoreSearchReply,
    StoreSearchRequest,
};
use embermesh_transport::CallContext;
use embermesh_types::WriteToken;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    domain::{
        consistency,
        filter::{self, Filter},
        id, row, text, vector,
    },
    store::{Kept, Search, Store},
    uses::Uses,
};

const MAX_ROWS: u32 = 1_000;
const DEFAULT_PAGE: u32 = 100;

#[derive(Clone)]
pub(crate) struct StoreService {
    store: Arc<Store>,
    uses: Uses,
    tasks: Tasks,
}

impl StoreService {
    pub(crate) fn new(store: Arc<Store>, uses: Uses, tasks: Tasks) -> Self {
        Self { store, uses, tasks }
    }

    /// Keeps the rows of one message, of which there may be so many.
    async fn keep(
        &self,
        principal: &Principal,
        request: PutRequest,
        max_rows: usize,
    ) -> Result<PutReply, Error> {
        let (space, rows) = row::parse(request, principal, max_rows)?;
        let (kept, token) = self.store.put(principal.tenant, &space, &rows).await?;
        for (row, kept) in rows.iter().zip(&kept) {
            if let Kept::Known(id) = kept {
                self.uses.count(principal.tenant, &space, &row.agent_id, *id);
            }
        }
        let results = kept.into_iter().map(result).collect();
        Ok(PutReply { results, write_token: token.to_string() })
    }
}

#[tonic::async_trait]
impl proto::store_server::Store for StoreService {
    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutReply>, Status> {
        let principal = CallContext::of(&request)?.principal;
        Ok(Response::new(self.keep(&principal, request.into_inner(), row::MAX_ROWS).await?))
    }

    type PutStreamStream = put_stream::Replies;

    async fn put_stream(
        &self,
        request: Request<Streaming<PutRequest>>,
    ) -> Result<Response<Self::PutStreamStream>, Status> {
        let principal = CallContext::of(&request)?.principal;
        Ok(Response::new(self.keep_all(principal, request.into_inner())))
    }

    async fn search(
        &self,
        request: Request<StoreSearchRequest>,
    ) -> Result<Response<StoreSearchReply>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let message = request.into_inner();
        let filter = Filter::parse(message.filter.unwrap_or_default())?.for_principal(&principal)?;
        let space = filter::parse_space(&message.space_id)?;
        if filter.space.as_ref().is_some_and(|named| *named != space) {
            return Err(Error::invalid("space_id", "the filter names another space than the search").into());
        }
        let query = vector::parse(&message.query, space.dimensions()).map_err(|error| {
            Error::invalid("query_embedding", format!("this is no vector of {space}: {error}"))
        })?;
        if message.min_similarity.is_some_and(|least| !(-1.0..=1.0).contains(&least)) {
            return Err(Error::invalid("min_similarity", "min_similarity must be -1 to 1").into());
        }
        let limit = limit("limit", message.limit)?;
        let (min_similarity, exact) = (message.min_similarity, message.exact);
        let text = message.text;
        if let Some(text) = &text {
            text::without_nul("query", text)?;
        }
        let search = Search { space, query, filter, limit, min_similarity, exact, text };
        let consistency = consistency::parse(message.read.as_ref())?;
        let found = self.store.search(principal.tenant, consistency, &search).await?;
        Ok(Response::new(StoreSearchReply {
            hits: found.hits,
            scan: found.scan.to_owned(),
            truncated: found.truncated,
            other_spaces: found.other_spaces,
        }))
    }

    async fn find_spaces(
        &self,
        request: Request<FindSpacesRequest>,
    ) -> Result<Response<FindSpacesReply>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let message = request.into_inner();
        let filter = Filter::parse(message.filter.unwrap_or_default())?;
        let filter = filter.for_principal(&principal)?;
        let consistency = consistency::parse(message.read.as_ref())?;
        let space_ids = self.store.find_spaces(principal.tenant, consistency, &filter).await?;
        Ok(Response::new(FindSpacesReply { space_ids }))
    }

    async fn get(&self, request: Request<StoreGetRequest>) -> Result<Response<StoreRow>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let message = request.into_inner();
        let id = filter::parse_id(&message.embedding_id)?;
        let consistency = consistency::parse(message.read.as_ref())?;
        let agent = principal.agent;
        let row = self.store.get(principal.tenant, consistency, agent, id, message.return_vector).await?;
        Ok(Response::new(row))
    }

    async fn list(&self, request: Request<StoreListRequest>) -> Result<Response<StoreListReply>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let message = request.into_inner();
        let filter = Filter::parse(message.filter.unwrap_or_default())?.for_principal(&principal)?;
        let page_size = match message.page_size {
            0 => DEFAULT_PAGE,
            size => limit("page_size", size)?,
        };
        let consistency = consistency::parse(message.read.as_ref())?;
        let (token, vectors) = (&message.page_token, message.return_vector);
        let page = self.store.list(principal.tenant, consistency, &filter, page_size, token, vectors);
        let (rows, next_page_token) = page.await?;
        Ok(Response::new(StoreListReply { rows, next_page_token }))
    }

    async fn delete(
        &self,
        request: Request<StoreDeleteRequest>,
    ) -> Result<Response<StoreDeleteReply>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let message = request.into_inner();
        let filter = Filter::parse(message.filter.unwrap_or_default())?;
        if filter.is_empty() {
            let advice = "an empty filter would delete everything; name an agent, a context, ids, metadata, a time or a space";
            return Err(Error::invalid("filter", advice).into());
        }
        let filter = filter.for_principal(&principal)?;
        let (count, token) = if message.dry_run {
            (self.store.count(principal.tenant, &filter).await?, WriteToken::Primary)
        } else {
            self.store.delete(principal.tenant, &filter).await?
        };
        Ok(Response::new(StoreDeleteReply { count, write_token: token.to_string() }))
    }
}

fn limit(param: &'static str, rows: u32) -> Result<u32, Error> {
    if (1..=MAX_ROWS).contains(&rows) {
        return Ok(rows);
    }
    Err(Error::invalid(param, format!("{param} is {rows}, it must be 1 to {MAX_ROWS}")))
}

fn result(kept: Kept) -> PutResult {
    let (id, deduplicated) = match kept {
        Kept::Stored(id) => (id, false),
        Kept::Known(id) => (id, true),
    };
    PutResult { embedding_id: id.to_string(), deduplicated, created_at: Some(id::created_at(id).into()) }
}
