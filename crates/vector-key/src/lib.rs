//! The key that the vector of a text is kept under: made of everything that makes the vector what it is, by whoever looks it up and by
//! whoever keeps it ahead of time. Pure.
//!
//! Not here: where vectors are kept, and for how long.

mod key;
mod maker;

pub use key::{Keys, LENGTH, VectorKey};
pub use maker::KeyMaker;
