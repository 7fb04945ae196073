//! Texts that no cache has: each distinct one once, in parts that a provider takes in one call.

use std::sync::Arc;

use embermesh_proto::v1::CatalogModel;

use crate::{cache::Key, deployment::Deployment, tokenizers::Tokenizers};

/// A text that has to be sent, and where its vector goes.
pub(crate) struct Missing {
    pub key: Key,
    pub text: Arc<str>,
    /// Positions in the request that hold this text.
    pub at: Vec<usize>,
}

/// Parts that every candidate takes in one call, by number and by tokens.
pub(crate) fn in_batches<'a>(
    missing: &'a [Missing],
    model: &CatalogModel,
    candidates: &[Arc<Deployment>],
) -> Vec<&'a [Missing]> {
    let most = |limit: fn(&Deployment) -> u64| candidates.iter().map(|d| limit(d)).min().unwrap_or(1).max(1);
    let catalog = if model.max_batch == 0 { u64::MAX } else { u64::from(model.max_batch) };
    let most_texts = most(|deployment| deployment.provider.max_batch()).min(catalog);
    let most_tokens = most(|deployment| deployment.provider.max_batch_tokens());
    let mut parts = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (at, one) in missing.iter().enumerate() {
        let bound = Tokenizers::bound(model, &one.text).0;
        let full = (at - start) as u64 >= most_texts || tokens + bound > most_tokens;
        if full && at > start {
            parts.push(&missing[start..at]);
            (start, tokens) = (at, 0);
        }
        tokens += bound;
    }
    parts.push(&missing[start..]);
    parts
}
