//! A simulated embedding provider: exact wire format, deterministic unit vectors, a log of every call, faults on demand.
//!
//! One [`Simulator`] runs any number of deployments, each on a port of its own. Tests drive it in process; other
//! processes drive it over HTTP below `/_sim/` on any of its ports (`GET` and `DELETE /_sim/calls`, `GET` and `PUT /_sim/faults`).
//!
//! [`Fault`]s strike single requests; [`Conditions`] (latency, rate limits, drift, a content filter, being down) hold until changed.
//!
//! One file per wire format, below `wire/`, turns bytes into an [`embedding::EmbedRequest`] and vectors into bytes;
//! everything else (vectors, faults, log, sockets) knows no format.
//!
//! It is stricter than the real providers: an unknown field or a `null` where the API wants a value is refused, so that
//! a client that sends such a thing is found here and not in production.

mod api;
mod calls;
mod conditions;
mod config;
mod control;
mod deployment;
mod dice;
pub mod embedding;
mod exchange;
mod faults;
mod google;
mod latency;
mod limits;
mod listener;
mod model;
mod payload;
mod sigv4;
mod switch;
#[cfg(test)]
mod tests;
mod tokens;
mod vectors;
mod wall;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use api::{Api, AwsKeys, UnknownApi};
pub use calls::Call;
use calls::CallLog;
pub use conditions::Conditions;
pub use config::{Config, ConfigError, DeploymentConfig};
pub use deployment::{Deployment, DeploymentSpec};
pub use faults::{Fault, Injection, RetryAfter};
pub use google::{GoogleSpec, Tokens as GoogleTokens};
pub use latency::Latency;
pub use limits::Limits;
pub use listener::reset;
pub use model::ModelSpec;
pub use tokens::count as count_tokens;
pub use vectors::{vector, vector_for, vector_seeded};
pub use wire::openai;

/// Why a simulator could not be started or addressed.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address} for deployment {name}: {source}; choose a free address or port 0")]
    Listen {
        /// The deployment.
        name: String,
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two deployments share a name, so that the call log could not tell them apart.
    #[error("two deployments are named {0}; give each its own name")]
    DuplicateName(String),
    /// No deployment of that name was started.
    #[error("no deployment is named {0}; use one of the names given at the start")]
    UnknownDeployment(String),
    /// A request over a port that belongs to no deployment names none.
    #[error("name the deployment")]
    UnnamedDeployment,
}

/// What all listeners of one simulator see.
#[derive(Debug)]
struct World {
    deployments: Vec<Deployment>,
    calls: CallLog,
}

impl World {
    fn deployment(&self, name: &str) -> Result<&Deployment, SimError> {
        self.deployments
            .iter()
            .find(|deployment| deployment.name() == name)
            .ok_or_else(|| SimError::UnknownDeployment(name.to_owned()))
    }
}

/// Running deployments; dropping it closes every socket.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    listeners: JoinSet<()>,
}

impl Simulator {
    /// Binds every deployment and starts serving.
    ///
    /// # Errors
    /// When two deployments share a name or an address cannot be bound.
    pub async fn start(specs: &[DeploymentSpec]) -> Result<Self, SimError> {
        let mut deployments: Vec<Deployment> = Vec::with_capacity(specs.len());
        let mut sockets = Vec::with_capacity(specs.len());
        for spec in specs {
            if deployments.iter().any(|earlier| earlier.name() == spec.name) {
                return Err(SimError::DuplicateName(spec.name.clone()));
            }
            let refused = |source| SimError::Listen { name: spec.name.clone(), address: spec.listen, source };
            let socket = TcpListener::bind(spec.listen).await.map_err(refused)?;
            let address = socket.local_addr().map_err(refused)?;
            deployments.push(Deployment::new(spec.clone(), address));
            sockets.push(socket);
        }
        let world = Arc::new(World { deployments, calls: CallLog::new(Instant::now()) });
        let mut listeners = JoinSet::new();
        for (index, socket) in sockets.into_iter().enumerate() {
            listeners.spawn(listener::serve(socket, Arc::clone(&world), index));
        }
        for deployment in &world.deployments {
            deployment.settled().await;
        }
        Ok(Self { world, listeners })
    }

    /// Serves `/_sim/` on an address of its own too, which stays when every deployment is down.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn serve_control(&mut self, listen: SocketAddr) -> Result<SocketAddr, SimError> {
        let refused = |source| SimError::Listen { name: "(control)".to_owned(), address: listen, source };
        let socket = TcpListener::bind(listen).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        self.listeners.spawn(listener::serve_control(socket, Arc::clone(&self.world)));
        Ok(address)
    }

    /// The deployments, in the order of their specs.
    #[must_use]
    pub fn deployments(&self) -> &[Deployment] {
        &self.world.deployments
    }

    /// The deployment of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn deployment(&self, name: &str) -> Result<&Deployment, SimError> {
        self.world.deployment(name)
    }

    /// Every request so far, oldest first, over all deployments.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.world.calls.all()
    }

    /// Forgets the calls so far.
    pub fn clear_calls(&self) {
        self.world.calls.clear();
    }

    /// Closes every socket and waits until that is done.
    pub async fn stop(mut self) {
        self.listeners.shutdown().await;
    }
}
