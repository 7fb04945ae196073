//! What processes are busy with: this one is asked here, the others by their names over their own ports.

use embermesh_errors::Error;
use embermesh_process::DebugHandler;
use embermesh_proto::v1::{
    CpuProfile, DumpTasksRequest, ProfileCpuRequest, TaskDump, debug_client::DebugClient, debug_server::Debug,
};
use embermesh_transport::{CallContext, Transport};
use tonic::{Request, Response, Status};

const OWN: &str = "gateway";

/// Everybody who can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Debugger {
    pub own: DebugHandler,
    /// Each service with its name.
    pub others: [(&'static str, Transport); 4],
}

impl Debugger {
    /// Names who is asked; `None`: this process.
    fn other(&self, service: &mut Option<String>) -> Result<Option<DebugClient<Transport>>, Error> {
        let name = service.get_or_insert_with(|| OWN.to_owned());
        if name == OWN {
            return Ok(None);
        }
        let found = self.others.iter().find(|(known, _)| known == name);
        let (_, transport) = found.ok_or_else(|| {
            let known: Vec<&str> = self.others.iter().map(|(known, _)| *known).collect();
            Error::invalid("service", format!("choose from {OWN}, {}", known.join(", ")))
        })?;
        Ok(Some(DebugClient::new(transport.clone())))
    }
}

fn forwarded<T>(request: Request<T>) -> Result<Request<T>, Error> {
    let context = CallContext::of(&request)?;
    Ok(context.request(request.into_inner()))
}

#[tonic::async_trait]
impl Debug for Debugger {
    async fn dump_tasks(&self, mut request: Request<DumpTasksRequest>) -> Result<Response<TaskDump>, Status> {
        match self.other(&mut request.get_mut().service)? {
            Some(mut other) => other.dump_tasks(forwarded(request)?).await,
            None => self.own.dump_tasks(request).await,
        }
    }

    async fn profile_cpu(
        &self,
        mut request: Request<ProfileCpuRequest>,
    ) -> Result<Response<CpuProfile>, Status> {
        match self.other(&mut request.get_mut().service)? {
            Some(mut other) => other.profile_cpu(forwarded(request)?).await,
            None => self.own.profile_cpu(request).await,
        }
    }
}
