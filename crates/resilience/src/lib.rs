//! What keeps a system standing while the services that it calls fail, slow down or throttle it.
//!
//! Every piece here is one process's own knowledge: no I/O, no background task, no clock of its own. The caller passes the time
//! in, and everything that time brings about (an open breaker's next chance, an expired lease, a refilled bucket) is worked out
//! when somebody next looks. Which service to call, and what counts as a failure of it, is for the caller to say.

pub mod breaker;
pub mod call_stats;
pub mod concurrency;
pub mod flights;
pub mod gcra;
mod histogram;
pub mod retry_budget;
mod window;

pub use breaker::{Breaker, BreakerReport, BreakerSettings, BreakerState, Permit, Standing};
pub use call_stats::{CallStats, Summary};
pub use concurrency::{ConcurrencyLimit, Slot};
pub use flights::{Flight, Flights, Joined, Lead};
pub use gcra::{Gcra, Rate};
pub use retry_budget::RetryBudget;
