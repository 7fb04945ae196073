//! One call to the provider router, and the check of what comes back: as many vectors as texts, in order, each of the space's
//! length, finite and not all zero.

use bytes::Bytes;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{RouteItem, RouteReply, RouteRequest, router_server::Router};
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, SpaceId};
use pulp::Arch;
use tonic::Status;

use super::{EmbeddingParts, OnTooLong, defect, too_long::Cut};
use crate::api_calls;

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
    /// What to do with a text over the model's limit.
    pub on_too_long: OnTooLong,
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
    /// How the text was cut, if it was over the model's limit.
    pub cut: Option<Box<Cut>>,
}

impl AsRef<[u8]> for Item {
    /// Its vector.
    fn as_ref(&self) -> &[u8] {
        &self.vector
    }
}

/// The results of one call, in the order of its texts.
#[derive(Debug)]
pub(crate) struct Routed {
    /// The catalog id of the model.
    pub model: String,
    /// The agent's own space, when a fallback model answered for it.
    pub instead_of: Option<SpaceId>,
    /// One for each text.
    pub items: Vec<Result<Item, Error>>,
}

impl Routed {
    /// As the router might have answered, to be kept; texts that failed are left out.
    pub fn to_reply(&self) -> RouteReply {
        let item = |item: &Item| RouteItem {
            vector: item.vector.clone(),
            tokens: item.tokens,
            cost_nano_usd: item.cost.0,
            cached: item.cached,
            provider: item.provider.clone(),
            ..Default::default()
        };
        let space = self.items.iter().flatten().map(|item| &item.space).next();
        RouteReply {
            model: self.model.clone(),
            space_id: space.map_or_else(String::new, |space| space.as_str().to_owned()),
            dimensions: space.map_or(0, SpaceId::dimensions),
            items: self.items.iter().flatten().map(item).collect(),
            instead_of: self.instead_of.as_ref().map_or_else(String::new, |space| space.as_str().to_owned()),
            ..RouteReply::default()
        }
    }

    /// What was kept of `count` texts.
    pub fn of_kept(reply: RouteReply, count: usize) -> Result<Self, Error> {
        let expected = Expected {
            count,
            cuttable: None,
            on_too_long: OnTooLong::Error,
            dimensions: None,
            stay_in_space: false,
        };
        checked(reply, &expected)
    }
}

impl EmbeddingParts {
    /// Has scrubbed `texts` embedded, and counts what that cost.
    pub async fn route(
        &self,
        context: &CallContext,
        route: &Route,
        texts: Vec<String>,
    ) -> Result<Routed, Error> {
        // what was cut is checked against its text
        let cuttable = (route.on_too_long != OnTooLong::Error).then(|| texts.clone());
        let expected = Expected {
            count: texts.len(),
            cuttable: cuttable.as_deref(),
            on_too_long: route.on_too_long,
            dimensions: route.dimensions,
            // a query of another space than the documents finds nothing
            stay_in_space: route.input_type == InputType::Query,
        };
        let request = RouteRequest {
            agent_id: route.agent.as_str().to_owned(),
            texts,
            model: route.model.clone().unwrap_or_default(),
            task_type: route.task_type.clone(),
            input_type: route.input_type.as_str().to_owned(),
            dimensions: route.dimensions.unwrap_or_default(),
            request_id: context.request_id.as_str().to_owned(),
            on_too_long: route.on_too_long.as_str().to_owned(),
            stay_in_space: expected.stay_in_space,
        };
        let reply = self.ask_router(context, request).await?;
        // before the check: what cannot be used was paid for too
        self.costs.record(&route.agent, &reply);
        api_calls::routed(&reply);
        checked(reply, &expected)
    }

