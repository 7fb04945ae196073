//! `Ledger`.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    RecordHitsReply, RecordHitsRequest, ReserveReply, ReserveRequest, SettleReply, SettleRequest,
    ledger_server::Ledger,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::domain::work::{Hit, Operation, Reserve, Settlement, Work};

impl Handler {
    async fn submit(&self, context: &CallContext, operation: Operation) -> Result<(), Error> {
        self.0.writer.submit(Work { tenant: context.principal.tenant, operation }).await
    }
}

#[tonic::async_trait]
impl Ledger for Handler {
    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveReply>, Status> {
        let context = CallContext::of(&request)?;
        let reserve = Reserve::parse(request.into_inner(), &context.principal, self.0.clock.now())?;
        self.submit(&context, Operation::Reserve(reserve)).await?;
        Ok(Response::new(ReserveReply {}))
    }

    /// A router voids what it does not know to be reserved, too: after a `Reserve` without an answer. While the books hold no such
    /// attempt this is `NotFound` and writes nothing; the router repeats it a few times, because its `Reserve` may still be on the
    /// way. In one transaction reservations come before settlements, whatever the order of arrival, and a voided attempt cannot be
    /// reserved again. A `Reserve` that arrives after the last repetition stays reserved until the sweeper presumes it at its
    /// bound: too much is charged then, never too little.
    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<SettleReply>, Status> {
        let context = CallContext::of(&request)?;
        let settlement = Settlement::parse(request.into_inner(), &context.principal)?;
        self.submit(&context, Operation::Settle(settlement)).await?;
        Ok(Response::new(SettleReply {}))
    }

    async fn record_hits(
        &self,
        request: Request<RecordHitsRequest>,
    ) -> Result<Response<RecordHitsReply>, Status> {
        let context = CallContext::of(&request)?;
        let hits = request.into_inner().hits.into_iter().enumerate();
        let hits =
            hits.map(|(at, hit)| Hit::parse(at, hit, &context.principal)).collect::<Result<Vec<_>, _>>()?;
        self.submit(&context, Operation::Hits(hits)).await?;
        Ok(Response::new(RecordHitsReply {}))
    }
}
