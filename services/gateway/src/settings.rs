//! What an operator may set.

use std::path::PathBuf;

use embermesh_config::{HealthCache, Span};
use embermesh_pii::PiiConfig;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{api_calls::ApiRequests, embeddings::EmbeddingLimits, migrations::MigrationSettings};

/// Settings of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Largest body of a REST request.
    pub max_body_bytes: usize,
    /// Seconds that a request may take, from its head to the head of its answer.
    pub request_timeout_seconds: u64,
    /// Networks that may read `/metrics`, `/version` and `/openapi.json` without a key, beside loopback.
    pub metrics_allow: Vec<IpNet>,
    /// Between two reports to admin of when keys were last used; a key's note moves by a minute or more, however often it is told.
    pub key_use_interval: Span,
    /// Which calls are recorded in the table `api_requests`.
    pub api_requests: ApiRequests,
    /// How much one embedding call may bring.
    pub limits: EmbeddingLimits,
    /// How this process works on migrations between embedding spaces.
    pub migrations: MigrationSettings,
    /// What happens to personal data, unless an agent's configuration says otherwise. Comes from `pii_detection`, not from here.
    #[serde(skip)]
    pub pii: PiiConfig,
    /// How long it counts what a router told of its providers. Comes from `redis.cache_strategies.provider_health`, not from here.
    #[serde(skip)]
    pub provider_health: HealthCache,
    /// Folder of this process; for calls that admin does not have yet.
    #[serde(skip)]
    pub data_dir: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 * 1024 * 1024,
            request_timeout_seconds: 60,
            metrics_allow: Vec::new(),
            key_use_interval: Span::seconds(60),
            api_requests: ApiRequests::default(),
            limits: EmbeddingLimits::default(),
            migrations: MigrationSettings::default(),
            pii: PiiConfig::default(),
            provider_health: HealthCache::default(),
            data_dir: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_unknown_names_refused() {
        let settings: Settings =
            serde_json::from_str(r#"{"metrics_allow": ["10.0.0.0/8", "fd00::/8"]}"#).unwrap();
        assert!(settings.metrics_allow[0].contains(&"10.1.2.3".parse::<std::net::IpAddr>().unwrap()));
        assert!(serde_json::from_str::<Settings>(r#"{"metrics_allow": ["10.0.0.0/33"]}"#).is_err());
        for refused in [r#"{"max_body": 1}"#, r#"{"pii": {"action": "reject"}}"#] {
            assert!(serde_json::from_str::<Settings>(refused).is_err(), "{refused}");
        }
    }
}
