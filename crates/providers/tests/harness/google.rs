//! Calls of Google's models, and what the simulator should answer to them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use embermesh_proto::{to_le_bytes, v1::CatalogModel};
use embermesh_providers::{InputType, ProviderCall};
use embermesh_testing::sim::{count_tokens, vector, vector_for};
use embermesh_types::{AttemptId, TokenCount};

/// Long enough for anything that is not meant to time out.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub model: &'static str,
    pub native: u32,
    pub dimensions: u32,
    pub input_type: InputType,
    pub distinguishes: bool,
    pub texts: usize,
}

impl Row {
    /// One document for a model that tells documents from queries.
    pub const fn of(model: &'static str, native: u32) -> Self {
        Self {
            model,
            native,
            dimensions: native,
            input_type: InputType::Document,
            distinguishes: true,
            texts: 1,
        }
    }

    pub fn texts(&self) -> Vec<Arc<str>> {
        // quotes, umlauts and line ends have to survive
        (0..self.texts).map(|i| format!("text {i}: \"grüße\"\n🦀").into()).collect()
    }

    pub fn call(&self) -> ProviderCall {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = format!("00000000-0000-4000-8000-{:012}", NEXT.fetch_add(1, Ordering::Relaxed));
        let model = CatalogModel {
            id: self.model.to_owned(),
            native_dimensions: self.native,
            any_dimensions: true,
            distinguishes_input_type: self.distinguishes,
            ..CatalogModel::default()
        };
        ProviderCall {
            attempt: id.parse::<AttemptId>().unwrap(),
            model: Arc::new(model),
            name: self.model.into(),
            texts: self.texts(),
            dimensions: self.dimensions,
            input_type: self.input_type,
            timeout: PATIENCE,
        }
    }

    /// Little-endian, in the order of the texts.
    pub fn vectors(&self) -> Vec<bytes::Bytes> {
        let of = |text: &Arc<str>| {
            let (native, kept) = (self.native as usize, self.dimensions as usize);
            // gemini-embedding-001 is cut by the API and left as it is, the others have length 1
            let whole = if self.model.starts_with("gemini-embedding") { native } else { kept };
            let vector = match self.distinguishes {
                true => vector_for(self.model, self.input_type.as_str(), text, whole),
                false => vector(self.model, text, whole),
            };
            to_le_bytes(&vector[..kept])
        };
        self.texts().iter().map(of).collect()
    }

    pub fn tokens(&self) -> TokenCount {
        TokenCount(self.texts().iter().map(|text| count_tokens(text) as u64).sum())
    }

    pub fn task_type(&self) -> &'static str {
        match self.input_type {
            InputType::Document => "RETRIEVAL_DOCUMENT",
            InputType::Query => "RETRIEVAL_QUERY",
        }
    }
}
