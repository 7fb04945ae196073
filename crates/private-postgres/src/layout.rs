//! Where everything lies inside the directory, and the password.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::StartError;
use crate::account::Account;
use crate::error::file;

/// The operating system's limit for the path of a socket.
const LONGEST_SOCKET_PATH: usize = 107;
const STARTED_WITH: &str = "settings";
const SOCKET_NAME: &str = "/.s.PGSQL.65535";

/// The paths of one private server.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) cluster: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) start_log: PathBuf,
    pub(crate) socket_dir: PathBuf,
    pub(crate) password: PathBuf,
    pub(crate) owner_lock: PathBuf,
    pub(crate) pid_file: PathBuf,
}

impl Layout {
    /// Creates the directory itself where it is missing.
    pub(crate) fn prepare(dir: &Path) -> Result<Self, StartError> {
        fs::create_dir_all(dir).map_err(file("create", dir))?;
        let dir = dir.canonicalize().map_err(file("resolve", dir))?;
        Ok(Self::of(dir))
    }

    /// The same of a directory that holds a cluster already.
    pub(crate) fn existing(dir: &Path) -> Option<Self> {
        Some(Self::of(dir.canonicalize().ok()?)).filter(|layout| layout.cluster.is_dir())
    }

    fn of(dir: PathBuf) -> Self {
        Self {
            cluster: dir.join("data"),
            log: dir.join("log"),
            start_log: dir.join("log/start.log"),
            socket_dir: socket_dir(&dir, &std::env::temp_dir()),
            password: dir.join("password"),
            owner_lock: dir.join("owner.lock"),
            pid_file: dir.join("data/postmaster.pid"),
            dir,
        }
    }

    /// Lets another account pass through the directory to what belongs to it, and see nothing else.
    pub(crate) fn admit(&self, account: Account) -> Result<(), StartError> {
        if let Account::Unprivileged { .. } = account {
            let open = Permissions::from_mode(0o711);
            fs::set_permissions(&self.dir, open).map_err(file("open", &self.dir))?;
        }
        Ok(())
    }

    /// Creates what the server writes into, closed to everybody else.
    pub(crate) fn create_server_dirs(&self, account: Account) -> Result<(), StartError> {
        for path in [&self.log, &self.socket_dir] {
            if !path.exists() {
                fs::DirBuilder::new().mode(0o700).create(path).map_err(file("create", path))?;
            }
            let metadata = fs::symlink_metadata(path).map_err(file("inspect", path))?;
            // the socket's directory may lie in the world-writable temporary directory
            let trusted = path.starts_with(&self.dir) || is_ours(metadata.uid(), account);
            if !metadata.is_dir() || !trusted {
                let taken = std::io::Error::other("it belongs to somebody else; remove it");
                return Err(file("use", path)(taken));
            }
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(file("close", path))?;
            account.own(path)?;
        }
        Ok(())
    }

    /// The password of the private server's only user, made at the first start.
    pub(crate) fn password(&self) -> Result<SecretString, StartError> {
        match fs::read_to_string(&self.password) {
            Ok(password) => return Ok(password.trim().into()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(file("read", &self.password)(error)),
        }
        if self.cluster.exists() {
            return Err(StartError::PasswordLost { password: self.password.clone(), dir: self.dir.clone() });
        }
        let password: String = rand::random::<[u8; 24]>().iter().map(|byte| format!("{byte:02x}")).collect();
        let password = SecretString::from(password);
        self.write_secret(&self.password, &password)?;
        Ok(password)
    }

    pub(crate) fn write_secret(&self, path: &Path, secret: &SecretString) -> Result<(), StartError> {
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            writeln!(file, "{}", secret.expose_secret())?;
            file.sync_all()
        };
        write().map_err(file("write", path))
    }

    /// The further settings that the server was started with, for who would adopt it.
    pub(crate) fn started_with(&self) -> String {
        fs::read_to_string(self.dir.join(STARTED_WITH)).unwrap_or_default()
    }

    pub(crate) fn note_settings(&self, settings: &str) -> Result<(), StartError> {
        let path = self.dir.join(STARTED_WITH);
        fs::write(&path, settings).map_err(file("write", &path))
    }

    /// The end of what PostgreSQL said, for an error message.
    pub(crate) fn log_tail(&self) -> String {
        let newest = fs::read_dir(&self.log)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() > 0))
            .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
        let text = newest.and_then(|entry| fs::read(entry.path()).ok()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&text))
    }
}

/// The last lines of a program's output, on one line.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(6)..).unwrap_or_default().join(" | ")
}

fn is_ours(uid: u32, account: Account) -> bool {
    let us = rustix::process::geteuid().as_raw();
    uid == us || us == 0 && matches!(account, Account::Unprivileged { uid: server, .. } if server == uid)
}

/// `run` inside the directory, or a short path that depends on the directory alone.
fn socket_dir(dir: &Path, temporary: &Path) -> PathBuf {
    let inside = dir.join("run");
    if inside.as_os_str().len() + SOCKET_NAME.len() <= LONGEST_SOCKET_PATH {
        return inside;
    }
    let hash = blake3::hash(dir.as_os_str().as_bytes()).to_hex();
    let name = format!("embermesh-{}", hash.get(..16).unwrap_or_default());
    let elsewhere = temporary.join(&name);
    if elsewhere.as_os_str().len() + SOCKET_NAME.len() <= LONGEST_SOCKET_PATH {
        elsewhere
    } else {
        Path::new("/tmp").join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_path_fits_whatever_the_directory_is() {
        for length in [1, 60, 89, 90, 91, 92, 200, 3000] {
            let dir = PathBuf::from(format!("/{}", "d".repeat(length)));
            for temporary in [Path::new("/tmp"), dir.as_path()] {
                let socket = format!("{}{SOCKET_NAME}", socket_dir(&dir, temporary).display());
                assert!(socket.len() <= LONGEST_SOCKET_PATH, "{socket}");
            }
        }
    }

    #[test]
    fn two_long_directories_do_not_share_a_socket() {
        let socket =
            |end: &str| socket_dir(Path::new(&format!("/{}{end}", "d".repeat(200))), Path::new("/tmp"));
        assert_ne!(socket("a"), socket("b"));
        assert_eq!(socket("a"), socket("a"));
    }
}
