//! `embermesh`: all services in one process, and the command line that speaks the public API.

pub mod backups;
pub mod data_dir;
pub mod maintenance;
mod migrations;
pub mod private_database;
mod tools;
pub mod up;
