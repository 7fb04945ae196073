//! The thin edge between the contracts and the books.

mod ledger;
mod reports;
mod standing;

use std::sync::Arc;

use crate::service::Shared;

/// Serves the ledger's contracts.
#[derive(Debug, Clone)]
pub struct Handler(Arc<Shared>);

impl Handler {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}
