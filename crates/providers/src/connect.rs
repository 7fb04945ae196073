//! From an entry of the configuration to a provider.

pub(crate) mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use embermesh_config::{Provider as Entry, ProviderKind};
use embermesh_egress::Rules;
use embermesh_minilm::MiniLm;

use crate::{
    Provider, Surroundings, azure::Azure, bedrock::Bedrock, cohere::Cohere, gemini::Gemini, http::HttpClient,
    local::Local, openai::OpenAi, vertex::Vertex, voyage::Voyage,
};

/// Why an entry of the configuration makes no provider.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// An option that the kind needs is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An option that the kind has no use for.
    #[error("{kind} has no use for {option}")]
    Useless {
        /// The entry's kind.
        kind: &'static str,
        /// The option.
        option: &'static str,
    },
    /// Not a URL.
    #[error("{option} '{value}' is not a URL such as https://host/v1")]
    Url {
        /// Which option.
        option: &'static str,
        /// What it says.
        value: String,
    },
    /// A key that a header cannot carry.
    #[error("api_key holds characters that a header cannot carry")]
    Key,
    /// The machine lacks something.
    #[error("{0}")]
    Machine(String),
    /// A credential of the machine's own, which is not for entries that came over the API.
    #[error("{0} is missing: an entry that came over the API does not use the machine's own credentials")]
    Own(&'static str),
}

/// A provider, ready to be called.
pub type NewProvider = Result<Arc<dyn Provider>, BadEntry>;

/// Makes providers, which share one pool of connections.
#[derive(Debug, Clone)]
pub struct Connector {
    client: HttpClient,
    local: Option<Arc<MiniLm>>,
    surroundings: Surroundings,
    guard: Option<Rules>,
}

impl Connector {
    /// `local` is the model that runs in this process.
    ///
    /// # Errors
    /// When the machine's certificate authorities cannot be read.
    pub fn new(local: Option<Arc<MiniLm>>) -> std::io::Result<Self> {
        Ok(Self { client: HttpClient::new()?, local, surroundings: Surroundings::default(), guard: None })
    }

    /// With the process's own clock, tasks and environment.
    #[must_use]
    pub fn within(self, surroundings: Surroundings) -> Self {
        Self { surroundings, ..self }
    }

    /// For entries that came over the API: connects only where the rules allow, and uses no credential that the machine has of its own.
    ///
    /// # Errors
    /// When the machine's certificate authorities cannot be read.
    pub fn guarded(&self, rules: Rules) -> std::io::Result<Self> {
        let surroundings = Surroundings { google_credentials: None, ..self.surroundings.clone() };
        let client = HttpClient::guarded(rules.clone())?;
        Ok(Self { client, local: None, surroundings, guard: Some(rules) })
    }

    /// The provider that `entry` describes.
    ///
    /// # Errors
    /// When the entry lacks an option, has one too many, or the machine lacks what it needs.
    pub fn connect(&self, kind: ProviderKind, entry: &Entry) -> NewProvider {
        options::check_useful(kind, entry)?;
        if self.guard.is_some() {
            options::check_own(kind, entry)?;
        }
        let client = self.client.clone();
        match kind {
            ProviderKind::OpenAi => Ok(Arc::new(OpenAi::new(client, entry)?)),
            ProviderKind::AzureOpenAi => Ok(Arc::new(Azure::new(client, entry)?)),
            ProviderKind::Bedrock => {
                Ok(Arc::new(Bedrock::new(entry, self.surroundings.clock.clone(), self.guard.clone())?))
            }
            ProviderKind::Vertex => Ok(Arc::new(Vertex::new(client, entry, &self.surroundings)?)),
            ProviderKind::Gemini => Ok(Arc::new(Gemini::new(client, entry)?)),
            ProviderKind::Voyage => Ok(Arc::new(Voyage::new(client, entry)?)),
            ProviderKind::Cohere => Ok(Arc::new(Cohere::new(client, entry)?)),
            ProviderKind::Local => Ok(Arc::new(Local::start(self.local.as_ref())?)),
        }
    }
}
