//! The rules of the books, without I/O.

pub(crate) mod attempt;
pub(crate) mod balance;
pub(crate) mod books;
pub(crate) mod limits;
pub(crate) mod period;
pub(crate) mod report;
pub(crate) mod work;
