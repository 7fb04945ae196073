//! `embedding`: providers, breakers, routing and security.

use std::{collections::BTreeMap, path::PathBuf};

use embermesh_pii::PiiSwitch;
use serde::{Deserialize, Serialize};

use crate::{Secret, Span};

/// `embedding`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedding {
    /// By a name of the operator's choice.
    pub providers: BTreeMap<String, Provider>,
    /// When a deployment is left alone.
    pub circuit_breaker: CircuitBreaker,
    /// How a deployment is chosen.
    pub router: Router,
    /// Keys and personal data.
    pub security: Security,
}

impl Embedding {
    /// The entries, with that of the local model where its weights are configured and nobody has named it.
    pub fn all_providers(&self) -> BTreeMap<String, Provider> {
        let mut entries = self.providers.clone();
        let named = entries.values().any(|entry| entry.kind == Some(ProviderKind::Local));
        if self.router.local_model_dir.is_some() && !named {
            entries.entry(ProviderKind::Local.as_str().to_owned()).or_default();
        }
        entries
    }
}

/// Which API a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// OpenAI, or any server that speaks its API.
    #[serde(rename = "openai")]
    OpenAi,
    /// Azure OpenAI.
    #[serde(rename = "azure_openai")]
    AzureOpenAi,
    /// AWS Bedrock.
    Bedrock,
    /// Google Vertex AI.
    Vertex,
    /// Gemini API.
    Gemini,
    /// Voyage AI.
    Voyage,
    /// Cohere.
    Cohere,
    /// The model that runs in this process.
    Local,
}

impl ProviderKind {
    /// Its name, as configuration and catalog write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure_openai",
            Self::Bedrock => "bedrock",
            Self::Vertex => "vertex",
            Self::Gemini => "gemini",
            Self::Voyage => "voyage",
            Self::Cohere => "cohere",
            Self::Local => "local",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::OpenAi,
            Self::AzureOpenAi,
            Self::Bedrock,
            Self::Vertex,
            Self::Gemini,
            Self::Voyage,
            Self::Cohere,
            Self::Local,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// One entry of `embedding.providers`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// Absent: the entry's name.
    pub kind: Option<ProviderKind>,
    /// Absent: true.
    pub enabled: Option<bool>,
    /// Credential.
    pub api_key: Option<Secret>,
    /// Absent: the provider's own.
    pub base_url: Option<String>,
    /// Catalog ids; absent: all that the catalog knows for the kind.
    pub models: Option<Vec<String>>,
    /// The provider's own names of models, by catalog id, where they differ: an Azure deployment, a self-hosted server's name.
    pub model_names: BTreeMap<String, String>,
    /// Where the provider has regions.
    pub region: Option<String>,
    /// Azure: of the deployment URLs; the v1 API (`base_url` ending in `/openai/v1`) takes none.
    pub api_version: Option<String>,
    /// Vertex: the project.
    pub project: Option<String>,
    /// Vertex: key file of a service account. Absent: `GOOGLE_APPLICATION_CREDENTIALS`, else the metadata server.
    pub credentials_file: Option<PathBuf>,
    /// Vertex: where the metadata server is, when not at its usual place.
    pub metadata_url: Option<String>,
    /// Vertex: the key file itself, instead of `credentials_file`.
    pub service_account_key: Option<Secret>,
    /// Bedrock: instead of the machine's own credential chain.
    pub access_key_id: Option<String>,
    /// Bedrock: belongs to `access_key_id`.
    pub secret_access_key: Option<Secret>,
    /// Bedrock: belongs to a temporary `access_key_id`.
    pub session_token: Option<Secret>,
    /// Bedrock: a profile of the machine's AWS configuration.
    pub profile: Option<String>,
    /// Bedrock: the role to take on.
    pub assume_role_arn: Option<String>,
    /// Bedrock: what the role's owner demands.
    pub external_id: Option<String>,
    /// Bedrock: where roles are taken on, when not at AWS itself.
    pub sts_url: Option<String>,
    /// Absent: 30 s.
    pub timeout: Option<Span>,
    /// What the provider allows.
    pub rate_limit: Option<RateLimit>,
}

