//! The commands that speak the public API, one module each.

pub(crate) mod agents;
pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod costs;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod env;
pub(crate) mod keys;
pub(crate) mod maintenance;
pub(crate) mod migrate;
pub(crate) mod output;
pub(crate) mod providers;
mod query;
mod quotas;
pub(crate) mod search;
pub(crate) mod settings;
mod table;
pub(crate) mod tenants;

use std::future::Future;

use crate::client::Failure;

/// Runs one command's calls. One thread is plenty for a command that waits for a server.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Usage(format!("this machine gives no event loop: {error}")))?;
    runtime.block_on(work)
}
