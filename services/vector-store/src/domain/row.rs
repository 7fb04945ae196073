//! Rows on their way into the store.

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{PutRequest, PutRow};
use embermesh_types::{AgentId, SpaceId};

use super::{agent, filter::parse_space, metadata::Metadata, text, vector};

/// Most rows of one call.
pub(crate) const MAX_ROWS: usize = 2_048;
/// Most rows of one batch of a stream. About as many with 384 dimensions and a paragraph of text fill the largest message, and into a
/// month with a graph they can be stored well within the time that a statement has.
pub(crate) const MAX_BATCH_ROWS: usize = 20_000;

/// A checked row.
#[derive(Debug, Clone)]
pub(crate) struct NewRow {
    pub(crate) agent_id: AgentId,
    pub(crate) context_id: Option<String>,
    pub(crate) content: String,
    pub(crate) metadata: Metadata,
    pub(crate) model: String,
    pub(crate) provider: String,
    pub(crate) input_type: String,
    pub(crate) task_type: String,
    pub(crate) pii_policy_version: String,
    pub(crate) tokens: i64,
    pub(crate) cost_nano_usd: i64,
    pub(crate) vector: Vec<f32>,
}

/// Reads up to `max_rows` rows, all of which must be right.
pub(crate) fn parse(
    request: PutRequest,
    principal: &Principal,
    max_rows: usize,
) -> Result<(SpaceId, Vec<NewRow>), Error> {
    let space = parse_space(&request.space_id)?;
    if request.dimensions != space.dimensions() {
        return Err(Error::invalid(
            "dimensions",
            format!("dimensions is {}, vectors of {space} have {}", request.dimensions, space.dimensions()),
        ));
    }
    if request.rows.is_empty() || request.rows.len() > max_rows {
        return Err(Error::invalid(
            "rows",
            format!("{} rows, 1 to {max_rows} are taken at once", request.rows.len()),
        ));
    }
    let rows = request.rows.into_iter().enumerate().map(|(at, row)| {
        parse_row(row, &space, principal).map_err(|mut error| {
            let param = error.param.take().unwrap_or_default();
            error.message = format!("rows[{at}]: {}", error.message);
            error.with_param(format!("rows[{at}].{param}"))
        })
    });
    Ok((space.clone(), rows.collect::<Result<_, _>>()?))
}

fn parse_row(row: PutRow, space: &SpaceId, principal: &Principal) -> Result<NewRow, Error> {
    let agent_id = agent::effective(principal, agent::parse(&row.agent_id)?)?
        .ok_or_else(|| Error::invalid("agent_id", "agent_id is missing"))?;
    for (param, value) in [
        ("context_id", &row.context_id),
        ("content", &row.content),
        ("model", &row.model),
        ("provider", &row.provider),
        ("input_type", &row.input_type),
        ("task_type", &row.task_type),
        ("pii_policy_version", &row.pii_policy_version),
    ] {
        text::without_nul(param, value)?;
    }
    let vector = vector::parse(&row.vector, space.dimensions())
        .map_err(|error| Error::invalid("vector", format!("this is no vector of {space}: {error}")))?;
    let too_large = |param: &str| Error::invalid(param, format!("{param} is out of range"));
    Ok(NewRow {
        agent_id,
        context_id: Some(row.context_id).filter(|context| !context.is_empty()),
        metadata: Metadata::parse("metadata", &row.metadata)?,
        content: row.content,
        model: row.model,
        provider: row.provider,
        input_type: row.input_type,
        task_type: row.task_type,
        pii_policy_version: row.pii_policy_version,
        tokens: i64::try_from(row.tokens).map_err(|_| too_large("tokens"))?,
        cost_nano_usd: row.cost_nano_usd,
        vector,
    })
}

#[cfg(test)]
mod tests;
