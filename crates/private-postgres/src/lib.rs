//! A private PostgreSQL with pgvector: started, owned and stopped by the process that needs it.
//!
//! `embermesh up` runs on one when no `DATABASE_URL` is given, and so do the tests. It is an ordinary PostgreSQL in a
//! directory of its own; nothing above this crate knows the difference. Fetching the programs is the set-up script's
//! work, and using the database that of `embermesh-postgres`.
//!
//! One directory holds everything: `data` (the cluster), `log`, `run` (the socket), `password`, `owner.lock`.

mod account;
mod client;
mod cluster;
mod error;
mod install;
mod layout;
mod owner_lock;
mod pid_file;
mod postmaster;
mod programs;
mod server;
mod settings;
#[cfg(feature = "testing")]
mod standby;
#[cfg(feature = "testing")]
mod testing;

pub use error::{StartError, StopError};
pub use programs::Programs;
pub use server::{Options, PrivatePostgres};
#[cfg(feature = "testing")]
pub use standby::Standby;
#[cfg(feature = "testing")]
pub use testing::{TestDatabase, test_options};