/// `rate_limit` of a provider.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Calls a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute.
    pub tokens_per_minute: Option<u64>,
}

/// `embedding.circuit_breaker`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Failures in a row that open it, when they are no single burst and `minimum_failure_rate` is reached too.
    pub failure_threshold: u32,
    /// Successes in a row that close it again.
    pub success_threshold: u32,
    /// How long it stays open the first time; each further time in a row doubles it, up to ten times.
    pub timeout: Span,
    /// What the rates are taken over.
    pub window: Span,
    /// Calls in the window below which no rate opens it.
    pub minimum_calls: u32,
    /// Share of failed calls in the window that opens it, 0 to 1.
    pub failure_rate: f64,
    /// Share of failed calls in the window without which failures in a row do not open it.
    pub minimum_failure_rate: f64,
    /// Share of slow calls in the window that opens it.
    pub slow_call_rate: f64,
    /// A call is slow above this, or above three times the usual (p95) if that is longer.
    pub slow_call_duration: Span,
    /// Calls at a time while it is half open.
    pub half_open_calls: u32,
    /// How long after closing until a deployment has its full share again.
    pub ramp: Span,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failure_threshold: 5,
            success_threshold: 3,
            timeout: Span::seconds(30),
            window: Span::seconds(30),
            minimum_calls: 20,
            failure_rate: 0.5,
            minimum_failure_rate: 0.2,
            slow_call_rate: 0.8,
            slow_call_duration: Span::seconds(5),
            half_open_calls: 1,
            ramp: Span::seconds(10),
        }
    }
}

/// `embedding.router`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// `balanced`, or `smart`, which is the same; `quality`, `speed` or `cost`.
    pub selection_strategy: String,
    /// How long a vector may be served from memory.
    pub cache_ttl: Span,
    /// Memory for vectors, in MiB.
    pub cache_size_mib: u64,
    /// Models, best first, for agents whose configuration names none.
    pub default_models: Vec<String>,
    /// Folder of the local model's weights.
    pub local_model_dir: Option<PathBuf>,
    /// Routers that run: without Redis each keeps to its share of every limit.
    pub replicas: u32,
    /// How often deployments in use are held against the recorded vectors of their space. 0 turns canary and equivalence probe off.
    pub canary_interval: Span,
    /// Calls at a time to one deployment, at most; less after it has throttled.
    pub max_concurrent_calls: u32,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            selection_strategy: "smart".to_owned(),
            cache_ttl: Span::seconds(15 * 60),
            cache_size_mib: 256,
            default_models: vec!["text-embedding-3-small".to_owned(), "all-MiniLM-L6-v2".to_owned()],
            local_model_dir: None,
            replicas: 1,
            canary_interval: Span::seconds(15 * 60),
            max_concurrent_calls: 64,
        }
    }
}

/// `embedding.security`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Replaces keys by themselves.
    pub api_key_rotation: KeyRotation,
    /// Switches `pii_detection`.
    pub pii_detection: PiiSwitch,
    /// The hosts that providers which come over the API may name: hosts in the internet, `host:port` of the operator's own servers, and
    /// `known` for the known ones of each kind. Absent: `known`.
    pub provider_hosts: Option<Vec<String>>,
    /// Keys that providers' credentials from the API are sealed with, `1:<64 hexadecimal digits>` each, separated by spaces.
    pub credential_keys: Option<Secret>,
    /// A file with such keys, one on each line.
    pub credential_keys_file: Option<PathBuf>,
}

/// `embedding.security.api_key_rotation`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRotation {
    /// Whether keys are replaced.
    pub enabled: bool,
    /// After how long.
    pub rotation_period: Span,
    /// How long a key still works when its successor has been used.
    pub overlap: Span,
}

impl Default for KeyRotation {
    fn default() -> Self {
        Self {
            enabled: false,
            rotation_period: Span::seconds(30 * 24 * 3600),
            overlap: Span::seconds(24 * 3600),
        }
    }
}
