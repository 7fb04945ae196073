//! The snapshot of Redis, made by itself in the background (`BGSAVE`) and sent over the wire, for `redis-cli` to write down. Nothing in
//! Redis is needed: a snapshot spares the calls that fill the cache again.

use std::{fs, process::Command};

use secrecy::{ExposeSecret, SecretString};

use crate::{
    BackupError, Storage,
    error::file,
    manifest::{Kind, Manifest},
    programs::run,
    taking::Taking,
};

const PROGRAM: &str = "redis-cli";
/// Every snapshot begins so.
const MAGIC: &[u8] = b"REDIS";

/// A Redis, or a node of a cluster.
#[derive(Debug, Clone)]
pub struct Instance {
    /// `redis://user@host:6379/0`, without the password.
    pub url: String,
    /// Its password.
    pub password: Option<SecretString>,
}

impl Instance {
    /// Of `redis://user:password@host:port`, or of `host:port`.
    pub fn parse(text: &SecretString) -> Self {
        let text = text.expose_secret();
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        Self { url: format!("{scheme}://{user}{place}"), password: password.map(SecretString::from) }
    }
}

/// Takes the snapshot of each.
///
/// # Errors
/// When one of them cannot be reached, or `redis-cli` is missing: then nothing counts as a backup.
pub async fn take(storage: &Storage, instances: &[Instance]) -> Result<Manifest, BackupError> {
    let mut taking = Taking::begin(storage, Kind::Redis);
    let staging = storage.staging()?;
    for (at, instance) in instances.iter().enumerate() {
        let path = staging.path().join("dump.rdb");
        let mut command = Command::new(PROGRAM);
        command.args(["--no-auth-warning", "-u", &instance.url, "--rdb"]).arg(&path);
        if let Some(password) = &instance.password {
            command.env("REDISCLI_AUTH", password.expose_secret());
        }
        run(command).await?;
        let text = fs::read(&path).map_err(file(&path))?;
        if !text.starts_with(MAGIC) {
            let url = &instance.url;
            return Err(BackupError::Damaged(format!("what {url} sent is no snapshot of Redis")));
        }
        let name = if at == 0 { "dump.rdb".to_owned() } else { format!("dump-{at}.rdb") };
        taking.add(&name, &path).await?;
    }
    taking.finish(None, Vec::new()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_part_of_what_other_processes_see() {
        for (text, url, password) in [
            ("redis://:secret@h:6380/1", "redis://h:6380/1", Some("secret")),
            ("rediss://u:p@h", "rediss://u@h", Some("p")),
            ("redis:6379", "redis://redis:6379", None),
        ] {
            let instance = Instance::parse(&text.into());
            assert_eq!(instance.url, url);
            assert_eq!(instance.password.as_ref().map(|password| password.expose_secret()), password);
        }
    }
}
