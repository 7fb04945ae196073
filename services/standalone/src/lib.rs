//! `embermesh`: all services in one process, and the command line that speaks the public API.

pub mod data_dir;
pub mod private_database;
mod tools;
pub mod up;
