//! The model that runs in this process, on its own threads.

use async_trait::async_trait;
use embermesh_minilm::{Pool, PoolError};
use embermesh_proto::to_le_bytes;
use tokio::time::timeout;

use super::{Billing, Provider, ProviderAnswer, ProviderCall, ProviderError, Remedy};

/// all-MiniLM-L6-v2.
#[derive(Debug)]
pub(crate) struct Local(pub Pool);

#[async_trait]
impl Provider for Local {
    fn max_batch(&self) -> u64 {
        256
    }

    fn max_batch_tokens(&self) -> u64 {
        u64::MAX
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let refused = |remedy, message| ProviderError {
            message,
            remedy,
            billing: Billing::NotBilled,
            unhealthy: remedy == Remedy::Retry,
            retry_after: None,
        };
        match timeout(call.timeout, self.0.embed(call.texts)).await {
            Ok(Ok(vectors)) => {
                Ok(ProviderAnswer { vectors: vectors.iter().map(|v| to_le_bytes(v)).collect(), tokens: None })
            }
            Ok(Err(PoolError::Embed(error))) => Err(refused(Remedy::GiveUp, error.to_string())),
            Ok(Err(error)) => Err(refused(Remedy::Retry, error.to_string())),
            Err(_) => {
                Err(refused(Remedy::Elsewhere, "the local model is too busy to answer in time".to_owned()))
            }
        }
    }
}
