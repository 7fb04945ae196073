//! What an operator may set.

use embermesh_postgres::PoolConfig;
use serde::{Deserialize, Serialize};

/// Settings of the control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections to the database.
    pub pool: PoolConfig,
    /// The environment that new keys carry in their text: lowercase letters, such as `live` or `test`.
    pub key_environment: String,
    /// Catalog ids for agents that prefer none, best first. Empty: the router decides.
    pub default_models: Vec<String>,
    /// Names of entities found by patterns of the operator's own, which agents may then list under `pii.entities`.
    pub pii_entities: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            key_environment: "live".to_owned(),
            default_models: Vec::new(),
            pii_entities: Vec::new(),
        }
    }
}
