//! Bugs that users of other gateways and of vector caches have reported, where no other test here would notice them. The cases of one
//! system share it; each names the reports that it is about.

mod budgets;
mod budgets_elsewhere;
mod failing;
mod inputs;
mod redis;
