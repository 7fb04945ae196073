//! Brings entries to the ledger, each tenant's in their order, until they are booked or can never be.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{
    Entry, PostReply, PostRequest, entry::Entry as Value, ledger_server::Ledger,
};
use embermesh_transport::{CallContext, Transport};
use embermesh_types::TenantId;
use futures::{StreamExt, stream};
use prometheus::IntCounter;
use tokio::time::{sleep, timeout};
use tonic::Status;

use crate::{books::ledger_client, probe::for_itself};

/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Tenants that are posted for at the same time.
const AT_ONCE: usize = 8;
/// After so many failures that are not for want of a ledger, an entry on its own is given up.
const TRIES: u32 = 8;

/// Posts entries.
#[derive(Debug, Clone)]
pub(crate) struct Poster {
    ledger: Transport,
    rejected: IntCounter,
}

impl Poster {
    pub const fn new(ledger: Transport, rejected: IntCounter) -> Self {
        Self { ledger, rejected }
    }

    /// Posts entries once. `false`: some of them may not be booked.
    pub async fn try_post(&self, session: &str, entries: Vec<(TenantId, Entry)>) -> bool {
        let all = stream::iter(by_tenant(entries)).map(|(tenant, entries)| async move {
            self.send(session, tenant, entries, false).await.inspect_err(|error| {
                tracing::debug!(%tenant, code = error.code.as_str(), %error, "the ledger does not take the journal");
            })
        });
        all.buffer_unordered(AT_ONCE).all(|sent| async move { sent.is_ok() }).await
    }

    /// Posts entries for as long as it takes.
    pub async fn post(&self, session: &str, entries: Vec<(TenantId, Entry)>) {
        let all = stream::iter(by_tenant(entries));
        all.for_each_concurrent(AT_ONCE, |(tenant, entries)| self.insist(session, tenant, entries)).await;
    }

    /// Ends a session; everything of it has been posted.
    pub async fn close(&self, session: &str) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.send(session, TenantId::SYSTEM, Vec::new(), true).await {
            if !is_away(error.code) {
                tracing::error!(session, code = error.code.as_str(), %error, "the ledger does not end the session, its leases stay presumed");
                return;
            }
            wait(&mut pause).await;
        }
    }

    async fn insist(&self, session: &str, tenant: TenantId, entries: Vec<Entry>) {
        let (mut pause, mut tries) = (FIRST_PAUSE, 0);
        let mut waiting = vec![entries];
        while let Some(entries) = waiting.pop() {
            let Err(error) = self.send(session, tenant, entries.clone(), false).await else {
                (pause, tries) = (FIRST_PAUSE, 0);
                continue;
            };
            let away = is_away(error.code);
            let (code, message) = (error.code.as_str(), &error.message);
            if away {
                tracing::warn!(%tenant, code, error = message, count = entries.len(), "the ledger is away, the journal waits");
            }
            match &*entries {
                // one of them is bad, or all are: the good ones are booked
                [_, _, ..] if !away => {
                    let mut entries = entries;
                    let second = entries.split_off(entries.len() / 2);
                    waiting.extend([second, entries]);
                }
                [entry] if !away && (tries >= TRIES || !may_pass(error.code)) => {
                    self.reject(tenant, entry, &error);
                    tries = 0;
                }
                _ => {
                    tries += u32::from(!away);
                    waiting.push(entries);
                    wait(&mut pause).await;
                }
            }
        }
    }

    async fn send(
        &self,
        session: &str,
        tenant: TenantId,
        entries: Vec<Entry>,
        closes: bool,
    ) -> Result<(), Error> {
        let mut ctx =
            for_itself("journal").ok_or_else(|| Error::internal("the system's identity is malformed"))?;
        ctx.principal.tenant = tenant;
        ctx.deadline = Some(Instant::now() + PATIENCE);
        let named: Vec<Named> = entries.iter().map(Named::of).collect();
        let request = PostRequest { session_id: session.to_owned(), entries, closes };
        let sent = timeout(PATIENCE, self.tell(&ctx, request)).await;
        let reply = sent.map_err(|_| Error::new(Code::DeadlineExceeded, "the ledger does not answer"))??;
        for rejected in reply.rejected {
            let error = rejected.failure.map(Error::from);
            let error = error.unwrap_or_else(|| Error::internal("the ledger rejects without a reason"));
            let at = usize::try_from(rejected.entry).unwrap_or(usize::MAX);
            self.log(tenant, named.get(at), &error);
        }
        Ok(())
    }

    async fn tell(&self, ctx: &CallContext, request: PostRequest) -> Result<PostReply, Status> {
        match self.ledger.direct::<dyn Ledger>() {
            Some(ledger) => ledger.call("Post", ctx, request, |ledger, request| ledger.post(request)).await,
            None => Ok(ledger_client(&self.ledger).post(ctx.request(request)).await?.into_inner()),
        }
    }

    fn reject(&self, tenant: TenantId, entry: &Entry, error: &Error) {
        self.log(tenant, Some(&Named::of(entry)), error);
    }

    fn log(&self, tenant: TenantId, entry: Option<&Named>, error: &Error) {
        self.rejected.inc();
        let (kind, id) = entry.map_or(("unknown", String::new()), |named| (named.kind, named.id()));
        tracing::error!(%tenant, kind, id, code = error.code.as_str(), %error, "an entry of the journal can never be booked");
    }
}

/// What an entry is of, for a log line: of ids that are UUIDs the value, so that nothing is allocated for what is seldom needed.
struct Named {
    kind: &'static str,
    id: Option<uuid::Uuid>,
}

impl Named {
    fn of(entry: &Entry) -> Self {
        let (kind, id) = match &entry.entry {
            Some(Value::Reserved(attempt)) => {
                ("reserved", attempt.reserve.as_ref().map_or("", |reserve| reserve.attempt_id.as_str()))
            }
            Some(Value::Settled(settled)) => ("settled", settled.attempt_id.as_str()),
            Some(Value::PresumedAttemptId(id)) => ("presumed", id.as_str()),
            Some(Value::Hit(hit)) => ("hit", hit.charge_id.as_str()),
            Some(Value::Returned(returned)) => ("returned", returned.lease_id.as_str()),
            Some(Value::Used(used)) => ("used", used.lease_id.as_str()),
            None => ("empty", ""),
        };
        Self { kind, id: id.parse().ok() }
    }

    fn id(&self) -> String {
        self.id.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// The ledger will take it once it is there, or is of this version.
const fn is_away(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::RateLimited
            | Code::Cancelled
            | Code::NotImplemented
            | Code::MethodNotAllowed
            | Code::Unauthenticated
    )
}

/// Whether a repetition could be taken.
const fn may_pass(code: Code) -> bool {
    matches!(code, Code::Internal | Code::Conflict)
}

fn by_tenant(entries: Vec<(TenantId, Entry)>) -> HashMap<TenantId, Vec<Entry>> {
    let mut by_tenant: HashMap<TenantId, Vec<Entry>> = HashMap::with_capacity(1);
    let all = entries.len();
    for (tenant, entry) in entries {
        // nearly always all are of one tenant
        let room = if by_tenant.is_empty() { all } else { 0 };
        by_tenant.entry(tenant).or_insert_with(|| Vec::with_capacity(room)).push(entry);
    }
    by_tenant
}

async fn wait(pause: &mut Duration) {
    sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
