//! Child processes: the upstream, the proxy, and the target when the driver is to start it.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Connection;

/// Time for a target to come up, and again to go down.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a process is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("cannot start {what}: {source}; build the bench binaries into one folder")]
    Start {
        /// Its name.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended or said nothing where an address was expected.
    #[error("{0} ended before it was ready; run it by hand to see why")]
    NotReady(String),
}

/// A process that is killed with the driver.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Its process id.
    pub pid: i32,
}

impl Running {
    fn start(mut command: Command, what: &str) -> Result<Self, ProcessError> {
        let failed = |source| ProcessError::Start { what: what.to_owned(), source };
        let child = command.kill_on_drop(true).spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| ProcessError::NotReady(what.to_owned()))?;
        Ok(Self { child, pid })
    }

    /// Starts a binary that lies beside this one and returns it with the address it prints.
    ///
    /// # Errors
    /// When it is not there or prints none.
    pub async fn sibling(
        name: &str,
        arguments: &[String],
        core: Option<usize>,
    ) -> Result<(Self, String), ProcessError> {
        let failed = |source| ProcessError::Start { what: name.to_owned(), source };
        let path: PathBuf = std::env::current_exe().map_err(failed)?.with_file_name(name);
        let mut command = on_core(path, core);
        command.args(arguments).stdout(Stdio::piped());
        let mut running = Self::start(command, name)?;
        let stdout = running.child.stdout.take().ok_or_else(|| ProcessError::NotReady(name.to_owned()))?;
        let line = BufReader::new(stdout).lines().next_line().await.map_err(failed)?;
        let address = line.ok_or_else(|| ProcessError::NotReady(name.to_owned()))?;
        Ok((running, address))
    }

    /// Starts a shell command as the target and waits until `authority` accepts connections and `ready` answers 200.
    ///
    /// # Errors
    /// When it ends or stays away for a minute.
    pub async fn target(
        line: &str,
        environment: &[(&str, String)],
        authority: &str,
        ready: &str,
        core: Option<usize>,
    ) -> Result<Self, ProcessError> {
        let mut command = on_core("sh", core);
        // exec, so that the process measured is the target and not the shell
        command.args(["-c", &format!("exec {line}")]).stdout(Stdio::null());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut running = Self::start(command, line)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(running.child.try_wait(), Ok(None)) {
            if is_ready(authority, ready).await {
                return Ok(running);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        running.stop().await;
        Err(ProcessError::NotReady(line.to_owned()))
    }

    /// Asks the process to end, so that it can stop what it started itself, and waits for it.
    pub async fn stop(mut self) {
        // it may have ended already; then there is nothing to ask
        let _gone = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
        let _status_of_no_interest = tokio::time::timeout(PATIENCE, self.child.wait()).await;
    }
}

async fn is_ready(authority: &str, path: &str) -> bool {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    match Connection::open(authority).await {
        Ok(mut connection) => matches!(connection.exchange(request.as_bytes()).await, Ok(200)),
        Err(_) => false,
    }
}

/// A command that will run `program` on one core, if asked to.
fn on_core(program: impl AsRef<OsStr>, core: Option<usize>) -> Command {
    let Some(core) = core else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}
