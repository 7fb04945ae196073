//! The rules of the control plane, without I/O.

pub(crate) mod agent;
pub(crate) mod agent_rules;
pub(crate) mod key;
pub(crate) mod model;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod resolve;
