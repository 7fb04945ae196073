//! One simulated deployment: its name, its models, its key, its faults.

use std::net::{Ipv4Addr, SocketAddr};

use super::faults::{FaultQueue, Injection};

/// A model that a deployment serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpec {
    /// Name in requests.
    pub name: String,
    /// What the vectors depend on: deployments of one family give equal vectors under whatever name.
    pub family: String,
    /// Native dimensions.
    pub dims: usize,
    /// Whether `dimensions` may ask for fewer.
    pub shortenable: bool,
    /// Most tokens of one input.
    pub max_tokens: usize,
}

impl ModelSpec {
    /// A model whose family is its name, of 8,192 tokens.
    #[must_use]
    pub fn new(name: &str, dims: usize, shortenable: bool) -> Self {
        Self { name: name.to_owned(), family: name.to_owned(), dims, shortenable, max_tokens: 8192 }
    }

    /// The three embedding models that OpenAI serves.
    #[must_use]
    pub fn openai() -> Vec<Self> {
        vec![
            Self::new("text-embedding-3-small", 1536, true),
            Self::new("text-embedding-3-large", 3072, true),
            Self::new("text-embedding-ada-002", 1536, false),
        ]
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct DeploymentSpec {
    /// Its name in the call log.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Path before `/v1`, empty or beginning with a slash.
    pub prefix: String,
    /// Bearer key to insist on.
    pub api_key: Option<String>,
    /// Models it serves.
    pub models: Vec<ModelSpec>,
    /// Deployments with another seed give other vectors under the same names.
    pub seed: u64,
}

impl DeploymentSpec {
    /// OpenAI's models without a key, on a free loopback port.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            prefix: String::new(),
            api_key: None,
            models: ModelSpec::openai(),
            seed: 0,
        }
    }
}

/// A deployment that is listening.
#[derive(Debug)]
pub struct Deployment {
    spec: DeploymentSpec,
    address: SocketAddr,
    pub(super) faults: FaultQueue,
}

impl Deployment {
    pub(super) fn new(spec: DeploymentSpec, address: SocketAddr) -> Self {
        Self { spec, address, faults: FaultQueue::default() }
    }

    /// Its name in the call log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was started from.
    #[must_use]
    pub const fn spec(&self) -> &DeploymentSpec {
        &self.spec
    }

    /// The address bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What OpenAI's SDKs call the base URL: up to and including `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}{}/v1", self.address, self.spec.prefix)
    }

    /// Where faults and calls are driven over HTTP.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/_sim", self.address)
    }

    /// Replaces all faults, those not yet used up included.
    pub fn inject(&self, injections: impl IntoIterator<Item = Injection>) {
        self.faults.replace(injections);
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.faults.replace([]);
    }

    /// Faults still to come, with the times left.
    #[must_use]
    pub fn pending_faults(&self) -> Vec<Injection> {
        self.faults.pending()
    }

    pub(super) fn model(&self, name: &str) -> Option<&ModelSpec> {
        self.spec.models.iter().find(|model| model.name == name)
    }
}
