//! Real databases for tests: one server per test process, a fresh database per test, nothing left behind.
//!
//! Rust never drops a static, and a test process may be killed at any moment. So a small watcher holds the other end
//! of a pipe, and when this process is gone, however it went, it stops the server and removes its directory.

#![expect(clippy::panic, reason = "a test without its database has failed")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use crate::{Options, PrivatePostgres};

const WATCHER: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" &&
while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
rm -rf "$1"
"#;

static SERVER: OnceCell<SharedServer> = OnceCell::const_new();
static NEXT: AtomicU32 = AtomicU32::new(1);

struct SharedServer {
    postgres: PrivatePostgres,
    // its standard input is the pipe
    _watcher: Child,
}

/// A database of this test alone, with pgvector.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    url: SecretString,
    name: String,
}

impl TestDatabase {
    /// Creates it on the test process's server, which the first call starts.
    ///
    /// # Panics
    /// When there is no PostgreSQL; the message names the set-up script.
    pub async fn create() -> Self {
        let server = SERVER.get_or_init(SharedServer::start).await;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match server.postgres.create_database(&name).await {
            Ok(url) => Self { url, name },
            Err(error) => panic!("cannot create the database of this test: {error}"),
        }
    }

    /// Connects as the owner and superuser.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// Connects as another user to this database.
    pub fn url_as(&self, user: &str, password: &str) -> SecretString {
        let url = self.url.expose_secret();
        match url.split_once('@') {
            Some((_, place)) => format!("postgresql://{user}:{password}@{place}").into(),
            None => panic!("the test url has no user"),
        }
    }

    /// Its name, unique in this process.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl SharedServer {
    async fn start() -> Self {
        let dir = match tempfile::Builder::new().prefix("embermesh-test-").tempdir() {
            Ok(dir) => dir.keep(),
            Err(error) => panic!("cannot create a temporary directory: {error}"),
        };
        let watcher = match watch(&dir) {
            Ok(watcher) => watcher,
            Err(error) => panic!("cannot start the watcher of the test database: {error}"),
        };
        match PrivatePostgres::start(test_options(&dir)).await {
            Ok(postgres) => Self { postgres, _watcher: watcher },
            Err(error) => panic!("tests need a PostgreSQL with pgvector, run scripts/setup.sh: {error}"),
        }
    }
}

/// Options for a server of a test's own, fast and forgetful, in `dir`.
pub fn test_options(dir: &Path) -> Options {
    let tools = std::env::var_os("EMBERMESH_TOOLS_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"), PathBuf::from);
    Options { candidates: vec![tools.join("postgres")], durable: false, ..Options::new(dir) }
}

fn watch(dir: &Path) -> std::io::Result<Child> {
    Command::new("sh")
        .args(["-c", WATCHER, "watcher"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C is for the tests; the watcher must outlive them
        .process_group(0)
        .spawn()
}
