//! Where a text of an agent would go, in one line: what [`explain`](crate::explain) has chosen, and what it would cost.

use embermesh_errors::Error;
use embermesh_proto::v1::{Candidate, ExplainRequest, SelectModelRequest, SelectedModel};
use embermesh_transport::CallContext;
use embermesh_types::SpaceId;

use crate::{embed::Embedder, explain::TOKENS};

impl Embedder {
    /// Selects.
    ///
    /// # Errors
    /// As the text itself would end, when no candidate can be called now.
    pub fn select(&self, ctx: &CallContext, request: SelectModelRequest) -> Result<SelectedModel, Error> {
        let SelectModelRequest { agent_id, task_type, model, dimensions, token_estimate } = request;
        let own = || ctx.principal.agent.clone().unwrap_or_default().into();
        let agent_id = agent_id.unwrap_or_else(own);
        let token_estimate = token_estimate.unwrap_or(TOKENS);
        let question = ExplainRequest {
            agent_id,
            task_type,
            model,
            dimensions,
            embedding_strategy: None,
            token_estimate: Some(token_estimate),
        };
        let explained = self.explain(ctx, question)?;
        let chosen = explained.candidates.iter().find(|candidate| candidate.status == "chosen");
        let Some(chosen) = chosen else { return Err(nothing(&explained.candidates)) };
        let space_id = chosen.space_id.clone().unwrap_or_default();
        let space: SpaceId =
            space_id.parse().map_err(|_| Error::internal("a candidate was chosen without its space"))?;
        Ok(SelectedModel {
            agent_id: explained.agent_id,
            task_type: explained.task_type,
            model: chosen.model.clone(),
            provider: chosen.provider.clone().unwrap_or_default(),
            deployment: chosen.name.clone(),
            dimensions: space.dimensions(),
            pinned: explained.pinned_space_id.as_ref() == Some(&space_id),
            space_id,
            token_estimate,
            estimated_cost_nano_usd: chosen.cost_nano_usd.unwrap_or_default(),
            reason: chosen.reason.clone(),
        })
    }
}

fn nothing(candidates: &[Candidate]) -> Error {
    let reasons: Vec<String> = candidates.iter().map(|one| format!("{}: {}", one.name, one.reason)).collect();
    Error::unavailable(format!("no candidate can be called now; {}", reasons.join("; ")))
}
