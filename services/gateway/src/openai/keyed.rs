//! Embeddings under an `Idempotency-Key`: the vectors are kept as they came, and written anew for each repeat.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::kept_answer::Kept;
use embermesh_transport::CallContext;
use embermesh_types::RequestId;

use super::{Plan, encode::Encoding, param};
use crate::embeddings::{EmbeddingParts, End, Fingerprint, Routed, about, check_kept, claim, defect};

/// Has the texts of a plan embedded, or answers what an earlier call under the key got. Every text has its vector.
pub(super) async fn route(
    parts: &EmbeddingParts,
    context: &CallContext,
    key: &RequestId,
    plan: Plan,
) -> Result<Routed, Error> {
    let count = plan.texts.len();
    check_kept(parts.kept_bytes(&plan.route, true, 0).saturating_mul(count))?;
    let claim = claim(key, fingerprint(&plan));
    let (own, of) = (parts.clone(), context.clone());
    let work = async move {
        let routed = match own.route(&of, &plan.route, plan.texts).await {
            Ok(routed) => routed,
            Err(error) => return End::failed(&error, false),
        };
        let paid = routed.items.iter().flatten().any(|item| item.cost.0 > 0);
        // this protocol has no partial results
        match routed.items.iter().enumerate().find_map(|(index, item)| Some((index, item.as_ref().err()?))) {
            Some((index, error)) => End::failed(&about(error.clone(), &param(plan.is_array, index)), paid),
            None => End::Keep(Kept::Vectors(routed.to_reply())),
        }
    };
    match parts.once(context, "Idempotency-Key", claim, work).await? {
        Kept::Vectors(reply) => Routed::of_kept(reply, count),
        _ => Err(defect("the answer that was kept is of another call")),
    }
}

/// Of what was asked. The agent stands for `user`, which may hold personal data.
fn fingerprint(plan: &Plan) -> [u8; 32] {
    let encoding: &[u8] = match plan.encoding {
        Encoding::Float => b"float",
        Encoding::Base64 => b"base64",
    };
    let route = &plan.route;
    let mut fingerprint = Fingerprint::new("of OpenAI's embeddings");
    fingerprint
        .field(route.agent.as_str().as_bytes())
        .field(route.model.as_deref().unwrap_or_default().as_bytes())
        .field(&route.dimensions.unwrap_or_default().to_le_bytes())
        .field(encoding)
        .field(&[u8::from(plan.is_array)]);
    for text in &plan.texts {
        fingerprint.field(text.as_bytes());
    }
    fingerprint.finish()
}
