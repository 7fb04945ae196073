//! `embedding`: providers, breakers, routing and security.

use std::collections::BTreeMap;

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
    /// Where the provider has regions.
    pub region: Option<String>,
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
    /// Failures in a row that open it.
    pub failure_threshold: u32,
    /// Successes in a row that close it again.
    pub success_threshold: u32,
    /// How long it stays open.
    pub timeout: Span,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failure_threshold: 5, success_threshold: 3, timeout: Span::seconds(30) }
    }
}

/// `embedding.router`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Router {
    /// smart, balanced, quality, speed or cost.
    pub selection_strategy: String,
    /// How long a vector may be served from memory.
    pub cache_ttl: Span,
    /// Memory for vectors, in MiB.
    pub cache_size_mib: u64,
    /// Models, best first, for agents whose configuration names none.
    pub default_models: Vec<String>,
    /// Folder of the local model's weights.
    pub local_model_dir: Option<std::path::PathBuf>,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            selection_strategy: "smart".to_owned(),
            cache_ttl: Span::seconds(15 * 60),
            cache_size_mib: 256,
            default_models: vec!["text-embedding-3-small".to_owned(), "all-MiniLM-L6-v2".to_owned()],
            local_model_dir: None,
        }
    }
}

/// `embedding.security`.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Replaces keys by themselves.
    pub api_key_rotation: KeyRotation,
    /// Switches `pii_detection`.
    pub pii_detection: PiiSwitch,
}

/// `embedding.security.api_key_rotation`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRotation {
    /// Whether keys are replaced.
    pub enabled: bool,
    /// After how long.
    pub rotation_period: Span,
}

impl Default for KeyRotation {
    fn default() -> Self {
        Self { enabled: false, rotation_period: Span::seconds(30 * 24 * 3600) }
    }
}
