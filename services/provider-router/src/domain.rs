//! The decisions of the router, without I/O.

pub(crate) mod choice;
pub(crate) mod cosine;
pub(crate) mod price;
pub(crate) mod rank;
pub(crate) mod request_limits;
pub(crate) mod score;
pub(crate) mod space;
pub(crate) mod strategy;
pub(crate) mod unit_length;
pub(crate) mod usage;
