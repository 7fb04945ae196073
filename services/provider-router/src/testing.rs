//! The leased way of one call, for the bench: what a call pays for its reservation and its end, from the ids to the bytes on disk.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_auth::{Principal, Scopes};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    AttemptOutcome, ReservePart, ReserveRequest, ledger_client::LedgerClient,
};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_telemetry::Metrics;
use embermesh_transport::{CallContext, Endpoint};
use embermesh_types::{AttemptId, Clock, NanoUsd, TenantId, TokenCount};

use crate::{
    batch::Part,
    books::{Books, Settlement, Wanted},
    domain::usage::Share,
    escrow::Escrow,
    hits::{Destination, Hits},
    ids::uuid_v7,
    journal::Journal,
    leases::Leases,
    metrics::{JournalMetrics, RouterMetrics},
    provider_time::ProviderTime,
    quotas::Quotas,
    text::Asker,
};

/// Books with a lease that is never used up. The journal is on disk, and nobody brings it to a ledger.
#[derive(Debug)]
pub struct LeasedCalls {
    books: Books,
    asker: Arc<Asker>,
    clock: Clock,
    provider: Arc<str>,
}

impl LeasedCalls {
    /// With a journal in `dir`; within a runtime.
    pub fn new(dir: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let (tasks, metrics, clock) = (Tasks::new(), Metrics::default(), Clock::system());
        let nowhere = Endpoint::parse("http://127.0.0.1:1")?.connect(None, &tasks)?;
        let ledger = LedgerClient::new(nowhere);
        let journal = Arc::new(Journal::create(dir, uuid_v7(clock.now()))?);
        let held = JournalMetrics::new(&metrics)?.leases;
        let subscription = Subscription::fixed(Snapshot::default().with_version(1));
        let (leases, _asks) =
            Leases::new(Arc::clone(&journal), ledger.clone(), subscription.clone(), clock.clone(), held);
        let held = Some(Arc::clone(&leases));
        let quotas = Quotas::new(ledger.clone(), subscription, clock.clone(), tasks.clone(), held);
        let principal = Principal {
            tenant: TenantId::SYSTEM,
            key: "key".parse()?,
            agent: None,
            scopes: Scopes::default(),
        };
        let ctx = CallContext {
            principal,
            request_id: "0192d5a0-0000-7000-8000-000000000001".parse()?,
            deadline: None,
        };
        let asker = Arc::new(Asker {
            ctx,
            agent: "agent".parse()?,
            trace: None,
            at_providers: ProviderTime::default(),
        });
        let books = Books {
            ledger,
            hits: Hits::start(Destination::Journal(journal), &tasks),
            tasks,
            reservations: RouterMetrics::new(&metrics)?.reservations,
            escrow: Some(Escrow { leases }),
            quotas,
        };
        let calls = Self { books, asker, clock, provider: "openai".into() };
        calls.grant();
        Ok(calls)
    }

    fn grant(&self) {
        let parts = [Part { asker: Arc::clone(&self.asker), texts: vec![0] }];
        let wanted = self.wanted(&parts, self.clock.now());
        if let (Some(escrow), Some(path)) = (&self.books.escrow, wanted.path(0)) {
            escrow.leases.grant(
                &path,
                embermesh_escrow::Amount(i64::MAX / 4),
                self.clock.now() + Duration::from_secs(1),
            );
        }
    }

    fn wanted<'a>(&'a self, parts: &'a [Part], now: SystemTime) -> Wanted<'a> {
        let attempt = AttemptId::new(uuid_v7(now));
        let request = ReserveRequest {
            attempt_id: attempt.to_string(),
            parts: vec![ReservePart {
                request_id: self.asker.ctx.request_id.to_string(),
                agent_id: self.asker.agent.to_string(),
                key_id: self.asker.ctx.principal.key.to_string(),
                amount_nano_usd: 1_000,
                tokens_bound: 100,
                inputs: 1,
                lease_id: String::new(),
            }],
            provider: self.provider.to_string(),
            deployment: self.provider.to_string(),
            model: "text-embedding-3-small".to_owned(),
            space_id: "openai/text-embedding-3-small@1536".to_owned(),
            price_per_million_nano_usd: 20_000_000,
            session_id: String::new(),
        };
        Wanted { attempt, now, tenant: TenantId::SYSTEM, provider: &self.provider, parts, request }
    }

    /// One call: reserved, written down, settled, written down. Whether a lease paid.
    pub async fn call(&self) -> bool {
        let parts = [Part { asker: Arc::clone(&self.asker), texts: vec![0] }];
        let wanted = self.wanted(&parts, self.clock.now());
        let Ok((hold, _)) = self.books.reserve(&self.asker.ctx, wanted).await else { return false };
        let share = Share { tokens: TokenCount(30), cost: NanoUsd(600) };
        let settlement = Settlement {
            attempt: hold.attempt,
            outcome: AttemptOutcome::Settled,
            tokens: TokenCount(30),
            billed_units: 0,
            charges: vec![(Arc::clone(&self.asker), share, 1)],
        };
        self.books.settle(&self.asker.ctx, hold, settlement).await;
        self.books.reservations.direct.get() == 0
    }

    /// Takes out of memory what would go to the ledger, as far as it is there; returns how much.
    pub fn ship(&self) -> usize {
        self.books.escrow.as_ref().map_or(0, |escrow| escrow.leases.journal.discard())
    }
}
