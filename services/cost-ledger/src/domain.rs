//! The rules of the books, without I/O.

pub(crate) mod accounts;
pub(crate) mod attempt;
pub(crate) mod balance;
pub(crate) mod books;
pub(crate) mod forecast;
pub(crate) mod hit;
pub(crate) mod ids;
pub(crate) mod lease;
pub(crate) mod lease_ask;
pub(crate) mod limited;
#[cfg(test)]
mod model;
pub(crate) mod parse;
pub(crate) mod part;
pub(crate) mod post;
pub(crate) mod report;
pub(crate) mod reserve;
pub(crate) mod settlement;
pub(crate) mod work;
