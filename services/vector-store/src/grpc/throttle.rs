//! Leases from limits that all routers share.

use embermesh_cache::Limit;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{self as proto, LeaseReply, LeaseRequest};
use tonic::{Request, Response, Status};

use crate::redis::Redis;

const MAX_NAME: usize = 1_024;

pub(crate) struct ThrottleService(pub(crate) Redis);

#[tonic::async_trait]
impl proto::throttle_server::Throttle for ThrottleService {
    async fn lease(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseReply>, Status> {
        let LeaseRequest { limit, per_minute, burst, want, at_least } = request.into_inner();
        if limit.is_empty() || limit.len() > MAX_NAME {
            let message = format!("a limit's name has 1 to {MAX_NAME} bytes, this one has {}", limit.len());
            return Err(Error::invalid("limit", message).into());
        }
        let reply = match self.0.lease(Limit { name: &limit, per_minute, burst }, want, at_least).await {
            Ok(lease) => LeaseReply {
                away: false,
                granted: lease.granted,
                // no sooner than it is there
                retry_after_ms: u64::try_from(lease.retry_after.as_micros().div_ceil(1000))
                    .unwrap_or(u64::MAX),
            },
            Err(_) => LeaseReply { away: true, ..LeaseReply::default() },
        };
        Ok(Response::new(reply))
    }
}
