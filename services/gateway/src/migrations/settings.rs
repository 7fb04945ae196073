//! What an operator may set about migrations.

use embermesh_config::Span;
use serde::{Deserialize, Serialize};

/// How a gateway works on migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MigrationSettings {
    /// Migrations that this process works on at a time; 0 leaves them to other replicas.
    pub workers: u32,
    /// How long the provider of a migration may fail before the migration pauses.
    pub patience: Span,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self { workers: 2, patience: Span::seconds(600) }
    }
}
