//! The model that runs in this process, on its own threads.

use std::sync::Arc;

use async_trait::async_trait;
use embermesh_minilm::{MiniLm, Pool, PoolError};
use embermesh_proto::to_le_bytes;
use tokio::time::timeout;

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, Provider, ProviderAnswer, ProviderCall, ProviderError,
    Usage,
};

/// all-MiniLM-L6-v2.
#[derive(Debug)]
pub(crate) struct Local(Pool);

impl Local {
    /// Starts a thread for each core.
    pub fn start(model: Option<&Arc<MiniLm>>) -> Result<Self, BadEntry> {
        let missing = || BadEntry::Machine("the weights are not there, run scripts/setup.sh".to_owned());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = Pool::start(Arc::clone(model.ok_or_else(missing)?), threads);
        pool.map(Self).map_err(|e| BadEntry::Machine(format!("cannot start its threads: {e}")))
    }
}

#[async_trait]
impl Provider for Local {
    fn limits(&self, _model: &CatalogModel) -> BatchLimits {
        BatchLimits::texts(256)
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        match timeout(call.timeout, self.0.embed(call.texts)).await {
            Ok(Ok(vectors)) => {
                let vectors = vectors.iter().map(|v| to_le_bytes(v)).collect();
                Ok(ProviderAnswer { vectors, usage: Usage::default() })
            }
            Ok(Err(PoolError::Embed(error))) => Err(ProviderError::new(Failure::Refused, error.to_string())),
            Ok(Err(error)) => Err(ProviderError::new(Failure::Local, error.to_string())),
            Err(_) => {
                Err(ProviderError::new(Failure::Local, "the local model is too busy to answer in time"))
            }
        }
    }
}
