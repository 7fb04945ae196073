//! Debian's PostgreSQL 15, which has what the embedded one lacks: extensions, and TLS. It takes no connection without TLS.

use std::{
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::running::{Process, free_port, wait_until};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
pub const PASSWORD: &str = "of-debians-postgres-in-tests";
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
shared_preload_libraries = 'pg_stat_statements'
ssl = on
fsync = off
max_connections = 200
";

pub struct DebianPostgres {
    pub port: u16,
    server: Process,
    _folder: TempDir,
}

impl DebianPostgres {
    /// An empty server with a database `embeddings`.
    pub async fn start() -> Self {
        let missing = "Debian's PostgreSQL 15 is missing: run scripts/setup.sh --tests";
        assert!(Path::new(PROGRAMS).join("postgres").is_file(), "{missing}");
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        std::fs::write(&password, PASSWORD).unwrap();
        give(&[folder.path(), &password]);
        let mut initdb = program("initdb");
        initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]);
        initdb.arg("--pgdata").arg(&data).arg("--pwfile").arg(&password).current_dir(folder.path());
        succeeded(&mut initdb);
        certificate(&data);
        let port = free_port();
        let config = data.join("postgresql.conf");
        let shipped = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{shipped}{SETTINGS}port = {port}\n")).unwrap();
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 scram-sha-256\n").unwrap();
        let mut postgres = program("postgres");
        postgres.arg("-D").arg(&data);
        let server = Process::spawn(postgres, folder.path().join("postgres.log"));
        let this = Self { port, server, _folder: folder };
        wait_until(|| async { this.psql("postgres", "SELECT 1").0 }).await;
        let (made, said) = this.psql("postgres", "CREATE DATABASE embeddings");
        assert!(made, "{said}\n{}", this.server.log());
        this
    }

    /// Whether a statement succeeded for the owner, over TLS, and what psql printed.
    pub fn psql(&self, database: &str, statement: &str) -> (bool, String) {
        let arguments =
            ["--no-psqlrc", "--tuples-only", "--no-align", "--dbname", database, "--command", statement];
        self.run("psql", &arguments)
    }

    /// One of PostgreSQL's own programs against this server.
    pub fn run(&self, name: &str, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(Path::new(PROGRAMS).join(name));
        command
            .args(["--host=127.0.0.1", "--username=postgres", "--port", &self.port.to_string()])
            .args(arguments);
        command.env("PGPASSWORD", PASSWORD).env("PGSSLMODE", "require");
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for DebianPostgres {
    fn drop(&mut self) {
        self.server.signal("INT");
        let _ended = self.server.child.wait();
    }
}

/// PostgreSQL refuses to run as root: then it runs as the user that its package has made.
fn program(name: &str) -> Command {
    let path = Path::new(PROGRAMS).join(name);
    if owner().is_none() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}

/// User and group of PostgreSQL, where we are root.
fn owner() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| (id(&["-u", "postgres"]).unwrap(), id(&["-g", "postgres"]).unwrap()))
}

fn give(paths: &[&Path]) {
    if let Some((user, group)) = owner() {
        for path in paths {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

fn certificate(data: &Path) {
    let (key, certificate): (PathBuf, PathBuf) = (data.join("server.key"), data.join("server.crt"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-new",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    succeeded(&mut openssl);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    give(&[&key, &certificate]);
}

fn succeeded(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}
