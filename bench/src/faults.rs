//! Rounds of kill -9: routers, ledgers and PostgreSQL die at random moments under load, and afterwards every call that the provider saw
//! is in the books once, no money is set aside for nothing, and nothing was spent beyond a budget.
//!
//! [`plan`] says who dies when; [`fleet`], [`service`] and [`database`] are the system, [`load`], [`request`] and [`limited`] its clients;
//! [`books`] reads the ledger's tables, [`reconcile`] and [`acknowledged`] compare them with what providers and clients saw, [`sampler`]
//! watches budgets meanwhile, [`check`] waits until it all agrees; [`run`] is the whole.

pub mod acknowledged;
pub mod books;
pub mod check;
pub mod database;
pub mod findings;
pub mod fleet;
pub mod limited;
pub mod load;
pub mod plan;
pub mod reconcile;
pub mod request;
pub mod run;
pub mod sampler;
pub mod service;
pub mod summary;

/// Why the rounds could not go on, as against books that do not agree.
pub type FaultError = Box<dyn std::error::Error + Send + Sync>;
