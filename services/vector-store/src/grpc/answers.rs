//! Idempotency keys as the gateway claims them.

use std::sync::Arc;

use embermesh_proto::internal::v1::{
    self as proto, BeginReply, BeginRequest, FinishReply, FinishRequest, KeyState,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use crate::{
    domain::answer::{self, Scope},
    store::{Standing, Store},
};

pub(crate) struct AnswersService(pub(crate) Arc<Store>);

#[tonic::async_trait]
impl proto::answers_server::Answers for AnswersService {
    async fn begin(&self, request: Request<BeginRequest>) -> Result<Response<BeginReply>, Status> {
        let scope = Scope::of(&CallContext::of(&request)?.principal);
        let begin = answer::parse_begin(request.into_inner())?;
        let (call, parts) = self.0.begin(&scope, &begin).await?;
        let parts = parts.into_iter().map(message).collect();
        Ok(Response::new(BeginReply { call: call.map(message), parts }))
    }

    async fn finish(&self, request: Request<FinishRequest>) -> Result<Response<FinishReply>, Status> {
        let scope = Scope::of(&CallContext::of(&request)?.principal);
        let (holder, finished) = answer::parse_finish(request.into_inner())?;
        let lost = self.0.finish(&scope, holder, &finished).await?;
        Ok(Response::new(FinishReply { lost: lost.into_iter().map(String::from).collect() }))
    }
}

fn message(standing: Standing) -> proto::Standing {
    let (state, answer) = match standing {
        Standing::Taken => (KeyState::Taken, Default::default()),
        Standing::Answered(answer) => (KeyState::Answered, answer),
        Standing::InFlight => (KeyState::InFlight, Default::default()),
        Standing::OtherBody => (KeyState::OtherBody, Default::default()),
    };
    proto::Standing { state: state.into(), answer }
}
