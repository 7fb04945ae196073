//! Connections to Redis: made in the background, remade for ever, with nobody waiting for them.

use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use embermesh_lifecycle::Tasks;
use fred::{
    clients::Client,
    error::Error,
    interfaces::{ClientLike, EventInterface},
    types::{
        Builder, CustomCommand,
        config::{
            ClusterDiscoveryPolicy, Config, ReconnectPolicy, Server, ServerConfig, TcpConfig,
            UnresponsiveConfig,
        },
    },
};
use futures::future::join3;
use secrecy::ExposeSecret as _;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle, time::sleep};

use crate::{RedisSettings, SettingsError, server_memory};

/// For a connection, with its handshake and what the client asks by itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that has owed an answer for so long is made anew.
const UNRESPONSIVE: Duration = Duration::from_secs(5);
/// Commands that wait in the client at most; further ones fail at once.
const MAX_WAITING: usize = 8 * 1024;
/// Between two attempts to connect, in milliseconds.
const RECONNECT_MIN: u32 = 20;
const RECONNECT_MAX: u32 = 1_000;
/// After something that should not happen.
const PAUSE: Duration = Duration::from_secs(1);

/// Two connections, so that nothing small waits behind a large write.
pub(crate) struct Link {
    /// Reads and leases.
    pub(crate) quick: Client,
    /// Writes.
    pub(crate) bulk: Client,
    /// Whether keys lie in slots.
    pub(crate) cluster: bool,
}

/// Starts to connect. The link is there as soon as it is known whether there is a cluster.
pub(crate) fn open(settings: &RedisSettings, tasks: &Tasks) -> Result<Arc<OnceLock<Link>>, SettingsError> {
    let config = configure(settings)?;
    let parameters = settings.memory.parameters()?;
    // what is wrong with the settings is said now and not in the background
    let timeout = settings.command_timeout;
    build(&config, timeout).map_err(|error| SettingsError::Client(error.to_string()))?;
    let link = Arc::new(OnceLock::new());
    tasks.spawn("redis", stay_connected(config, timeout, parameters, Arc::clone(&link)));
    Ok(link)
}

fn configure(settings: &RedisSettings) -> Result<Config, SettingsError> {
    let mut config = match &settings.url {
        Some(url) => Config::from_url(url.expose_secret())
            .map_err(|error| SettingsError::Url(error.kind().to_str().to_lowercase()))?,
        None if settings.endpoints.is_empty() => return Err(SettingsError::Missing),
        None => Config::default(),
    };
    config.fail_fast = false;
    let servers = settings.endpoints.iter().map(|text| endpoint(text)).collect::<Result<Vec<_>, _>>()?;
    config.server = match <[Server; 1]>::try_from(servers) {
        Ok([server]) => ServerConfig::Centralized { server },
        Err(none) if none.is_empty() => config.server,
        Err(hosts) => clustered(hosts),
    };
    Ok(config)
}

fn clustered(hosts: Vec<Server>) -> ServerConfig {
    // found again although the nodes of the configuration are gone
    ServerConfig::Clustered { hosts, policy: ClusterDiscoveryPolicy::UseCache }
}

fn endpoint(text: &str) -> Result<Server, SettingsError> {
    let wrong = || SettingsError::Endpoint(text.to_owned());
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    Ok(Server::new(host, port))
}

fn build(config: &Config, timeout: Duration) -> Result<Client, Error> {
    let mut reconnect = ReconnectPolicy::new_exponential(0, RECONNECT_MIN, RECONNECT_MAX, 2);
    reconnect.set_jitter(RECONNECT_MIN);
    Builder::from_config(config.clone())
        .with_performance_config(|performance| performance.default_command_timeout = timeout)
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = MAX_WAITING;
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: UNRESPONSIVE / 5 };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .set_policy(reconnect)
        .build()
}

async fn stay_connected(
    mut config: Config,
    timeout: Duration,
    parameters: Vec<Parameter>,
    link: Arc<OnceLock<Link>>,
) {
    loop {
        match try_to_stay(&mut config, timeout, &parameters, &link).await {
            Ok(never) => match never {},
            Err(error) => tracing::error!(%error, "redis cannot be used, trying again"),
        }
        sleep(PAUSE).await;
    }
}

