//! Starting and stopping: tracked tasks, soft then hard cancellation, signals, and readiness. Nothing about what the tasks do.

mod readiness;
mod register;
mod shutdown;
mod tasks;

pub use readiness::{Condition, Readiness};
pub use register::{RunningTask, TaskTotals};
pub use shutdown::{Lifecycle, Outcome};
pub use tasks::Tasks;
