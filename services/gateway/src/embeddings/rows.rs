//! Stored rows: one, many, gone. A key that is bound to an agent sees and deletes the rows of that agent alone.

use embermesh_errors::Error;
use embermesh_proto::{
    from_le_bytes,
    internal::v1::{
        StoreDeleteReply, StoreDeleteRequest, StoreFilter, StoreGetRequest, StoreListRequest, StoreRow,
    },
    v1,
};
use embermesh_types::Consistency;

use super::{Embeddings, caller::Caller, defect, fields, search::metadata_filter};
use crate::scrub::Tally;

const DEFAULT_PAGE: u32 = 100;
const MAX_IDS: usize = 10_000;
const MAX_TOKEN_BYTES: usize = 1024;

fn unknown() -> Error {
    Error::not_found("no embedding has this id").with_param("embedding_id")
}

impl Embeddings {
    pub(super) async fn get(
        &self,
        caller: &Caller,
        request: v1::GetEmbeddingRequest,
    ) -> Result<v1::StoredEmbedding, Error> {
        let id = fields::embedding_id("embedding_id", &request.embedding_id)?;
        let (consistency, token) = (request.consistency.as_deref(), request.after_token.as_deref());
        let get = StoreGetRequest {
            embedding_id: id.to_string(),
            return_vector: request.return_vector.unwrap_or(false),
            // a row that was just acknowledged is there
            read: Some(fields::read(consistency, token, Consistency::PRIMARY)?),
        };
        let row = self.0.store().get(caller.context.request(get)).await?.into_inner();
        let bound = &caller.context.principal.agent;
        if bound.as_ref().is_some_and(|agent| agent.as_str() != row.agent_id) {
            return Err(unknown());
        }
        stored(row)
    }

    pub(super) async fn list(
        &self,
        caller: &Caller,
        request: v1::ListEmbeddingsRequest,
    ) -> Result<v1::ListEmbeddingsResponse, Error> {
        fields::created_between(request.created_after.as_ref(), request.created_before.as_ref())?;
        let (consistency, token) = (request.consistency.as_deref(), request.after_token.as_deref());
        let read = fields::read(consistency, token, Consistency::PRIMARY)?;
        let agent = caller.given_agent_filter(request.agent_id.as_deref())?;
        let space = request.space_id.as_deref().map(fields::space).transpose()?;
        let page_token = request.page_token.unwrap_or_default();
        if page_token.len() > MAX_TOKEN_BYTES {
            return Err(Error::invalid("page_token", "page_token is not one that was given out"));
        }
        let list = StoreListRequest {
            filter: Some(StoreFilter {
                agent_id: agent.map_or_else(String::new, String::from),
                context_id: fields::context_id(request.context_id)?.unwrap_or_default(),
                space_id: space.map_or_else(String::new, String::from),
                created_after: request.created_after,
                created_before: request.created_before,
                ..Default::default()
            }),
            page_size: fields::bounded("page_size", request.page_size, DEFAULT_PAGE)?,
            page_token,
            return_vector: request.return_vector.unwrap_or(false),
            read: Some(read),
        };
        let reply = self.0.store().list(caller.context.request(list)).await?.into_inner();
        Ok(v1::ListEmbeddingsResponse {
            embeddings: reply.rows.into_iter().map(stored).collect::<Result<_, _>>()?,
            next_page_token: (!reply.next_page_token.is_empty()).then_some(reply.next_page_token),
        })
    }

    pub(super) async fn delete(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<v1::DeleteEmbeddingResponse, Error> {
        let id = fields::embedding_id("embedding_id", id)?;
        let filter = StoreFilter {
            agent_id: caller.agent_filter("")?.map_or_else(String::new, String::from),
            embedding_ids: vec![id.to_string()],
            ..Default::default()
        };
        let deleted = self.delete_filtered(caller, filter, false).await?;
        match deleted.count {
            0 => Err(unknown()),
            _ => Ok(v1::DeleteEmbeddingResponse {
                write_token: fields::written(&deleted.write_token).to_string(),
            }),
        }
    }

    pub(super) async fn delete_matching(
        &self,
        caller: &Caller,
        request: v1::DeleteEmbeddingsRequest,
    ) -> Result<v1::DeleteEmbeddingsResponse, Error> {
        let agent = caller.given_agent_filter(request.agent_id.as_deref())?;
        let context_id = fields::context_id(request.context_id)?;
        let metadata = metadata_filter(&request.metadata_filter, self.0.limits.max_metadata_bytes)?;
        if request.agent_id.is_none()
            && context_id.is_none()
            && metadata.is_none()
            && request.embedding_ids.is_empty()
        {
            return Err(Error::invalid(
                "filter",
                "an empty filter would delete everything, name agent_id, context_id, embedding_ids or metadata_filter",
            ));
        }
        if request.embedding_ids.len() > MAX_IDS {
            return Err(Error::invalid(
                "embedding_ids",
                format!("embedding_ids holds at most {MAX_IDS} ids"),
            ));
        }
        let ids = request.embedding_ids.iter().enumerate();
        let ids = ids.map(|(place, id)| fields::embedding_id(&format!("embedding_ids[{place}]"), id));
        let embedding_ids = ids.map(|id| id.map(|id| id.to_string())).collect::<Result<_, _>>()?;
        if let Some(filter) = &metadata {
            let scrubber = self.0.scrubber(caller.context.principal.tenant, agent.as_ref())?;
            scrubber.filter(filter, &mut Tally::default())?;
        }
        let filter = StoreFilter {
            agent_id: agent.map_or_else(String::new, String::from),
            context_id: context_id.unwrap_or_default(),
            embedding_ids,
            metadata: metadata.map_or_else(String::new, String::from),
            ..Default::default()
        };
        let dry_run = request.dry_run.unwrap_or(false);
        let deleted = self.delete_filtered(caller, filter, dry_run).await?;
        Ok(v1::DeleteEmbeddingsResponse {
            count: deleted.count,
            dry_run,
            write_token: (!dry_run).then(|| fields::written(&deleted.write_token).to_string()),
        })
    }

    async fn delete_filtered(
        &self,
        caller: &Caller,
        filter: StoreFilter,
        dry_run: bool,
    ) -> Result<StoreDeleteReply, Error> {
        let delete = StoreDeleteRequest { filter: Some(filter), dry_run };
        Ok(self.0.store().delete(caller.context.request(delete)).await?.into_inner())
    }
}

fn stored(row: StoreRow) -> Result<v1::StoredEmbedding, Error> {
    Ok(v1::StoredEmbedding {
        embedding_id: row.embedding_id,
        agent_id: row.agent_id,
        context_id: (!row.context_id.is_empty()).then_some(row.context_id),
        content: row.content,
        metadata: row.metadata,
        model_used: row.model,
        provider: row.provider,
        space_id: row.space_id,
        dimensions: row.dimensions,
        input_type: row.input_type,
        task_type: row.task_type,
        tokens_used: row.tokens,
        pii_policy_version: row.pii_policy_version,
        created_at: row.created_at,
        embedding: from_le_bytes(&row.vector)
            .map_err(|_| defect("a stored vector is no multiple of four bytes"))?,
    })
}