    async fn ask_router(&self, context: &CallContext, request: RouteRequest) -> Result<RouteReply, Status> {
        match self.router.direct::<dyn Router>() {
            Some(router) => {
                router.call("Embed", context, request, |router, request| router.embed(request)).await
            }
            // a client's call is a large future, of no use to those who have no wire between them
            None => Ok(Box::pin(self.router().embed(context.request(request))).await?.into_inner()),
        }
    }
}

/// An error that the router has with one text, as an error of the field that the client sent it in.
pub(crate) fn about(mut error: Error, param: &str) -> Error {
    let of_text = match error.param.as_deref() {
        Some(named) => matches!(named, "text" | "texts" | "input"),
        // a spent budget or a full provider is not the text's fault
        None => matches!(error.code, Code::Invalid | Code::InputTooLong | Code::TooLarge),
    };
    if of_text && error.code != Code::Internal {
        error.param = Some(param.to_owned());
    }
    error
}

/// What the router was asked for.
struct Expected<'a> {
    count: usize,
    /// The texts, when they may be cut.
    cuttable: Option<&'a [String]>,
    on_too_long: OnTooLong,
    dimensions: Option<u32>,
    stay_in_space: bool,
}

fn checked(reply: RouteReply, expected: &Expected<'_>) -> Result<Routed, Error> {
    if reply.items.len() != expected.count {
        tracing::error!(expected = expected.count, got = reply.items.len(), "results do not match inputs");
        return Err(defect("the router answered with another number of vectors than texts"));
    }
    let instead_of = match reply.instead_of.as_str() {
        "" => None,
        space if !expected.stay_in_space => {
            Some(space.parse().map_err(|_| defect("the router answered instead of a space that is none"))?)
        }
        _ => return Err(defect("the router answered in another space than asked")),
    };
    // nothing is known of the space when every text failed
    let space = reply.space_id.parse::<SpaceId>().ok().filter(|space| {
        space.dimensions() == reply.dimensions
            && expected.dimensions.is_none_or(|asked| asked == space.dimensions())
    });
    let item = |(at, item): (usize, RouteItem)| match (item.failure, &space) {
        (Some(failure), _) => Err(Error::from(failure)),
        (None, None) => Err(defect("the router answered in another space than asked")),
        (None, Some(space)) => {
            check_vector(&item.vector, space.dimensions())?;
            let text = expected.cuttable.and_then(|texts| texts.get(at)).map_or("", String::as_str);
            let cut = item.cut.map(|cut| Cut::checked(cut, text, expected.on_too_long, space.dimensions()));
            let cut = cut.transpose()?.map(Box::new);
            let cost = NanoUsd(item.cost_nano_usd);
            let RouteItem { vector, provider, tokens, cached, .. } = item;
            if cut.as_ref().is_some_and(|cut| cut.sums() != (tokens, cost)) {
                // the vectors are good and paid for, but rows and answer now tell different costs
                tracing::error!(tokens, %cost, "the parts of a text do not add up to it");
            }
            Ok(Item { vector, space: space.clone(), provider, tokens, cost, cached, cut })
        }
    };
    let items = reply.items.into_iter().enumerate().map(item).collect();
    Ok(Routed { items, model: reply.model, instead_of })
}

