//! The decisions of the router, without I/O.

pub(crate) mod choice;
pub(crate) mod price;
pub(crate) mod request_limits;
pub(crate) mod space;
pub(crate) mod verify;
