//! How budgets and quotas are kept over many routers: what a limit counts, which limits a request has to pass, how large a slice a router
//! may use by itself, and what it has left of it. The ledger decides by this, routers spend by it.
//!
//! No I/O: time is passed in, rows and messages are the services'.

mod account;
mod amount;
mod limits;
mod period;
mod pocket;
mod refusal;
mod sizing;

pub use account::{Account, Path, Quota, Scope};
pub use amount::Amount;
pub use limits::{Limit, Limits, has_quota};
pub use period::{Period, day_of, midnight, seconds_until};
pub use pocket::{Draw, Pocket, Returned};
pub use refusal::{Used, over_request, used_up};
pub use sizing::{Funds, slice};
