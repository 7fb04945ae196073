//! One call, from its arrival until nobody works for it any more.

use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicI64, AtomicU16, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, SystemTime},
};

use axum::extract::MatchedPath;
use embermesh_auth::Principal;
use embermesh_proto::internal::v1::{ApiCall, RouteReply};
use embermesh_subscription::KeyRecord;
use embermesh_types::{AgentId, KeyId, TenantId};
use futures::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::Log;
use crate::authorise;

/// The status of a call whose client went away before the answer, which got none.
const CLIENT_GONE: u16 = 499;

/// When the key of the call stops working, told for this long before.
const KEY_EXPIRES: HeaderName = HeaderName::from_static("x-embermesh-key-expires");
const WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// `due`: whoever holds the key should take its successor.
const KEY_ROTATION: HeaderName = HeaderName::from_static("x-embermesh-key-rotation");

tokio::task_local! {
    /// The call that the task works for.
    static CALL: Arc<Call>;
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    /// `None`: calls are not recorded.
    log: Option<Arc<Log>>,
    at: SystemTime,
    method: Method,
    endpoint: Endpoint,
    who: OnceLock<Who>,
    status: AtomicU16,
    /// Nano-USD.
    cost: AtomicI64,
    /// Microseconds and one; 0: no router was asked.
    at_providers: AtomicU64,
}

#[derive(Debug)]
struct Who {
    tenant: TenantId,
    key: KeyId,
    agent: Option<AgentId>,
    key_expires_at: Option<SystemTime>,
    key_rotation_due: bool,
}

/// What was called, of which there are only so many: the template of the route, or the name of a public gRPC method.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    /// Under its own name.
    Named(&'static str),
    Route(MatchedPath),
    Other,
}

impl Endpoint {
    /// Of a request.
    pub fn of(uri: &Uri, matched: Option<&MatchedPath>) -> Self {
        match authorise::method(uri.path()) {
            Some(method) => Self::Named(method.path),
            None => matched.map_or(Self::Other, |path| Self::Route(path.clone())),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Route(template) => template.as_str(),
            Self::Other => "other",
        }
    }
}

impl Call {
    pub(super) fn begin(log: Option<Arc<Log>>, at: SystemTime, method: &Method, endpoint: &Endpoint) -> Self {
        if let Some(log) = &log {
            log.buffer.enter();
        }
        Self {
            log,
            at,
            method: method.clone(),
            endpoint: endpoint.clone(),
            who: OnceLock::new(),
            status: AtomicU16::new(CLIENT_GONE),
            cost: AtomicI64::new(0),
            at_providers: AtomicU64::new(0),
        }
    }

    /// For how long something was under way at providers for it; `None`: nothing was embedded.
    pub fn at_providers(&self) -> Option<Duration> {
        self.at_providers.load(Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// It was answered so.
    pub fn ended(&self, status: http::StatusCode) {
        self.status.store(status.as_u16(), Release);
    }

    /// Tells whoever holds the key when it is time to get another one.
    pub fn warn(&self, headers: &mut HeaderMap) {
        let Some(Who { key_expires_at, key_rotation_due, .. }) = self.who.get() else { return };
        if let Some(end) = key_expires_at.filter(|end| *end <= self.at + WARNING) {
            let end = humantime::format_rfc3339_seconds(end).to_string();
            headers.extend(HeaderValue::try_from(end).map(|end| (KEY_EXPIRES, end)));
        }
        if *key_rotation_due {
            headers.insert(KEY_ROTATION, HeaderValue::from_static("due"));
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(log) = self.log.take() else { return };
        let full = self.who.take().and_then(|Who { tenant, key, agent, .. }| {
            let row = Row {
                tenant,
                key,
                agent,
                method: std::mem::take(&mut self.method),
                endpoint: std::mem::replace(&mut self.endpoint, Endpoint::Other),
                status: self.status.load(Acquire),
                cost: self.cost.load(Relaxed),
                at: self.at,
            };
            log.buffer.push(row)
        });
        if let Some(rows) = full {
            log.write(rows);
        }
        log.buffer.leave();
    }
}

/// Does `work` for a call.
pub(crate) fn within<F: Future>(call: Arc<Call>, work: F) -> impl Future<Output = F::Output> {
    CALL.scope(call, work)
}

/// `work` for a task of its own, which goes on for the call of this one when the client has gone away.
pub(crate) fn with_call_of<F: Future>(work: F) -> impl Future<Output = F::Output> {
    match CALL.try_with(Arc::clone) {
        Ok(call) => Either::Left(CALL.scope(call, work)),
        Err(_) => Either::Right(work),
    }
}

/// The call of this task is by whoever holds this key, which is proved.
pub(crate) fn is_of(record: &KeyRecord) {
    let note = |call: &Arc<Call>| {
        let Principal { tenant, key, agent, .. } = &record.principal;
        // a second credential of one call would be the same
        let _known = call.who.set(Who {
            tenant: *tenant,
            key: key.clone(),
            agent: agent.clone(),
            key_expires_at: record.expires_at,
            key_rotation_due: record.rotation_due,
        });
    };
    let _outside = CALL.try_with(note);
}

/// The router has answered this to the call of this task.
pub(crate) fn routed(reply: &RouteReply) {
    let sum = || reply.items.iter().fold(0_i64, |sum, item| sum.saturating_add(item.cost_nano_usd));
    let note = |call: &Arc<Call>| {
        call.cost.fetch_add(sum(), Relaxed);
        // of several that were asked side by side the longest, so that what is left is not told too small
        call.at_providers.fetch_max(reply.at_providers_us.saturating_add(1), Relaxed);
    };
    let _outside = CALL.try_with(note);
}

/// A call that has ended.
#[derive(Debug)]
pub(super) struct Row {
    tenant: TenantId,
    key: KeyId,
    agent: Option<AgentId>,
    method: Method,
    endpoint: Endpoint,
    status: u16,
    cost: i64,
    at: SystemTime,
}

impl From<Row> for ApiCall {
    fn from(row: Row) -> Self {
        let user = row.agent.as_ref().map_or(row.key.as_str(), AgentId::as_str).to_owned();
        Self {
            tenant_id: row.tenant.text(),
            api_key_id: row.key.into(),
            user_id: user,
            method: row.method.as_str().to_owned(),
            endpoint: row.endpoint.as_str().to_owned(),
            status: u32::from(row.status),
            cost_nano_usd: row.cost,
            created_at: Some(row.at.into()),
        }
    }
}
