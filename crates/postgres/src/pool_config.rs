//! The size and the timeouts of a pool, as an operator writes them.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations are written like `30m`, `1h 30m` or `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// Most connections open at once; further callers wait up to `acquire_timeout`.
    pub max_open_conns: NonZeroUsize,
    /// Most connections kept open while nobody uses them.
    pub max_idle_conns: usize,
    /// A connection older than this is replaced before its next use.
    #[serde(with = "human_duration")]
    pub conn_max_lifetime: Duration,
    /// A connection unused for longer than this is closed.
    #[serde(with = "human_duration")]
    pub conn_max_idle_time: Duration,
    /// How long a caller waits for a free connection before it is told to try again.
    #[serde(with = "human_duration")]
    pub acquire_timeout: Duration,
    /// How long opening a connection may take, TLS and login included.
    #[serde(with = "human_duration")]
    pub connect_timeout: Duration,
    /// PostgreSQL cancels a statement that runs longer; `0s` means no limit.
    #[serde(with = "human_duration")]
    pub statement_timeout: Duration,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_open_conns: NonZeroUsize::MIN.saturating_add(19),
            max_idle_conns: 10,
            conn_max_lifetime: Duration::from_secs(30 * 60),
            conn_max_idle_time: Duration::from_secs(10 * 60),
            acquire_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

mod human_duration {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format_args!("`{text}` is not a duration like `30m`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_guides_names_and_durations() {
        let config: PoolConfig = serde_json::from_str(
            r#"{"max_open_conns": 100, "max_idle_conns": 25, "conn_max_lifetime": "30m", "conn_max_idle_time": "10m"}"#,
        )
        .unwrap();
        assert_eq!(config.max_open_conns.get(), 100);
        assert_eq!(config.max_idle_conns, 25);
        assert_eq!(config.conn_max_lifetime, Duration::from_secs(1800));
        assert_eq!(config.conn_max_idle_time, Duration::from_secs(600));
        assert_eq!(config.acquire_timeout, PoolConfig::default().acquire_timeout);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for (text, reason) in [
            (r#"{"max_conns": 3}"#, "unknown field `max_conns`"),
            (r#"{"max_open_conns": 0}"#, "nonzero"),
            (r#"{"conn_max_lifetime": "soon"}"#, "`soon` is not a duration"),
            (r#"{"conn_max_lifetime": "30"}"#, "`30` is not a duration"),
        ] {
            let error = serde_json::from_str::<PoolConfig>(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn is_written_as_it_is_read() {
        let config = PoolConfig { conn_max_lifetime: Duration::from_millis(90_500), ..PoolConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<PoolConfig>(&text).unwrap(), config);
    }
}
