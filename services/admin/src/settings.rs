//! What an operator may set.

use std::{collections::BTreeMap, path::PathBuf};

use embermesh_config::{Config, Security, Span};
use embermesh_postgres::PoolConfig;
use embermesh_proto::v1::{ProviderEntry, Tuning};
use serde::{Deserialize, Serialize};

use crate::domain::tuning::of_file;

/// Settings of the control plane.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections to the database. Absent: `database.pool`.
    pub pool: PoolConfig,
    /// The environment that new keys carry in their text: lowercase letters, such as `live` or `test`.
    pub key_environment: String,
    /// Catalog ids for agents that prefer none, best first. Empty: the router decides.
    pub default_models: Vec<String>,
    /// Names of entities found by patterns of the operator's own, which agents may then list under `pii.entities`.
    pub pii_entities: Vec<String>,
    /// The key that anchors of the audit chains are signed with: Ed25519, PKCS#8 in PEM. Default: one that is made once in the data
    /// folder, if there is one.
    pub audit_key_file: Option<PathBuf>,
    /// Public keys of other replicas, and of former times, whose anchors count too; each in hexadecimal digits.
    pub audit_trusted_keys: Vec<String>,
    /// Chains that have grown are anchored so often,
    pub audit_anchor_interval: Span,
    /// and after so many changes.
    pub audit_anchor_changes: u32,
    /// What the configuration says of the settings that can be turned at run time.
    #[serde(skip)]
    pub file: Tuning,
    /// How long calls of the API are kept, to about a month longer; 0 keeps them for ever.
    pub api_request_retention: Span,
    /// Folder of this process; for the key and the file of anchors.
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
    /// `embedding.security`: how keys are rotated by themselves, which hosts providers may name, what their credentials are sealed with.
    #[serde(skip)]
    pub security: Security,
    /// Entries of the configuration file, by name, as they are shown.
    #[serde(skip)]
    pub file_providers: BTreeMap<String, ProviderEntry>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            key_environment: "live".to_owned(),
            default_models: Vec::new(),
            pii_entities: Vec::new(),
            audit_key_file: None,
            audit_trusted_keys: Vec::new(),
            audit_anchor_interval: Span::seconds(60),
            audit_anchor_changes: 1_000,
            file: of_file(&Config::default()),
            api_request_retention: Span::seconds(90 * 24 * 60 * 60),
            data_dir: None,
            security: Security::default(),
            file_providers: BTreeMap::new(),
        }
    }
}
