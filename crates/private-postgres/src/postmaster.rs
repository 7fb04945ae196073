//! The server's main process: a child of ours, or one that outlived its former owner.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::account::Account;
use crate::error::file;
use crate::install::Install;
use crate::layout::Layout;
use crate::pid_file::PidFile;
use crate::{StartError, StopError};

/// Ends transactions and writes a checkpoint.
const FAST_TIMEOUT: Duration = Duration::from_secs(30);
/// Ends at once and recovers from the log at the next start.
const IMMEDIATE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Postmaster {
    pid: Pid,
    /// `None` for an adopted one.
    child: Option<Child>,
    pid_file: PathBuf,
    cluster: PathBuf,
    stop_on_drop: bool,
}

impl Postmaster {
    /// Starts the server and does not wait for it.
    pub(crate) fn spawn(
        layout: &Layout,
        install: &Install,
        account: Account,
        settings: &[String],
        stop_on_drop: bool,
    ) -> Result<Self, StartError> {
        let failed = |error: String| StartError::Program { program: "postgres", output: error };
        let log = File::create(&layout.start_log).map_err(file("create", &layout.start_log))?;
        let log_copy = log.try_clone().map_err(file("open", &layout.start_log))?;
        let mut command = account.command(&install.program("postgres"));
        command.arg("-D").arg(&layout.cluster);
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        // a group of its own: Ctrl-C at the terminal must not stop it before its users have drained
        let child = command
            .process_group(0)
            .stdout(log)
            .stderr(log_copy)
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let pid = Pid::from_child(&child);
        Ok(Self::new(pid, Some(child), layout, stop_on_drop))
    }

    pub(crate) fn adopted(file: &PidFile, layout: &Layout, stop_on_drop: bool) -> Self {
        Self::new(file.pid, None, layout, stop_on_drop)
    }

    fn new(pid: Pid, child: Option<Child>, layout: &Layout, stop_on_drop: bool) -> Self {
        let (pid_file, cluster) = (layout.pid_file.clone(), layout.cluster.clone());
        Self { pid, child, pid_file, cluster, stop_on_drop }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub(crate) fn is_adopted(&self) -> bool {
        self.child.is_none()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => PidFile::read(&self.pid_file, &self.cluster)
                .is_some_and(|file| file.pid == self.pid && file.is_alive(&self.cluster)),
        }
    }

    /// Stops the server, politely first. Blocks.
    pub(crate) fn stop(&mut self) -> Result<(), StopError> {
        for (signal, timeout) in [(Signal::INT, FAST_TIMEOUT), (Signal::QUIT, IMMEDIATE_TIMEOUT)] {
            if !self.is_running() {
                return Ok(());
            }
            if let Err(error) = kill_process(self.pid, signal)
                && self.is_running()
            {
                return Err(StopError { pid: self.pid(), reason: error.to_string() });
            }
            let begun = Instant::now();
            while begun.elapsed() < timeout {
                if !self.is_running() {
                    return Ok(());
                }
                sleep(POLL);
            }
            tracing::warn!(pid = self.pid(), ?signal, "postgresql has not stopped in time");
        }
        Err(StopError { pid: self.pid(), reason: "it ignores the immediate shutdown".to_owned() })
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if self.stop_on_drop
            && let Err(error) = self.stop()
        {
            tracing::error!(%error, "the private postgresql is left running");
        }
    }
}
