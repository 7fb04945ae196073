//! How budgets are kept over many routers: what a budget counts, which budgets a request has to pass, how large a slice a router may
//! spend by itself, and what it has left of it. The ledger decides by this, routers spend by it.
//!
//! No I/O: time is passed in, rows and messages are the services'.

mod account;
mod limits;
mod period;
mod pocket;
mod refusal;
mod sizing;

pub use account::{Account, Path, Scope};
pub use limits::{Limit, Limits};
pub use period::{Period, day_of, midnight, seconds_until};
pub use pocket::{Draw, Pocket, Returned};
pub use refusal::{Used, over_request, used_up};
pub use sizing::{Funds, slice};
