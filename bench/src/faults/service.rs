//! One service as a process that is killed and started again, at the same place and with the same arguments.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use embermesh_loopback::free_port;
use tokio::process::{Child, Command};

use super::FaultError;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(10);
/// Before a process is started again that ended while it was starting.
const SUPERVISED: Duration = Duration::from_millis(100);
/// How long one question for its health may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What a process is started with.
#[derive(Debug)]
pub struct ServiceSpec<'a> {
    /// The binary is `embermesh-<binary>`.
    pub binary: &'a str,
    /// Of the process among its replicas; its folder and its log are called so.
    pub name: String,
    /// Folder of the binaries.
    pub bin: &'a Path,
    /// Holds the configuration `embermesh.yaml` and takes the process's folder.
    pub folder: &'a Path,
    /// Where it listens on loopback.
    pub port: u16,
    /// More of the environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A process; it ends with this.
#[derive(Debug)]
pub struct Service {
    name: String,
    command: Command,
    child: Child,
    log: PathBuf,
    port: u16,
}

impl Service {
    /// Starts it and does not wait until it is ready.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn start(spec: ServiceSpec<'_>) -> Result<Self, FaultError> {
        let ServiceSpec { binary, name, bin, folder, port, environment } = spec;
        let data = folder.join(&name);
        std::fs::create_dir(&data)?;
        let mut command = Command::new(bin.join(format!("embermesh-{binary}")));
        command.arg("--config").arg(folder.join("embermesh.yaml"));
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        // the environment of whoever runs this must not configure it
        for variable in ["REDIS_URL", "OPENAI_API_KEY", "EMBERMESH_DATA_DIR", "ENVIRONMENT"] {
            command.env_remove(variable);
        }
        command.env("EMBERMESH__DATA_DIR", &data).envs(environment);
        let log = folder.join(format!("{name}.log"));
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).kill_on_drop(true);
        let child = spawn(&mut command)?;
        Ok(Self { name, command, child, log, port })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When it ended before, by itself.
    pub async fn kill(&mut self) -> Result<(), FaultError> {
        if let Some(ended) = self.ended()? {
            return Err(self.early(ended));
        }
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Starts it again and does not wait until it is ready.
    ///
    /// # Errors
    /// When the binary is gone.
    pub fn start_again(&mut self) -> Result<(), FaultError> {
        self.child = spawn(&mut self.command)?;
        Ok(())
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn ready(&mut self) -> Result<(), FaultError> {
        let until = Instant::now() + PATIENCE;
        let client = reqwest::Client::builder().no_proxy().timeout(HEALTH_TIMEOUT).build()?;
        let url = format!("{}/health/ready", self.url());
        loop {
            if client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Some(ended) = self.ended()? {
                return Err(self.early(ended));
            }
            if Instant::now() > until {
                let log = self.log.display();
                return Err(format!("{} is not ready after {PATIENCE:?}, see {log}", self.name).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it is ready, and starts it again when it ends before that, as a supervisor would: without its database a service
    /// does not start. How often that was.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn ready_under_supervision(&mut self) -> Result<u32, FaultError> {
        let until = Instant::now() + PATIENCE;
        let mut again = 0;
        loop {
            match self.ready().await {
                Ok(()) => return Ok(again),
                Err(error) if Instant::now() > until || self.ended()?.is_none() => return Err(error),
                Err(_) => {
                    tokio::time::sleep(SUPERVISED).await;
                    self.start_again()?;
                    again += 1;
                }
            }
        }
    }

    /// Passes when nobody killed it and it runs.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub fn alive(&mut self) -> Result<(), FaultError> {
        match self.ended()? {
            Some(ended) => Err(self.early(ended)),
            None => Ok(()),
        }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, FaultError> {
        Ok(self.child.try_wait()?)
    }

    fn early(&self, ended: ExitStatus) -> FaultError {
        format!("{} ended by itself, {ended}; see {}", self.name, self.log.display()).into()
    }
}

/// A port that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn port() -> Result<u16, FaultError> {
    Ok(free_port()?)
}

fn spawn(command: &mut Command) -> Result<Child, FaultError> {
    command
        .spawn()
        .map_err(|error| format!("cannot start {command:?}: {error}; build it into the same folder").into())
}
