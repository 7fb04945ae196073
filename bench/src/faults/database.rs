//! A durable PostgreSQL of the run's own that is killed with all its processes, and started again on what it left.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use embermesh_private_postgres::{Options, PrivatePostgres, test_options};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secrecy::{ExposeSecret, SecretString};

use super::FaultError;

/// How long PostgreSQL may take to be back.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// The server, or where it lay when it was killed.
#[derive(Debug)]
pub struct Database {
    options: Options,
    running: Option<PrivatePostgres>,
    url: SecretString,
}

impl Database {
    /// Makes and starts it in this folder.
    ///
    /// # Errors
    /// When there is no PostgreSQL with pgvector.
    pub async fn start(folder: &Path) -> Result<Self, FaultError> {
        // what was committed must outlive the processes: with the tests' asynchronous commits it would not
        let options = Options { durable: true, start_timeout: PATIENCE, ..test_options(folder) };
        let running = PrivatePostgres::start(options.clone()).await?;
        let url = running.connection_url().clone();
        Ok(Self { options, running: Some(running), url })
    }

    /// How to connect as its owner; stays the same.
    #[must_use]
    pub fn url(&self) -> &str {
        self.url.expose_secret()
    }

    /// SIGKILL for the main process and each of its children.
    ///
    /// # Errors
    /// When it does not run, or cannot be killed.
    pub async fn kill(&mut self) -> Result<(), FaultError> {
        let server = self.running.take().ok_or("postgresql was killed before")?;
        let pid = server.pid().ok_or("postgresql has no process")?;
        let children = children(pid);
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        for child in children {
            // it may have ended by itself
            let _gone = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        // reaps it
        tokio::task::spawn_blocking(move || drop(server)).await?;
        Ok(())
    }

    /// Starts it on what the killed one left.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn start_again(&mut self) -> Result<(), FaultError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match PrivatePostgres::start(self.options.clone()).await {
                Ok(running) => {
                    self.running = Some(running);
                    return Ok(());
                }
                // a process that was in the kernel when it was killed may hold the memory of the old server for a moment
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Ends it in good order.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(mut self) -> Result<(), FaultError> {
        match self.running.take() {
            Some(running) => Ok(running.stop().await?),
            None => Ok(()),
        }
    }
}

fn children(pid: i32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_committed_outlives_kill_9() {
        let folder = tempfile::TempDir::new().unwrap();
        let mut database = Database::start(folder.path()).await.unwrap();
        let connect = async |url: &str| {
            let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(connection);
            (client, tasks)
        };
        let (client, tasks) = connect(database.url()).await;
        client.batch_execute("CREATE TABLE kept (n integer); INSERT INTO kept VALUES (7)").await.unwrap();
        database.kill().await.unwrap();
        assert!(client.simple_query("SELECT 1").await.is_err(), "it is still there");
        drop(tasks);
        database.start_again().await.unwrap();
        let (client, _tasks) = connect(database.url()).await;
        let kept: i32 = client.query_one("SELECT n FROM kept", &[]).await.unwrap().get(0);
        assert_eq!(kept, 7);
        database.stop().await.unwrap();
    }
}