/// A setting of the server, by Redis' name, and its value.
type Parameter = (&'static str, String);

enum Never {}

async fn try_to_stay(
    config: &mut Config,
    timeout: Duration,
    parameters: &[Parameter],
    link: &OnceLock<Link>,
) -> Result<Never, Error> {
    if let ServerConfig::Centralized { server } = &config.server
        && link.get().is_none()
        && is_cluster(config).await?
    {
        config.server = clustered(vec![server.clone()]);
    }
    let made = Link {
        quick: build(config, timeout)?,
        bulk: build(config, timeout)?,
        cluster: config.server.is_clustered(),
    };
    let link = link.get_or_init(|| made);
    // before the connection is sought: it is told when it comes
    let told = server_memory::keep(&link.bulk, parameters.to_vec());
    let (_, never, _) = join3(told, hold(&link.quick), hold(&link.bulk)).await;
    Ok(never)
}

/// Asks the one node, for as long as it takes, whether it belongs to a cluster.
async fn is_cluster(config: &Config) -> Result<bool, Error> {
    let probe = build(config, CONNECT_TIMEOUT)?;
    let task = Connecting(probe.init().await?);
    let info = CustomCommand::new_static("INFO", None::<u16>, false);
    let answer: String = probe.custom(info, vec!["cluster"]).await?;
    drop(task);
    Ok(answer.lines().any(|line| line.trim() == "cluster_enabled:1"))
}

/// Keeps a client connected.
async fn hold(client: &Client) -> Never {
    let (mut connects, mut errors) = (client.reconnect_rx(), client.error_rx());
    loop {
        let mut task = Connecting(client.connect());
        let mut watch = pin!(log_changes(&mut connects, &mut errors));
        tokio::select! {
            ended = &mut task.0 => tracing::warn!(?ended, "the connection task of redis ended, starting it anew"),
            () = &mut watch => {}
        }
        drop(task);
        sleep(PAUSE).await;
    }
}

type Events<T> = tokio::sync::broadcast::Receiver<T>;

/// One line when a connection is there and one when it is gone, however many attempts lie between. Ends with the client.
async fn log_changes(connects: &mut Events<Server>, errors: &mut Events<(Error, Option<Server>)>) {
    let mut connected = None;
    loop {
        tokio::select! {
            event = connects.recv() => match event {
                Ok(_) if connected != Some(true) => {
                    tracing::info!("redis is connected");
                    connected = Some(true);
                }
                Err(RecvError::Closed) => return,
                _ => {}
            },
            event = errors.recv() => match event {
                Ok((error, _)) if connected != Some(false) => {
                    tracing::warn!(%error, "redis is away");
                    connected = Some(false);
                }
                Err(RecvError::Closed) => return,
                _ => {}
            },
        }
    }
}

/// Whether commands would be sent at once.
pub(crate) fn is_connected(client: &Client) -> bool {
    client.is_connected()
}

/// The client's own task, which ends with this.
struct Connecting(JoinHandle<Result<(), Error>>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: Option<&str>, endpoints: &[&str]) -> Result<ServerConfig, SettingsError> {
        let settings = RedisSettings {
            url: url.map(Into::into),
            endpoints: endpoints.iter().map(|&text| text.to_owned()).collect(),
            ..RedisSettings::default()
        };
        configure(&settings).map(|config| config.server)
    }

    #[test]
    fn several_endpoints_are_a_cluster_and_one_is_a_node_until_it_says_otherwise() {
        let one = ServerConfig::new_centralized("a", 1);
        assert_eq!(servers(None, &["a:1"]), Ok(one.clone()));
        assert_eq!(servers(Some("redis://a:1/2"), &[]), Ok(one.clone()));
        assert_eq!(servers(Some("redis://b"), &["a:1"]), Ok(one));
        let two = clustered(vec![Server::new("a", 1), Server::new("b", 2)]);
        assert_eq!(servers(None, &["a:1", "b:2"]), Ok(two));
    }

    #[test]
    fn credentials_of_the_url_hold_for_the_endpoints() {
        let settings = RedisSettings {
            url: Some("redis://me:secret@elsewhere".into()),
            endpoints: vec!["a:1".into(), "b:2".into()],
            ..RedisSettings::default()
        };
        let config = configure(&settings).unwrap();
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("me"), Some("secret")));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_the_password() {
        assert_eq!(servers(None, &[]), Err(SettingsError::Missing));
        for text in ["a", ":1", "a:x", "redis://a:1", "me@a:1"] {
            assert_eq!(servers(None, &[text]), Err(SettingsError::Endpoint(text.into())));
        }
        for url in ["", "nonsense", "redis://", "redis://me:secret@host:x"] {
            let refused = servers(Some(url), &[]).unwrap_err().to_string();
            assert!(!refused.contains("secret") && refused.contains("redis.url"), "{refused}");
        }
    }
}
