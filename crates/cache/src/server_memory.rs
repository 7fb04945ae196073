//! How much memory Redis may take and what it forgets first, told to every node that is connected: a node that was restarted has
//! forgotten it.

use std::time::Duration;

use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike as _, EventInterface as _},
    types::{
        ClusterHash, CustomCommand, FromValue, Value,
        config::{Options, Server},
    },
};
use tokio::{sync::broadcast::error::RecvError, time::sleep};

use crate::SettingsError;

/// Redis' names of its policies.
const POLICIES: [&str; 8] = [
    "noeviction",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
];
/// Redis' names of multiples of a byte.
const UNITS: [(&str, u64); 8] = [
    ("kb", 1 << 10),
    ("mb", 1 << 20),
    ("gb", 1 << 30),
    ("k", 1_000),
    ("m", 1_000_000),
    ("g", 1_000_000_000),
    ("b", 1),
    ("", 1),
];
/// Between two attempts to tell a node that did not answer.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a node may take to hear it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What every node is told. Absent parts stay as the node has them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerMemory {
    /// Of one node, as Redis writes it: `4gb`.
    pub max_memory: Option<String>,
    /// Redis' name of a policy.
    pub eviction_policy: Option<String>,
}

impl ServerMemory {
    /// The settings by Redis' names, checked.
    pub(crate) fn parameters(&self) -> Result<Vec<(&'static str, String)>, SettingsError> {
        let mut parameters = Vec::new();
        if let Some(text) = &self.max_memory {
            let bytes = bytes(text).ok_or_else(|| SettingsError::MaxMemory(text.clone()))?;
            parameters.push(("maxmemory", bytes.to_string()));
        }
        if let Some(policy) = &self.eviction_policy {
            if !POLICIES.contains(&policy.as_str()) {
                return Err(SettingsError::Policy(policy.clone(), POLICIES.join(", ")));
            }
            parameters.push(("maxmemory-policy", policy.clone()));
        }
        Ok(parameters)
    }
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let (unit, factor) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// Tells every node when it is connected. Ends with the client.
pub(crate) async fn keep(client: &Client, parameters: Vec<(&'static str, String)>) {
    let mut connects = client.reconnect_rx();
    if parameters.is_empty() {
        return;
    }
    loop {
        match connects.recv().await {
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        while let Err(error) = tell(client, &parameters).await {
            if !client.is_connected() {
                // its next connection is told
                break;
            }
            tracing::warn!(%error, "redis.cache_strategies.embeddings could not be told to redis, trying again");
            sleep(AGAIN).await;
        }
    }
}

async fn tell(client: &Client, parameters: &[(&'static str, String)]) -> Result<(), Error> {
    for node in nodes(client) {
        for (name, value) in parameters {
            let told: Result<Value, Error> =
                ask(client, PATIENCE, node.as_ref(), "CONFIG", vec!["SET", *name, value.as_str()]).await;
            match told {
                Ok(_) => tracing::info!(?node, name, value, "told redis"),
                // a managed server, or a user without the right: only whoever runs it can change it
                Err(error) if is_refusal(error.details()) => tracing::warn!(
                    name,
                    value,
                    %error,
                    "redis refuses this setting of redis.cache_strategies.embeddings, set it where redis is run"
                ),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn is_refusal(details: &str) -> bool {
    ["NOPERM", "ERR"].iter().any(|prefix| details.starts_with(prefix))
}

/// The nodes that are connected, masters on a cluster; `None` is the only one.
pub(crate) fn nodes(client: &Client) -> Vec<Option<Server>> {
    if client.is_clustered() {
        client.active_connections().into_iter().map(Some).collect()
    } else {
        vec![None]
    }
}

/// Asks one node by hand.
pub(crate) async fn ask<T: FromValue>(
    client: &Client,
    patience: Duration,
    node: Option<&Server>,
    command: &'static str,
    arguments: Vec<&str>,
) -> Result<T, Error> {
    let command = CustomCommand::new_static(command, ClusterHash::FirstValue, false);
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let options = Options {
        timeout: Some(patience),
        max_attempts: Some(1),
        fail_fast: true,
        cluster_node: node.cloned(),
        ..Options::default()
    };
    client.with_options(&options).custom(command, arguments).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(max_memory: Option<&str>, policy: Option<&str>) -> Result<Vec<String>, SettingsError> {
        let memory = ServerMemory {
            max_memory: max_memory.map(str::to_owned),
            eviction_policy: policy.map(str::to_owned),
        };
        Ok(memory.parameters()?.into_iter().map(|(name, value)| format!("{name} {value}")).collect())
    }

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        for (text, bytes) in [
            ("4gb", 4_294_967_296_u64),
            ("64MB", 67_108_864),
            ("1k", 1_000),
            ("512", 512),
            ("7 b", 7),
            ("0", 0),
        ] {
            assert_eq!(parameters(Some(text), None).unwrap(), [format!("maxmemory {bytes}")]);
        }
        for text in ["", "gb", "4 gib", "-1", "1.5gb", "4tb", "99999999999gb"] {
            assert_eq!(parameters(Some(text), None), Err(SettingsError::MaxMemory(text.into())));
        }
    }

    #[test]
    fn a_policy_is_one_of_those_that_redis_has() {
        assert_eq!(parameters(None, Some("allkeys-lru")).unwrap(), ["maxmemory-policy allkeys-lru"]);
        assert!(matches!(parameters(None, Some("lru")), Err(SettingsError::Policy(..))));
        assert_eq!(parameters(None, None), Ok(Vec::new()));
    }
}
