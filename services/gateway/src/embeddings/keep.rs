//! Hands vectors to the store: one call a space, in the order of the request.

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{PutRequest, PutResult, PutRow};

use super::{
    Embeddings,
    caller::Caller,
    defect,
    embed::{Embedded, Kept, Outcome, Placed, Refused, conflict},
};

/// What goes in one message; far below what one may hold, whatever the last row adds.
const MAX_PUT_BYTES: usize = 16 * 1024 * 1024;

impl Embeddings {
    /// Keeps what was embedded. What cannot be kept is still answered: it was paid for.
    pub(super) async fn keep(&self, caller: &Caller, embedded: Placed<Embedded>) -> Placed<Outcome> {
        let mut outcomes = Vec::with_capacity(embedded.len());
        for group in by_space(embedded) {
            outcomes.extend(self.put(caller, group).await);
        }
        outcomes
    }

    async fn put(&self, caller: &Caller, group: Placed<Embedded>) -> Placed<Outcome> {
        let Some((_, first)) = group.first() else { return Vec::new() };
        let request = PutRequest {
            space_id: first.item.space.as_str().to_owned(),
            dimensions: first.item.space.dimensions(),
            rows: group.iter().map(|(_, embedded)| row(embedded)).collect(),
        };
        let answer = self.0.store().put(caller.context.request(request)).await.map_err(Error::from);
        let results = answer.and_then(|reply| {
            let results = reply.into_inner().results;
            if results.len() == group.len() {
                Ok(results)
            } else {
                Err(defect("the store answered for other rows than sent"))
            }
        });
        match results {
            Ok(results) => group
                .into_iter()
                .zip(results)
                .map(|((place, one), result)| (place, outcome(one, result)))
                .collect(),
            Err(error) => group.into_iter().map(|(place, one)| (place, Err(not_kept(one, &error)))).collect(),
        }
    }
}

fn by_space(embedded: Placed<Embedded>) -> Vec<Placed<Embedded>> {
    let mut groups: Vec<(usize, Placed<Embedded>)> = Vec::new();
    for (place, one) in embedded {
        let size = size(&one);
        let of_space = |group: &Placed<Embedded>| {
            group.first().is_some_and(|(_, first)| first.item.space == one.item.space)
        };
        // only the newest of a space is added to, so that rows stay in order
        match groups.iter_mut().rev().find(|(_, group)| of_space(group)) {
            Some((bytes, group)) if bytes.saturating_add(size) <= MAX_PUT_BYTES => {
                *bytes += size;
                group.push((place, one));
            }
            _ => groups.push((size, vec![(place, one)])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn size(embedded: &Embedded) -> usize {
    let entry = &embedded.scrubbed.entry;
    // 1 KiB is more than the ids beside them take
    entry.text.len()
        + entry.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len())
        + embedded.item.vector.len()
        + 1024
}

fn row(embedded: &Embedded) -> PutRow {
    let Embedded { scrubbed, model, item, .. } = embedded;
    let entry = &scrubbed.entry;
    PutRow {
        agent_id: entry.route.agent.as_str().to_owned(),
        context_id: entry.context_id.clone().unwrap_or_default(),
        content: entry.text.clone(),
        metadata: entry.metadata.as_ref().map_or("{}", |metadata| metadata.as_str()).to_owned(),
        model: model.clone(),
        provider: item.provider.clone(),
        input_type: entry.route.input_type.as_str().to_owned(),
        task_type: entry.route.task_type.clone(),
        pii_policy_version: scrubbed.pii.policy_version.clone(),
        tokens: item.tokens,
        cost_nano_usd: item.cost.0,
        vector: item.vector.clone(),
        request_id: entry.request_id.as_ref().map_or("", |id| id.as_str()).to_owned(),
        request_hash: scrubbed.fingerprint.map_or_else(Vec::new, |hash| hash.to_vec()).into(),
    }
}

fn outcome(mut embedded: Embedded, result: PutResult) -> Outcome {
    if result.conflict {
        return Err(Refused { error: conflict(), embedded: Some(Box::new(embedded)) });
    }
    embedded.kept = Some(Kept { embedding_id: result.embedding_id, deduplicated: result.deduplicated });
    Ok(embedded)
}

fn not_kept(embedded: Embedded, why: &Error) -> Refused {
    tracing::error!(code = why.code.as_str(), error = %why, "an embedding that was paid for could not be stored");
    let mut error = if why.code.http().is_client_error() && why.code != Code::Cancelled {
        why.clone()
    } else {
        Error::unavailable(
            "the text was embedded but could not be stored, try again: the vector is cached and costs nothing more",
        )
    };
    error = error.with_detail("embedded", true).with_detail("stored", false);
    error = error.with_detail("cost_usd", embedded.item.cost.to_string());
    Refused { error, embedded: Some(Box::new(embedded)) }
}
