//! `Ledger`.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    BudgetLeaseReply, BudgetLeaseRequest, CalledBack, PostReply, PostRequest, QuotaLeaseRequest, RefusedPart,
    RejectedEntry, RenewReply, RenewRequest, ReserveReply, ReserveRequest, SettleReply, SettleRequest,
    ledger_server::Ledger,
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::domain::{
    ids::SessionId,
    lease_ask::{Grant, LeaseAsk},
    parse::parse,
    part::Refused,
    post::{Post, Rejected},
    reserve::Reserve,
    settlement::Settlement,
    work::{Answer, Operation, Outcome, Work},
};

impl Handler {
    async fn submit(&self, context: &CallContext, operation: Operation) -> Outcome {
        self.0.writer.submit(Work { tenant: context.principal.tenant, operation }).await
    }
}

#[tonic::async_trait]
impl Ledger for Handler {
    async fn reserve(&self, request: Request<ReserveRequest>) -> Result<Response<ReserveReply>, Status> {
        let context = CallContext::of(&request)?;
        let reserve = Reserve::parse(request.into_inner(), &context.principal, self.0.clock.now())?;
        let tenant = context.principal.tenant;
        let operation = Operation::Reserve(reserve);
        let answer = self.0.call_back.set_aside(tenant, operation, context.time_left()).await?;
        let Answer::Reserved(refused) = answer else { return Err(unanswered().into()) };
        Ok(Response::new(ReserveReply { refused: refused.into_iter().map(refused_part).collect() }))
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
        self.0.waiting.freed();
        Ok(Response::new(SettleReply {}))
    }

    async fn lease_budget(
        &self,
        request: Request<BudgetLeaseRequest>,
    ) -> Result<Response<BudgetLeaseReply>, Status> {
        let context = CallContext::of(&request)?;
        let ask = LeaseAsk::parse(request.into_inner(), &context.principal)?;
        self.0.sessions.heard(ask.session).await?;
        leased(self.submit(&context, Operation::Lease(ask)).await?)
    }

    async fn lease_quota(
        &self,
        request: Request<QuotaLeaseRequest>,
    ) -> Result<Response<BudgetLeaseReply>, Status> {
        let context = CallContext::of(&request)?;
        let ask = LeaseAsk::parse_quota(request.get_ref())?;
        let tenant = context.principal.tenant;
        if ask.call.is_some() {
            // nothing of it is to be called back, so it does not matter who holds it
            let operation = Operation::Lease(ask);
            return leased(self.0.call_back.set_aside(tenant, operation, context.time_left()).await?);
        }
        self.0.sessions.heard(ask.session).await?;
        leased(self.submit(&context, Operation::Lease(ask)).await?)
    }

    async fn post(&self, request: Request<PostRequest>) -> Result<Response<PostReply>, Status> {
        let context = CallContext::of(&request)?;
        let PostRequest { session_id, entries, closes } = request.into_inner();
        let post = Post::parse(&session_id, entries, &context.principal, self.0.clock.now())?;
        let session = post.session;
        if let Some(session) = session.filter(|_| !closes) {
            self.0.sessions.heard(session).await?;
        }
        let Answer::Posted(rejected) = self.submit(&context, Operation::Post(post)).await? else {
            return Err(unanswered().into());
        };
        if closes {
            let nobody = || Error::invalid("session_id", "say whose leases are to be closed");
            self.0.sessions.closed(session.ok_or_else(nobody)?).await?;
        }
        self.0.waiting.freed();
        Ok(Response::new(PostReply { rejected: rejected.into_iter().map(rejected_entry).collect() }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let session: SessionId = parse("session_id", &request.into_inner().session_id)?;
        self.0.sessions.heard(session).await?;
        let leases = self.0.call_back.called_back(session).await?.into_iter().map(|called| CalledBack {
            tenant_id: called.tenant.to_string(),
            lease_id: called.lease.to_string(),
        });
        Ok(Response::new(RenewReply { leases: leases.collect() }))
    }
}

fn leased(answer: Answer) -> Result<Response<BudgetLeaseReply>, Status> {
    let Answer::Leased(Grant { amount, day, ask_again_ms }) = answer else { return Err(unanswered().into()) };
    Ok(Response::new(BudgetLeaseReply { granted: amount.0, day: day.to_string(), ask_again_ms }))
}

/// A defect of the books.
fn unanswered() -> Error {
    Error::internal("the ledger answered another question, see its log")
}

fn refused_part(refused: Refused) -> RefusedPart {
    let part = u32::try_from(refused.part).unwrap_or(u32::MAX);
    RefusedPart { part, failure: Some((&refused.why).into()) }
}

fn rejected_entry(rejected: Rejected) -> RejectedEntry {
    let entry = u32::try_from(rejected.entry).unwrap_or(u32::MAX);
    RejectedEntry { entry, failure: Some((&rejected.why).into()) }
}