/// Whether a vector has its length, and is finite and not all zero.
pub(super) fn check_vector(vector: &[u8], dimensions: u32) -> Result<(), Error> {
    /// The bits of infinity; those of every NaN are above.
    const INFINITE: i32 = 0x7f80_0000;
    let (floats, rest) = vector.as_chunks::<4>();
    if !rest.is_empty() || u32::try_from(floats.len()) != Ok(dimensions) {
        return Err(defect("a vector has not the length of its space"));
    }
    // but for their signs, numbers are in the order of their bits: the largest tells of all of them
    let bits = |float: &[u8; 4]| i32::from_le_bytes(*float) & i32::MAX;
    let largest = Arch::new().dispatch(|| floats.iter().fold(0, |largest, float| largest.max(bits(float))));
    match largest {
        0 => Err(defect("a vector is all zero")),
        INFINITE.. => Err(defect("a vector is not finite")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::{
        internal::v1::{self as wire, Failure, Piece},
        to_le_bytes,
    };

    use super::*;

    fn reply(vectors: &[&[f32]], space_id: &str, dimensions: u32) -> RouteReply {
        let item = |vector: &&[f32]| RouteItem { vector: to_le_bytes(vector), ..Default::default() };
        RouteReply {
            model: "m".into(),
            space_id: space_id.into(),
            dimensions,
            items: vectors.iter().map(item).collect(),
            ..Default::default()
        }
    }

    fn asked(count: usize, dimensions: Option<u32>) -> Expected<'static> {
        Expected { count, cuttable: None, on_too_long: OnTooLong::Error, dimensions, stay_in_space: false }
    }

    #[test]
    fn vectors_that_break_the_contract_are_never_passed_on() {
        let good: &[f32] = &[1.0, -0.0];
        assert!(checked(reply(&[good], "m@2", 2), &asked(1, None)).unwrap().items[0].is_ok());
        assert_eq!(checked(reply(&[good], "m@2", 2), &asked(2, None)).unwrap_err().code, Code::Internal);
        assert_eq!(
            checked(reply(&[good, good], "m@2", 2), &asked(1, None)).unwrap_err().code,
            Code::Internal
        );
        for (vector, space, dimensions, wanted) in [
            (&[1.0][..], "m@2", 2, None),
            (&[1.0, f32::NAN], "m@2", 2, None),
            (&[f32::NEG_INFINITY, 0.0], "m@2", 2, None),
            (&[0.0, -0.0], "m@2", 2, None),
            (good, "m@2", 3, None),
            (good, "m@2", 2, Some(3)),
            (good, "", 2, None),
        ] {
            let routed = checked(reply(&[vector], space, dimensions), &asked(1, wanted)).unwrap();
            assert_eq!(routed.items[0].as_ref().unwrap_err().code, Code::Internal, "{vector:?} {space}");
        }
    }

    #[test]
    fn a_text_is_cut_only_where_that_was_asked() {
        let mut cut = reply(&[&[1.0, 0.0]], "m@2", 2);
        let piece = Piece { start: 0, end: 2, ..Default::default() };
        cut.items[0].cut =
            Some(wire::Cut { action: "truncate".into(), pieces: vec![piece], ..Default::default() });
        assert!(checked(cut.clone(), &asked(1, None)).unwrap().items[0].is_err());
        let texts = ["abc".to_owned()];
        let truncating =
            Expected { cuttable: Some(&texts), on_too_long: OnTooLong::Truncate, ..asked(1, None) };
        let routed = checked(cut, &truncating).unwrap();
        assert_eq!(routed.items[0].as_ref().unwrap().cut.as_ref().unwrap().pieces[0].range, 0..2);
    }

    #[test]
    fn another_model_answers_only_where_it_may() {
        let mut fallback = reply(&[&[1.0, 0.0]], "m@2", 2);
        fallback.instead_of = "own@3".into();
        let routed = checked(fallback.clone(), &asked(1, None)).unwrap();
        assert_eq!(routed.instead_of.unwrap().as_str(), "own@3");
        let staying = Expected { stay_in_space: true, ..asked(1, None) };
        assert_eq!(checked(fallback.clone(), &staying).unwrap_err().code, Code::Internal);
        fallback.instead_of = "no space".into();
        assert_eq!(checked(fallback, &asked(1, None)).unwrap_err().code, Code::Internal);
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
        let routed =
            checked(RouteReply { items: vec![failed], ..Default::default() }, &asked(1, None)).unwrap();
        let error = routed.items[0].as_ref().unwrap_err();
        assert_eq!(
            (error.code, error.param.as_deref(), error.retry_after.unwrap().as_millis()),
            (Code::InputTooLong, None, 1500)
        );
        assert_eq!(error.details["tokens"], 9000);
    }
}
