//! The rules of the control plane, without I/O.

pub(crate) mod agent;
pub(crate) mod agent_clear;
pub(crate) mod agent_rules;
pub(crate) mod anchor;
pub(crate) mod audit_record;
pub(crate) mod breakers;
pub(crate) mod budget;
pub(crate) mod cache_order;
pub(crate) mod chain;
pub(crate) mod handover;
pub(crate) mod key;
pub(crate) mod model;
pub(crate) mod model_update;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod pii_policy;
pub(crate) mod price;
pub(crate) mod provider;
pub(crate) mod reference;
pub(crate) mod resolve;
pub(crate) mod rotation;
pub(crate) mod shipped;
pub(crate) mod tenant;
pub(crate) mod tuning;
pub(crate) mod tuning_clear;
pub(crate) mod tuning_rules;
