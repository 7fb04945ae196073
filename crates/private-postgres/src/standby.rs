//! A real streaming standby of a private server, for tests: copied by `pg_basebackup`, fed through a replication slot, and stopped,
//! frozen, held back and promoted as a test needs it.

#![expect(clippy::panic, reason = "a test without its standby has failed")]

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::{ExposeSecret, SecretString};

use crate::account::Account;
use crate::client::{Login, USER, with_client};
use crate::install::Install;
use crate::layout::Layout;
use crate::{Options, PrivatePostgres, test_options};

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A standby of a test's own.
#[derive(Debug)]
pub struct Standby {
    options: Options,
    database: String,
    password: SecretString,
    socket_dir: PathBuf,
    server: Option<PrivatePostgres>,
}

impl Standby {
    /// Copies `primary` into `dir` and starts to follow it.
    ///
    /// # Panics
    /// When any of it fails.
    pub async fn of(primary: &PrivatePostgres, database: &str, dir: &Path) -> Self {
        let options = Options { database: database.to_owned(), ..test_options(dir) };
        let layout = must(Layout::prepare(dir), "prepare the directory of a standby");
        must(layout.write_secret(&layout.password, primary.password()), "write the password of a standby");
        must(copy(primary, &layout, &options), "copy the primary");
        let mut standby = Self {
            database: database.to_owned(),
            password: primary.password().clone(),
            socket_dir: layout.socket_dir.clone(),
            options,
            server: None,
        };
        standby.start().await;
        standby
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&mut self) {
        self.server = Some(must(PrivatePostgres::start(self.options.clone()).await, "start a standby"));
    }

    /// Stops it as an administrator does.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            must(server.stop().await, "stop a standby");
        }
    }

    /// The server, while it runs.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn server(&self) -> &PrivatePostgres {
        match &self.server {
            Some(server) => server,
            None => panic!("this standby is stopped"),
        }
    }

    /// Connects as the owner.
    pub fn url(&self) -> SecretString {
        let socket = self.socket_dir.display().to_string().replace('/', "%2F");
        let password = self.password.expose_secret();
        format!("postgresql://{USER}:{password}@{socket}:5432/{}?sslmode=disable", self.database).into()
    }

    /// Stops all its processes where they are, so that it neither answers nor refuses; `false` lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let Some(postmaster) = self.server.as_ref().and_then(PrivatePostgres::pid) else { return };
        // the postmaster first, so that it does not replace anybody
        let mut pids = vec![postmaster.to_string()];
        let children = format!("/proc/{postmaster}/task/{postmaster}/children");
        let children = must(std::fs::read_to_string(children), "list the processes of a standby");
        pids.extend(children.split_whitespace().map(str::to_owned));
        // a child may have ended since
        let _ = Command::new("kill").arg(signal).args(pids).status();
    }

    /// Kills one of its processes, so that it recovers anew without being started.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn kill_a_process(&self) {
        let login = Login { socket_dir: &self.socket_dir, port: 5432, user: USER, password: &self.password };
        let kill = with_client(login, &self.database, async |client| {
            let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
            // one that is gone already is as good as killed
            let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
            Ok(())
        });
        must(kill.await, "reach a standby");
    }

    /// Replays nothing until it is told to go on.
    pub async fn pause(&self, paused: bool) {
        let what = if paused { "pg_wal_replay_pause" } else { "pg_wal_replay_resume" };
        self.sql(&format!("SELECT {what}()")).await;
    }

    /// Replays commits only when they are this old.
    pub async fn delay(&self, seconds: u32) {
        self.sql(&format!("ALTER SYSTEM SET recovery_min_apply_delay = '{seconds}s'")).await;
        self.sql("SELECT pg_reload_conf()").await;
    }

    /// Makes it a primary, on a timeline of its own.
    pub async fn promote(&self) {
        self.sql("SELECT pg_promote()").await;
    }

    /// Runs a statement on it as its owner.
    ///
    /// # Panics
    /// When it fails.
    pub async fn sql(&self, sql: &str) {
        let login = Login { socket_dir: &self.socket_dir, port: 5432, user: USER, password: &self.password };
        let run = with_client(login, &self.database, async |client| client.simple_query(sql).await);
        must(run.await, "run a statement on a standby");
    }
}

fn copy(primary: &PrivatePostgres, layout: &Layout, options: &Options) -> Result<(), String> {
    let text = |error: crate::StartError| error.to_string();
    let account = Account::choose().map_err(text)?;
    let install = Install::find(options.install_dir.as_deref(), &options.candidates).map_err(text)?;
    layout.admit(account).map_err(text)?;
    // one that others may look into is refused
    let create = std::fs::DirBuilder::new().mode(0o700).create(&layout.cluster);
    create.map_err(|error| error.to_string())?;
    account.own(&layout.cluster).map_err(text)?;
    let slot = format!("standby_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut command = account.command(&install.program("pg_basebackup"));
    command.arg("--pgdata").arg(&layout.cluster);
    command.arg("--host").arg(&primary.layout().socket_dir).arg("--port").arg(primary.port().to_string());
    command.args(["--username", USER, "--checkpoint=fast", "--no-sync", "--write-recovery-conf"]);
    command.args(["--create-slot", "--slot", &slot]);
    command.env("PGPASSWORD", primary.password().expose_secret());
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn must<T, E: std::fmt::Display>(outcome: Result<T, E>, what: &str) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("cannot {what}: {error}"),
    }
}
