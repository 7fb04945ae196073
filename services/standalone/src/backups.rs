//! Backups and the way back, for whatever the configuration names: `embermesh backup`, `restore` and `drill`, and what `embermesh up` does
//! of them by itself.

pub mod backup;
pub mod drill;
pub(crate) mod place;
pub mod restore;
pub(crate) mod scheduled;
