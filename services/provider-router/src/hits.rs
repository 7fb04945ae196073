//! Cache hits on their way to the books: gathered for a moment and written down or sent together, so that a hit costs the request nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    Entry, Hit, PostRequest, entry::Entry as Value, ledger_client::LedgerClient,
};
use embermesh_transport::{CallContext, Transport};
use embermesh_types::TenantId;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{ids::uuid_v7, journal::Journal, probe::for_itself};

/// Hits that may wait; they cost nothing, so further ones are left out while the ledger is behind.
const WAITING: usize = 16 * 1024;
/// Hits of one message.
const TOGETHER: usize = 1024;
/// How long a hit waits for company.
const GATHER: Duration = Duration::from_millis(100);
/// At the end: how long after the last hit another may come. The journal waits for longer.
const DRAIN: Duration = Duration::from_millis(300);
/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where hits are left to be booked.
#[derive(Debug, Clone)]
pub(crate) struct Hits(mpsc::Sender<(TenantId, SystemTime, Hit)>);

/// Where they go.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    /// Nothing is lost.
    Journal(Arc<Journal>),
    /// What it cannot take now is left out.
    Ledger(LedgerClient<Transport>),
}

impl Hits {
    /// Starts the task that brings them there; when the process stops it ends once no more come.
    pub fn start(to: Destination, tasks: &Tasks) -> Self {
        let (send, receive) = mpsc::channel(WAITING);
        tasks.spawn("record hits", gather(to, receive, tasks.clone()));
        Self(send)
    }

    /// Books a hit of `now`, soon. Its charge gets its id on the way.
    pub fn record(&self, ctx: &CallContext, now: SystemTime, hit: Hit) {
        if self.0.try_send((ctx.principal.tenant, now, hit)).is_err() {
            tracing::debug!("the ledger is behind, a cache hit is not booked");
        }
    }
}

async fn gather(to: Destination, mut hits: mpsc::Receiver<(TenantId, SystemTime, Hit)>, tasks: Tasks) {
    let mut together = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            received = hits.recv_many(&mut together, TOGETHER) => {
                if received == 0 {
                    return;
                }
            }
            () = tasks.stopping() => break,
        }
        sleep(GATHER).await;
        while together.len() < TOGETHER
            && let Ok(hit) = hits.try_recv()
        {
            together.push(hit);
        }
        bring(&to, std::mem::take(&mut together)).await;
    }
    // requests under way may still bring some; the senders go with the service, which outlives them
    while let Ok(received) = timeout(DRAIN, hits.recv_many(&mut together, TOGETHER)).await
        && received > 0
    {
        bring(&to, std::mem::take(&mut together)).await;
    }
}

async fn bring(to: &Destination, hits: Vec<(TenantId, SystemTime, Hit)>) {
    let entries = hits.into_iter().map(|(tenant, now, mut hit)| {
        hit.charge_id = uuid_v7(now).to_string();
        (tenant, Entry { entry: Some(Value::Hit(hit)) })
    });
    match to {
        Destination::Journal(journal) => journal.put(entries),
        Destination::Ledger(ledger) => send(ledger, entries).await,
    }
}

/// One message per tenant: the tenant travels in the call's metadata.
async fn send(ledger: &LedgerClient<Transport>, hits: impl Iterator<Item = (TenantId, Entry)>) {
    let Some(mut ctx) = for_itself("hits") else { return };
    let mut by_tenant: HashMap<TenantId, Vec<Entry>> = HashMap::new();
    for (tenant, hit) in hits {
        by_tenant.entry(tenant).or_default().push(hit);
    }
    for (tenant, entries) in by_tenant {
        ctx.principal.tenant = tenant;
        let (count, mut ledger) = (entries.len(), ledger.clone());
        let request = PostRequest { entries, ..PostRequest::default() };
        let sent = timeout(PATIENCE, ledger.post(ctx.request(request))).await;
        if !matches!(sent, Ok(Ok(_))) {
            tracing::warn!(count, "cache hits are not booked, the ledger does not answer");
        }
    }
}
