//! Under whom PostgreSQL's programs run: it refuses to run as root.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::StartError;
use crate::error::file;

const NAMESPACE: [&str; 3] = ["--user", "--map-user=65534", "--map-group=65534"];

/// How to become somebody other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// We are not root: stay who we are.
    Caller,
    /// Still root to the file system, but `nobody` to itself. Needs no account that can read our directories.
    UserNamespace,
    /// An unprivileged account of the machine, which must be able to reach the programs and the data.
    Unprivileged {
        /// Its user id.
        uid: u32,
        /// Its main group.
        gid: u32,
    },
}

impl Account {
    /// The best way that works on this machine.
    pub(crate) fn choose() -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Caller);
        }
        // containers commonly forbid user namespaces
        let works = Command::new("unshare")
            .args(NAMESPACE)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if works { Ok(Self::UserNamespace) } else { Self::unprivileged() }
    }

    pub(crate) fn unprivileged() -> Result<Self, StartError> {
        let path = Path::new("/etc/passwd");
        let accounts = fs::read_to_string(path).map_err(file("read", path))?;
        ["postgres", "nobody"].iter().find_map(|name| find_account(&accounts, name)).ok_or_else(|| {
            StartError::NoAccount(
                "there is neither an account `postgres` nor `nobody`; run as another user".into(),
            )
        })
    }

    /// A command that runs `program` under this account, with nothing of PostgreSQL's in its environment.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = match self {
            Self::UserNamespace => {
                let mut command = Command::new("unshare");
                command.args(NAMESPACE).arg("--").arg(program);
                command
            }
            Self::Caller => Command::new(program),
            Self::Unprivileged { uid, gid } => {
                let mut command = Command::new(program);
                command.uid(uid).gid(gid);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        // the caller's directory may be closed to the account, and need not outlive the caller
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Makes `path` and everything in it this account's. A directory may have been made under another one.
    pub(crate) fn own(self, path: &Path) -> Result<(), StartError> {
        let (uid, gid) = match self {
            Self::Caller => return Ok(()),
            Self::UserNamespace => (0, 0),
            Self::Unprivileged { uid, gid } => (uid, gid),
        };
        let metadata = fs::symlink_metadata(path).map_err(file("inspect", path))?;
        // links may lead anywhere
        if metadata.is_symlink() {
            return Ok(());
        }
        if metadata.uid() != uid {
            chown(path, Some(uid), Some(gid)).map_err(file("change the owner of", path))?;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(path).map_err(file("list", path))? {
                self.own(&entry.map_err(file("list", path))?.path())?;
            }
        }
        Ok(())
    }
}

fn find_account(passwd: &str, name: &str) -> Option<Account> {
    let mut fields = passwd
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    (uid != 0).then_some(Account::Unprivileged { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_accounts_by_their_whole_name_and_never_root() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nmypostgres:x:7:7::/:/bin/sh\npostgres:x:101:104:,,,:/var:/bin/sh\n";
        assert_eq!(find_account(passwd, "postgres"), Some(Account::Unprivileged { uid: 101, gid: 104 }));
        assert_eq!(find_account(passwd, "nobody"), None);
        assert_eq!(find_account(passwd, "root"), None);
    }
}
