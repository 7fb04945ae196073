//! One call to the provider router, and the check of what comes back: as many vectors as texts, in order, each of the space's
//! length, finite and not all zero.

use bytes::Bytes;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{Failure, RouteItem, RouteReply, RouteRequest};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, SpaceId};

use super::{EmbeddingParts, defect};

/// What a text is for; some models embed the two differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum InputType {
    /// To be found.
    Document,
    /// To find with.
    Query,
}

impl InputType {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Query => "query",
        }
    }
}

/// What decides how texts are embedded; texts of one route go in one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// For whom.
    pub agent: AgentId,
    /// Catalog id; `None` is the agent's pinned space.
    pub model: Option<String>,
    /// What for.
    pub task_type: String,
    /// What the texts are.
    pub input_type: InputType,
    /// Length of the vectors, when not the model's own.
    pub dimensions: Option<u32>,
}

/// One vector and what it took.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Little-endian f32.
    pub vector: Bytes,
    /// Where the vector lies.
    pub space: SpaceId,
    /// Who made it.
    pub provider: String,
    /// Length of the text.
    pub tokens: u64,
    /// What it cost now.
    pub cost: NanoUsd,
    /// Whether it was known already.
    pub cached: bool,
}

/// The results of one call, in the order of its texts.
#[derive(Debug)]
pub(crate) struct Routed {
    /// The catalog id of the model.
    pub model: String,
    /// One for each text.
    pub items: Vec<Result<Item, Error>>,
}

impl EmbeddingParts {
    /// Has scrubbed `texts` embedded, and counts what that cost.
    pub async fn route(
        &self,
        context: &CallContext,
        route: &Route,
        texts: Vec<String>,
    ) -> Result<Routed, Error> {
        let expected = texts.len();
        let request = RouteRequest {
            agent_id: route.agent.as_str().to_owned(),
            texts,
            model: route.model.clone().unwrap_or_default(),
            task_type: route.task_type.clone(),
            input_type: route.input_type.as_str().to_owned(),
            dimensions: route.dimensions.unwrap_or_default(),
            request_id: context.request_id.as_str().to_owned(),
        };
        let reply = self.router().embed(context.request(request)).await?.into_inner();
        // before the check: what cannot be used was paid for too
        self.costs.record(&route.agent, &reply);
        checked(reply, expected, route.dimensions)
    }
}

/// An error that the router has with one text, as an error of the field that the client sent it in.
pub(crate) fn about(mut error: Error, param: &str) -> Error {
    let of_text = |param: &str| matches!(param, "text" | "texts" | "input");
    if error.code != Code::Internal && error.param.as_deref().is_none_or(of_text) {
        error.param = Some(param.to_owned());
    }
    error
}

fn checked(reply: RouteReply, expected: usize, dimensions: Option<u32>) -> Result<Routed, Error> {
    if reply.items.len() != expected {
        tracing::error!(expected, got = reply.items.len(), "results do not match inputs");
        return Err(defect("the router answered with another number of vectors than texts"));
    }
    // nothing is known of the space when every text failed
    let space = reply.space_id.parse::<SpaceId>().ok().filter(|space| {
        space.dimensions() == reply.dimensions && dimensions.is_none_or(|asked| asked == space.dimensions())
    });
    let item = |item: RouteItem| match (item.failure, &space) {
        (Some(failure), _) => Err(error_of(failure)),
        (None, None) => Err(defect("the router answered in another space than asked")),
        (None, Some(space)) => {
            check_vector(&item.vector, space.dimensions())?;
            let cost = NanoUsd(item.cost_nano_usd);
            let RouteItem { vector, provider, tokens, cached, .. } = item;
            Ok(Item { vector, space: space.clone(), provider, tokens, cost, cached })
        }
    };
    Ok(Routed { items: reply.items.into_iter().map(item).collect(), model: reply.model })
}

fn check_vector(vector: &[u8], dimensions: u32) -> Result<(), Error> {
    const EXPONENT: u32 = 0x7f80_0000;
    let (floats, rest) = vector.as_chunks::<4>();
    if !rest.is_empty() || u32::try_from(floats.len()) != Ok(dimensions) {
        return Err(defect("a vector has not the length of its space"));
    }
    // without branches, so that it vectorises
    let (mut finite, mut any) = (true, 0_u32);
    for float in floats {
        let bits = u32::from_le_bytes(*float);
        finite &= bits & EXPONENT != EXPONENT;
        any |= bits << 1;
    }
    match (finite, any) {
        (false, _) => Err(defect("a vector is not finite")),
        (true, 0) => Err(defect("a vector is all zero")),
        _ => Ok(()),
    }
}

fn error_of(failure: Failure) -> Error {
    let code = failure.code.parse().unwrap_or(Code::Internal);
    let mut error = Error::new(code, failure.message);
    error.param = (!failure.param.is_empty()).then_some(failure.param);
    error.details = serde_json::from_str(&failure.details).unwrap_or_default();
    error.retry_after =
        (failure.retry_after_ms > 0).then(|| std::time::Duration::from_millis(failure.retry_after_ms));
    error
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;

    use super::*;

    fn reply(vectors: &[&[f32]], space_id: &str, dimensions: u32) -> RouteReply {
        let item = |vector: &&[f32]| RouteItem { vector: to_le_bytes(vector), ..Default::default() };
        RouteReply {
            model: "m".into(),
            space_id: space_id.into(),
            dimensions,
            items: vectors.iter().map(item).collect(),
        }
    }

    #[test]
    fn vectors_that_break_the_contract_are_never_passed_on() {
        let good: &[f32] = &[1.0, -0.0];
        assert!(checked(reply(&[good], "m@2", 2), 1, None).unwrap().items[0].is_ok());
        assert_eq!(checked(reply(&[good], "m@2", 2), 2, None).unwrap_err().code, Code::Internal);
        assert_eq!(checked(reply(&[good, good], "m@2", 2), 1, None).unwrap_err().code, Code::Internal);
        for (vector, space, dimensions, asked) in [
            (&[1.0][..], "m@2", 2, None),
            (&[1.0, f32::NAN], "m@2", 2, None),
            (&[f32::NEG_INFINITY, 0.0], "m@2", 2, None),
            (&[0.0, -0.0], "m@2", 2, None),
            (good, "m@2", 3, None),
            (good, "m@2", 2, Some(3)),
            (good, "", 2, None),
        ] {
            let routed = checked(reply(&[vector], space, dimensions), 1, asked).unwrap();
            assert_eq!(routed.items[0].as_ref().unwrap_err().code, Code::Internal, "{vector:?} {space}");
        }
    }

    #[test]
    fn an_items_failure_is_its_own_error() {
        let failure = Failure {
            code: "input_too_long".into(),
            message: "too long".into(),
            param: String::new(),
            details: r#"{"tokens":9000}"#.into(),
            retry_after_ms: 1500,
        };
        let failed = RouteItem { failure: Some(failure), ..Default::default() };
        let routed = checked(RouteReply { items: vec![failed], ..Default::default() }, 1, None).unwrap();
        let error = routed.items[0].as_ref().unwrap_err();
        assert_eq!(
            (error.code, error.param.as_deref(), error.retry_after.unwrap().as_millis()),
            (Code::InputTooLong, None, 1500)
        );
        assert_eq!(error.details["tokens"], 9000);
    }
}
