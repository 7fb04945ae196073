//! `embermesh`: all services in one process, and the command line that speaks the public API.

pub mod data_dir;
mod migrations;
pub mod private_database;
mod tools;
pub mod up;
