//! Whoever changes the configuration through this gateway meets the change at the next request: an answer to a change waits until
//! the stream has brought the change here. Other replicas of the gateway learn of it when the stream gets there.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use embermesh_proto::CONFIG_VERSION;
use embermesh_subscription::Subscription;
use embermesh_transport::Transport;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::time::timeout;
use tonic::{Status, body::Body};
use tower::Service;

/// A change is on its way for milliseconds, or half a second when another replica of admin has made it. Beyond this the stream is
/// broken, and the change is made all the same.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The way to admin.
#[derive(Debug, Clone)]
pub(crate) struct ReadYourWrites {
    admin: Transport,
    subscription: Subscription,
}

impl ReadYourWrites {
    /// Passes calls on to `admin`, and answers changes once `subscription` knows them.
    pub const fn new(admin: Transport, subscription: Subscription) -> Self {
        Self { admin, subscription }
    }
}

impl Service<Request<Body>> for ReadYourWrites {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.admin.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.admin.call(request);
        let subscription = self.subscription.clone();
        Box::pin(async move {
            let mut answer = answer.await?;
            let version = answer.headers_mut().remove(CONFIG_VERSION);
            if let Some(version) = version.and_then(|version| version.to_str().ok()?.parse().ok()) {
                known(&subscription, version).await;
            }
            Ok(answer)
        })
    }
}

async fn known(subscription: &Subscription, version: i64) {
    let mut versions = subscription.changes();
    if timeout(LONGEST_WAIT, versions.wait_for(|known| *known >= version)).await.is_err() {
        tracing::warn!(version, "a change of the configuration has not arrived here yet");
    }
}
