//! Cache hits on their way to the ledger: gathered for a moment and sent together, so that a hit costs the request nothing.

use std::{collections::HashMap, time::Duration};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{Hit, RecordHitsRequest, ledger_client::LedgerClient};
use embermesh_transport::{CallContext, Transport};
use embermesh_types::TenantId;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// Hits that may wait; they cost nothing, so further ones are left out while the ledger is behind.
const WAITING: usize = 16 * 1024;
/// Hits of one message.
const TOGETHER: usize = 1024;
/// How long a hit waits for company.
const GATHER: Duration = Duration::from_millis(100);
/// At the end: how long after the last hit another may come.
const DRAIN: Duration = Duration::from_millis(500);
/// How long the ledger may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where hits are left to be booked.
#[derive(Debug, Clone)]
pub(crate) struct Hits(mpsc::Sender<(CallContext, Hit)>);

impl Hits {
    /// Starts the task that sends them; when the process stops it ends once no more come.
    pub fn start(ledger: LedgerClient<Transport>, tasks: &Tasks) -> Self {
        let (send, receive) = mpsc::channel(WAITING);
        tasks.spawn("record hits", gather(ledger, receive, tasks.clone()));
        Self(send)
    }

    /// Books a hit, soon.
    pub fn record(&self, ctx: &CallContext, hit: Hit) {
        if self.0.try_send((ctx.clone(), hit)).is_err() {
            tracing::debug!("the ledger is behind, a cache hit is not booked");
        }
    }
}

async fn gather(ledger: LedgerClient<Transport>, mut hits: mpsc::Receiver<(CallContext, Hit)>, tasks: Tasks) {
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
        send(&ledger, std::mem::take(&mut together)).await;
    }
    // requests under way may still bring some; the senders go with the service, which outlives them
    while let Ok(received) = timeout(DRAIN, hits.recv_many(&mut together, TOGETHER)).await
        && received > 0
    {
        send(&ledger, std::mem::take(&mut together)).await;
    }
}

/// One message per tenant: the tenant travels in the call's metadata.
async fn send(ledger: &LedgerClient<Transport>, hits: Vec<(CallContext, Hit)>) {
    let mut by_tenant: HashMap<TenantId, (CallContext, Vec<Hit>)> = HashMap::new();
    for (mut ctx, hit) in hits {
        ctx.deadline = None;
        by_tenant.entry(ctx.principal.tenant).or_insert_with(|| (ctx, Vec::new())).1.push(hit);
    }
    for (ctx, hits) in by_tenant.into_values() {
        let count = hits.len();
        let mut ledger = ledger.clone();
        let sent = timeout(PATIENCE, ledger.record_hits(ctx.request(RecordHitsRequest { hits }))).await;
        if !matches!(sent, Ok(Ok(_))) {
            tracing::warn!(count, "cache hits are not booked, the ledger does not answer");
        }
    }
}
