//! The seam between services: one client type whether the other side runs in this process or on another machine, the server that
//! every service stands on, and the layers that both paths share. Knows no service by name.

mod accept;
mod call;
mod channel;
mod connection;
mod deadline;
mod direct;
mod greeting;
mod identity;
mod metrics;
mod panics;
mod pool;
mod server;
mod silence;
#[cfg(test)]
mod testing;
mod tls;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use direct::AnyDirect;
use tonic::{Status, body::Body};
use tower::{Service, util::BoxCloneSyncService};

pub use accept::{HttpLimits, Peer, serve};
pub use call::CallContext;
pub use channel::{ChannelError, Endpoint};
pub use deadline::read as read_timeout;
pub use direct::Direct;
pub use metrics::GrpcMetrics;
pub use server::{InProcess, Ops, ServerBuilder, in_process};
pub use tls::{Clients, TlsError, TlsSettings};

/// Largest message between services: 2,048 vectors of 4,096 dimensions.
pub const MAX_MESSAGE_BYTES: usize = 40 * 1024 * 1024;

type Request = http::Request<Body>;
type Response = http::Response<Body>;

/// What a generated client speaks through; the same type for a service in this process and for one far away. Cheap to clone.
///
/// The error is a concrete [`Status`]: with a boxed one, clients cannot be used inside spawned tasks.
#[derive(Clone)]
pub struct Transport {
    wire: BoxCloneSyncService<Request, Response, Status>,
    direct: Arc<[AnyDirect]>,
    /// Makes connections of their own to the same service; `None` in one process, where there are none.
    apart: Option<Arc<dyn Fn() -> Self + Send + Sync>>,
}

impl Transport {
    /// Wraps a service of HTTP requests, such as a generated server or a pool of connections.
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = Status> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { wire: BoxCloneSyncService::new(service), direct: Arc::default(), apart: None }
    }

    /// A transport to the same service over connections that nobody else uses, which end with its last clone. For calls that must
    /// get through where the connections in use are stuck. In one process it is the same transport.
    #[must_use]
    pub fn apart(&self) -> Self {
        match &self.apart {
            Some(connect) => Self { apart: Some(Arc::clone(connect)), ..connect() },
            None => self.clone(),
        }
    }

    /// The short way to the service of the generated trait `T`, such as `dyn Router`, if it is in this process and offers one.
    pub fn direct<T: ?Sized + 'static>(&self) -> Option<&Direct<T>> {
        self.direct.iter().find_map(|any| any.downcast_ref())
    }
}

impl Service<Request> for Transport {
    type Response = Response;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Status>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.wire.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.wire.call(request)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}
