//! Jobs: starting them, for the gateway, and telling how far they are, for everybody.

use std::{sync::Arc, time::SystemTime};

use embermesh_auth::Scope;
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{StartClearRequest, StartJobReply, StartWarmRequest, cache_jobs_server::CacheJobs},
    v1::{GetJobRequest, Job, jobs_server::Jobs},
};
use embermesh_transport::CallContext;
use embermesh_types::TenantId;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    domain::job::{self, Task},
    jobs::Worker,
    store::Store,
};

/// Starts jobs.
pub(crate) struct CacheJobsService(pub(crate) Worker);

/// Tells of them.
pub(crate) struct JobsService(pub(crate) Arc<Store>);

#[tonic::async_trait]
impl CacheJobs for CacheJobsService {
    async fn start_warm(
        &self,
        request: Request<StartWarmRequest>,
    ) -> Result<Response<StartJobReply>, Status> {
        let tenant = administrator(&request)?;
        self.start(tenant, &job::parse_warm(request.into_inner())?).await
    }

    async fn start_clear(
        &self,
        request: Request<StartClearRequest>,
    ) -> Result<Response<StartJobReply>, Status> {
        let tenant = administrator(&request)?;
        self.start(tenant, &job::parse_clear(request.get_ref())?).await
    }
}

impl CacheJobsService {
    async fn start(&self, tenant: TenantId, task: &Task) -> Result<Response<StartJobReply>, Status> {
        let id = self.0.store.add_job(tenant, task).await?;
        self.0.wake();
        Ok(Response::new(StartJobReply { job_id: id.to_string() }))
    }
}

#[tonic::async_trait]
impl Jobs for JobsService {
    async fn get_job(&self, request: Request<GetJobRequest>) -> Result<Response<Job>, Status> {
        let tenant = administrator(&request)?;
        let unknown = || Error::not_found("the tenant has started no such job lately").with_param("job_id");
        let id: Uuid = request.get_ref().job_id.parse().map_err(|_| unknown())?;
        let status = self.0.job(tenant, id).await?.ok_or_else(unknown)?;
        let timestamp = |time: SystemTime| time.into();
        Ok(Response::new(Job {
            job_id: status.id.to_string(),
            kind: status.kind,
            state: status.state,
            done: status.progress.done,
            total: status.progress.total,
            changed: status.progress.changed,
            note: status.note,
            created_at: Some(timestamp(status.created_at)),
            started_at: status.started_at.map(timestamp),
            finished_at: status.finished_at.map(timestamp),
        }))
    }
}

/// The caller's tenant, for its administrators. The gateway has checked it; a call that came another way has not been.
fn administrator<T>(request: &Request<T>) -> Result<TenantId, Error> {
    let principal = CallContext::of(request)?.principal;
    if principal.may(Scope::Admin) {
        return Ok(principal.tenant);
    }
    Err(Error::new(Code::Forbidden, "the key needs the scope admin"))
}
