//! The private server as its owner sees it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use crate::account::Account;
use crate::client::{Login, USER, describe, ensure_database, with_client};
use crate::error::file;
use crate::install::Install;
use crate::layout::Layout;
use crate::owner_lock::OwnerLock;
use crate::pid_file::PidFile;
use crate::postmaster::Postmaster;
use crate::settings::settings;
use crate::{StartError, StopError, cluster};

/// Names only the socket's file where no TCP is asked for.
const SOCKET_PORT: u16 = 5432;
/// What a URL may hold as it is, and what readers of logs and shells want to see as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
const READY_POLL: Duration = Duration::from_millis(10);
/// A free TCP port may be taken by somebody else before PostgreSQL binds it.
const PORT_ATTEMPTS: u32 = 5;

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The PostgreSQL to use: a directory with `bin/postgres`. Else `EMBERMESH_POSTGRES_DIR`, else `candidates`, else
    /// one found on the machine; each only when it has pgvector.
    pub install_dir: Option<PathBuf>,
    /// Directories to try, such as the one that the set-up script fills.
    pub candidates: Vec<PathBuf>,
    /// Everything of this server lies here; created where missing.
    pub data_dir: PathBuf,
    /// The database to create.
    pub database: String,
    /// Also listen on a free port of the loopback interface.
    pub tcp: bool,
    /// Whether a crash of the machine may lose nothing. Off only where the data does not matter: in tests.
    pub durable: bool,
    /// Stop the server when the handle is dropped without [`PrivatePostgres::stop`]. Off, it keeps running and the
    /// next start adopts it.
    pub stop_on_drop: bool,
    /// How long starting may take, recovery after a crash included.
    pub start_timeout: Duration,
    /// Who logs in and owns everything. Another one than the default is for a cluster that was not made here.
    pub user: String,
    /// Further settings, `name=value`, over those of this crate.
    pub settings: Vec<String>,
}

impl Options {
    /// The durable, socket-only default with the database `embeddings`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            install_dir: None,
            candidates: Vec::new(),
            data_dir: data_dir.into(),
            database: "embeddings".to_owned(),
            tcp: false,
            durable: true,
            stop_on_drop: true,
            start_timeout: Duration::from_secs(60),
            user: USER.to_owned(),
            settings: Vec::new(),
        }
    }
}

/// A running private PostgreSQL and the ownership of its directory.
pub struct PrivatePostgres {
    postmaster: Option<Postmaster>,
    layout: Layout,
    port: u16,
    user: String,
    password: SecretString,
    url: SecretString,
    tcp_url: Option<SecretString>,
    // last, so that the server is gone before the directory is free
    _lock: OwnerLock,
}

impl PrivatePostgres {
    /// Starts the server, or adopts the one that a killed owner left running, and creates the database with pgvector.
    ///
    /// # Errors
    /// See [`StartError`]; each says what to do.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let layout = Layout::prepare(&options.data_dir)?;
        let lock = OwnerLock::take(&layout.dir, &layout.owner_lock)?;
        let password = layout.password()?;

        let (postmaster, port) = match find_running(&layout, &password, &options).await {
            Some(found) => found,
            None => start_new(&layout, &password, &options, Account::choose()?).await?,
        };
        let server = Self {
            url: url(
                &layout.socket_dir.display().to_string(),
                port,
                &options.user,
                &password,
                &options.database,
            ),
            tcp_url: options.tcp.then(|| url("127.0.0.1", port, &options.user, &password, &options.database)),
            user: options.user.clone(),
            postmaster: Some(postmaster),
            layout,
            port,
            password,
            _lock: lock,
        };
        server.create_database(&options.database).await?;
        Ok(server)
    }

    /// Creates a database with pgvector unless it is there, and returns how to connect to it through the socket.
    ///
    /// # Errors
    /// [`StartError::Database`].
    pub async fn create_database(&self, name: &str) -> Result<SecretString, StartError> {
        let login = Login {
            socket_dir: &self.layout.socket_dir,
            port: self.port,
            user: &self.user,
            password: &self.password,
        };
        ensure_database(login, name).await?;
        Ok(url(&self.layout.socket_dir.display().to_string(), self.port, &self.user, &self.password, name))
    }

    /// How to connect to the server that somebody else runs in `data_dir`; `None` where none runs.
    pub fn running_url(data_dir: &Path, database: &str) -> Option<SecretString> {
        let layout = Layout::existing(data_dir)?;
        let file = PidFile::read(&layout.pid_file, &layout.cluster)?;
        let port = file.port.filter(|_| file.is_alive(&layout.cluster))?;
        let password = layout.password().ok()?;
        Some(url(&layout.socket_dir.display().to_string(), port, USER, &password, database))
    }

    /// The directory of the cluster itself, below `data_dir`.
    pub fn cluster_dir(data_dir: &Path) -> PathBuf {
        data_dir.join("data")
    }

    /// Connects to the database through the socket, as its owner.
    pub fn connection_url(&self) -> &SecretString {
        &self.url
    }

    /// The same over TCP, where [`Options::tcp`] asked for it.
    pub fn tcp_url(&self) -> Option<&SecretString> {
        self.tcp_url.as_ref()
    }

    /// The server's main process.
    pub fn pid(&self) -> Option<i32> {
        self.postmaster.as_ref().map(Postmaster::pid)
    }

    /// Whether the server was found running rather than started.
    pub fn is_adopted(&self) -> bool {
        self.postmaster.as_ref().is_some_and(Postmaster::is_adopted)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    #[cfg(feature = "testing")]
    pub(crate) fn password(&self) -> &SecretString {
        &self.password
    }

    #[cfg(feature = "testing")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its logs are.
    pub fn log_dir(&self) -> &Path {
        &self.layout.log
    }

    /// Disconnects everybody, writes everything out and waits until the server is gone.
    ///
    /// # Errors
    /// When it is still there after a fast and an immediate shutdown.
    pub async fn stop(mut self) -> Result<(), StopError> {
        let Some(mut postmaster) = self.postmaster.take() else { return Ok(()) };
        let pid = postmaster.pid();
        // `self` keeps the directory locked until then
        tokio::task::spawn_blocking(move || postmaster.stop())
            .await
            .unwrap_or_else(|error| Err(StopError { pid, reason: error.to_string() }))
    }
}

impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivatePostgres").field("dir", &self.layout.dir).field("pid", &self.pid()).finish()
    }
}

/// The server that a former owner left, if it can be used as it is. One that cannot is stopped.
async fn find_running(
    layout: &Layout,
    password: &SecretString,
    options: &Options,
) -> Option<(Postmaster, u16)> {
    let file = PidFile::read(&layout.pid_file, &layout.cluster)?;
    if !file.is_alive(&layout.cluster) {
        // PostgreSQL removes a stale file by itself, unless another process has the number by now
        tracing::info!(pid = %file.pid.as_raw_nonzero(), "postgresql did not end cleanly, it will recover");
        if let Err(error) = std::fs::remove_file(&layout.pid_file) {
            tracing::warn!(%error, "cannot remove the stale postmaster.pid");
        }
        return None;
    }
    let mut postmaster = Postmaster::adopted(&file, layout, options.stop_on_drop);
    if file.listens_on.is_some() == options.tcp
        && layout.started_with() == options.settings.join("\n")
        && let Some(port) = file.port
    {
        match wait_until_ready(layout, password, port, &mut postmaster, options).await {
            Ok(()) => {
                tracing::info!(pid = postmaster.pid(), "adopted the running postgresql");
                return Some((postmaster, port));
            }
            Err(error) => tracing::warn!(%error, "the running postgresql cannot be adopted"),
        }
    }
    tracing::info!(pid = postmaster.pid(), "stopping the running postgresql to start it anew");
    let stopped = tokio::task::spawn_blocking(move || postmaster.stop()).await;
    if let Ok(Err(error)) = stopped {
        tracing::error!(%error, "the running postgresql cannot be stopped");
    }
    None
}

async fn start_new(
    layout: &Layout,
    password: &SecretString,
    options: &Options,
    account: Account,
) -> Result<(Postmaster, u16), StartError> {
    let install = Install::find(options.install_dir.as_deref(), &options.candidates)?;
    layout.admit(account)?;
    cluster::ensure(layout, &install, account, password, options.durable)?;
    layout.create_server_dirs(account)?;
    let mut attempt = 1;
    loop {
        let port = if options.tcp { free_port()? } else { SOCKET_PORT };
        let mut settings = settings(layout, port, options.tcp, options.durable);
        // the last of two wins
        settings.extend(options.settings.iter().cloned());
        layout.note_settings(&options.settings.join("\n"))?;
        let mut postmaster = Postmaster::spawn(layout, &install, account, &settings, options.stop_on_drop)?;
        match wait_until_ready(layout, password, port, &mut postmaster, options).await {
            Ok(()) => return Ok((postmaster, port)),
            Err(error) => {
                // best effort: the error that matters is the first one
                let _ = tokio::task::spawn_blocking(move || postmaster.stop()).await;
                if !(options.tcp && attempt < PORT_ATTEMPTS && layout.log_tail().contains("already in use")) {
                    return Err(error);
                }
                attempt += 1;
            }
        }
    }
}

async fn wait_until_ready(
    layout: &Layout,
    password: &SecretString,
    port: u16,
    postmaster: &mut Postmaster,
    options: &Options,
) -> Result<(), StartError> {
    let (begun, timeout) = (Instant::now(), options.start_timeout);
    let login = Login { socket_dir: &layout.socket_dir, port, user: &options.user, password };
    loop {
        // somebody else's server cannot answer here: the directory is ours, and so is the password
        let attempt = with_client(login, "postgres", async |_| Ok(())).await;
        let Err(error) = attempt else { return Ok(()) };
        if !postmaster.is_running() {
            return Err(StartError::Program { program: "postgres", output: layout.log_tail() });
        }
        if begun.elapsed() > timeout {
            return Err(StartError::NotReady {
                seconds: timeout.as_secs(),
                reason: describe(&error),
                log: layout.log.clone(),
            });
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

fn free_port() -> Result<u16, StartError> {
    embermesh_loopback::free_port().map_err(file("find a free port for", Path::new("127.0.0.1")))
}

fn url(host: &str, port: u16, user: &str, password: &SecretString, database: &str) -> SecretString {
    let encode = |text| utf8_percent_encode(text, ENCODED);
    format!(
        "postgresql://{}:{}@{}:{port}/{}?sslmode=disable",
        encode(user),
        encode(password.expose_secret()),
        encode(host),
        encode(database)
    )
    .into()
}

#[cfg(test)]
mod tests;
