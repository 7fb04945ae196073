//! Runs PostgreSQL's programs, and keeps passwords out of the list of processes.

use std::process::{Command, Stdio};

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use crate::BackupError;

/// Where PostgreSQL is, for a program: the URL without its password, and the password for the environment.
pub(crate) struct Login {
    pub(crate) url: String,
    password: Option<SecretString>,
    pub(crate) user: String,
    pub(crate) database: String,
}

impl Login {
    pub(crate) fn of(url: &SecretString) -> Result<Self, BackupError> {
        let wrong = || {
            BackupError::Setting(
                "write the database's URL as postgresql://user:password@host:5432/database".to_owned(),
            )
        };
        let (scheme, rest) = url.expose_secret().split_once("://").ok_or_else(wrong)?;
        if !matches!(scheme, "postgresql" | "postgres") {
            return Err(wrong());
        }
        let (login, place) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (user, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let decode = |text: &str| {
            percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| wrong())
        };
        let database =
            place.split_once('/').map_or("", |(_, name)| name.split('?').next().unwrap_or_default());
        Ok(Self {
            url: format!("{scheme}://{user}{}{place}", if user.is_empty() { "" } else { "@" }),
            password: password.map(decode).transpose()?.map(SecretString::from),
            user: decode(user)?,
            database: decode(database)?,
        })
    }

    /// Lets a program log in.
    pub(crate) fn admit(&self, command: &mut Command) {
        if let Some(password) = &self.password {
            command.env("PGPASSWORD", password.expose_secret());
        }
    }
}

/// Runs a program to its end, and gives what it printed.
pub(crate) async fn run(mut command: Command) -> Result<String, BackupError> {
    let program = std::path::Path::new(command.get_program())
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    command.stdin(Stdio::null());
    let mut command = tokio::process::Command::from(command);
    // whoever ends us ends it too
    let output = command.kill_on_drop(true).output().await;
    let failed = |output: String| BackupError::Program { program: program.clone(), output };
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(failed(lines.get(lines.len().saturating_sub(6)..).unwrap_or_default().join(" | ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_taken_out_of_the_url() {
        let login =
            Login::of(&"postgresql://em:p%40ss:w@%2Frun%2Fx:5432/embeddings?sslmode=disable".into()).unwrap();
        assert_eq!(login.url, "postgresql://em@%2Frun%2Fx:5432/embeddings?sslmode=disable");
        assert_eq!((login.user.as_str(), login.database.as_str()), ("em", "embeddings"));
        let mut command = Command::new("true");
        login.admit(&mut command);
        let password = command.get_envs().find(|(name, _)| *name == "PGPASSWORD").unwrap().1.unwrap();
        assert_eq!(password, "p@ss:w");
        assert_eq!(Login::of(&"postgres://h/d".into()).unwrap().url, "postgres://h/d");
        assert!(
            Login::of(&"host=h password=hunter2".into())
                .err()
                .is_some_and(|e| !e.to_string().contains("hunter2"))
        );
    }
}
