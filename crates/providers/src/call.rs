//! One call and its answer, in no wire format.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use embermesh_types::{AttemptId, TokenCount};

use crate::CatalogModel;

/// What a text is for; some models embed the two differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum InputType {
    /// To be found.
    #[default]
    Document,
    /// To find with.
    Query,
}

impl InputType {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::Query => "query",
        }
    }
}

/// One call to a provider: it answers all of the texts or none.
#[derive(Debug, Clone)]
pub struct ProviderCall {
    /// Names the call in the provider's logs and in ours.
    pub attempt: AttemptId,
    /// The model as the catalog knows it.
    pub model: Arc<CatalogModel>,
    /// The provider's own name of the model.
    pub name: Arc<str>,
    /// At least one, within [`BatchLimits`].
    pub texts: Vec<Arc<str>>,
    /// Length of the vectors; the catalog allows it.
    pub dimensions: u32,
    /// What the texts are; means something for models that distinguish the two.
    pub input_type: InputType,
    /// The whole exchange is given up after this.
    pub timeout: Duration,
}

impl ProviderCall {
    /// The length of the vectors, when it is not the model's native one and has to be asked for.
    pub fn shortened(&self) -> Option<u32> {
        (self.dimensions != self.model.native_dimensions).then_some(self.dimensions)
    }

    /// What the texts are, for models that distinguish it.
    pub fn distinguished(&self) -> Option<InputType> {
        self.model.distinguishes_input_type.then_some(self.input_type)
    }
}

/// A provider's answer. Only its form and count are checked.
#[derive(Debug, Clone)]
pub struct ProviderAnswer {
    /// Little-endian f32, in the order of the texts.
    pub vectors: Vec<Bytes>,
    /// What the provider counted.
    pub usage: Usage,
}

/// What a provider says that a call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Absent: it does not say.
    pub tokens: Option<TokenCount>,
    /// Billable characters, where the API bills by them.
    pub characters: Option<u64>,
}

/// What one call may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most texts.
    pub texts: u32,
    /// Most tokens over all texts.
    pub tokens: u64,
    /// Most bytes of UTF-8 over all texts.
    pub bytes: u64,
}

impl BatchLimits {
    /// Up to `texts` texts, whatever their length.
    pub const fn texts(texts: u32) -> Self {
        Self { texts, tokens: u64::MAX, bytes: u64::MAX }
    }
}
