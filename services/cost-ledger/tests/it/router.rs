//! A router as the ledger sees it: it takes leases, reserves out of them, and posts what it did.

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    BudgetLeaseReply, BudgetLeaseRequest, Entry, Hit, LeaseReturn, LeasedAttempt, PostRequest, RejectedEntry,
    ReserveRequest, SettleRequest, entry::Entry as Value, ledger_client::LedgerClient,
};
use embermesh_transport::{CallContext, Transport};
use uuid::Uuid;

use crate::world::{World, settled};

/// What its leases are of: the provider of every reservation of [`crate::world`], and its key.
pub(crate) const PROVIDER: &str = "openai";
pub(crate) const KEY: &str = "key1";

#[derive(Clone)]
pub(crate) struct Router {
    pub(crate) session: String,
    pub(crate) ledger: LedgerClient<Transport>,
    pub(crate) context: CallContext,
}

/// A lease in its hands.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) id: String,
    pub(crate) granted: i64,
    pub(crate) day: String,
}

impl Router {
    pub(crate) fn new(world: &World) -> Self {
        let session = Uuid::now_v7().to_string();
        Self { session, ledger: world.replica.ledger.clone(), context: world.context.clone() }
    }

    pub(crate) async fn ask(&self, request: BudgetLeaseRequest) -> Result<BudgetLeaseReply, Error> {
        let request = self.context.request(request);
        Ok(self.ledger.clone().lease_budget(request).await.map_err(Error::from)?.into_inner())
    }

    pub(crate) fn wish(&self, id: &str, agent: &str, least: i64, wanted: i64) -> BudgetLeaseRequest {
        BudgetLeaseRequest {
            lease_id: id.to_owned(),
            session_id: self.session.clone(),
            agent_id: agent.to_owned(),
            key_id: KEY.to_owned(),
            provider: PROVIDER.to_owned(),
            least_nano_usd: least,
            wanted_nano_usd: wanted,
        }
    }

    /// A lease of up to `wanted`.
    pub(crate) async fn lease(&self, agent: &str, wanted: i64) -> Lease {
        let id = Uuid::now_v7().to_string();
        let reply = self.ask(self.wish(&id, agent, 1, wanted)).await.unwrap();
        assert!(reply.granted > 0, "{reply:?}");
        Lease { id, granted: reply.granted, day: reply.day }
    }

    pub(crate) async fn try_post(
        &self,
        entries: Vec<Entry>,
        closes: bool,
    ) -> Result<Vec<RejectedEntry>, Error> {
        let request = PostRequest { session_id: self.session.clone(), entries, closes };
        let reply = self.ledger.clone().post(self.context.request(request)).await.map_err(Error::from)?;
        Ok(reply.into_inner().rejected)
    }

    /// Posts what is all to be booked.
    pub(crate) async fn post(&self, entries: Vec<Entry>) {
        assert_eq!(self.try_post(entries, false).await.unwrap(), []);
    }

    pub(crate) async fn close(&self) {
        assert_eq!(self.try_post(Vec::new(), true).await.unwrap(), []);
    }
}

impl Lease {
    /// Every part of the call comes out of it.
    pub(crate) fn reserved(&self, world: &World, mut reserve: ReserveRequest) -> Entry {
        for part in &mut reserve.parts {
            part.lease_id.clone_from(&self.id);
        }
        leased(world, reserve, &self.day)
    }

    pub(crate) fn returned(&self, nanos: i64, closes: bool) -> Entry {
        let returned = LeaseReturn { lease_id: self.id.clone(), returned: nanos, closes };
        Entry { entry: Some(Value::Returned(returned)) }
    }
}

pub(crate) fn leased(world: &World, reserve: ReserveRequest, day: &str) -> Entry {
    let reserved_at = Some(world.clock.clock().now().into());
    let attempt = LeasedAttempt { reserve: Some(reserve), reserved_at, day: day.to_owned() };
    Entry { entry: Some(Value::Reserved(attempt)) }
}

pub(crate) fn ended(settlement: SettleRequest) -> Entry {
    Entry { entry: Some(Value::Settled(settlement)) }
}

pub(crate) fn presumed(attempt: Uuid) -> Entry {
    Entry { entry: Some(Value::PresumedAttemptId(attempt.to_string())) }
}

pub(crate) fn hit(world: &World, agent: &str) -> Entry {
    let hit = Hit {
        request_id: "cached".to_owned(),
        agent_id: agent.to_owned(),
        key_id: KEY.to_owned(),
        provider: PROVIDER.to_owned(),
        model: "small".to_owned(),
        tokens: 5,
        inputs: 1,
        saved_nano_usd: 100,
        charge_id: world.attempt().to_string(),
    };
    Entry { entry: Some(Value::Hit(hit)) }
}

/// The end of a lone attempt at `nanos`.
pub(crate) fn settlement(attempt: Uuid, agent: &str, nanos: i64) -> Entry {
    ended(settled(attempt, vec![crate::world::charge(&attempt.to_string(), agent, nanos)]))
}
