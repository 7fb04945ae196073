//! Makes the cluster (`initdb`) and checks that it fits the programs.

use std::fs;
use std::path::Path;

use secrecy::SecretString;

use crate::StartError;
use crate::account::Account;
use crate::client::USER;
use crate::error::file;
use crate::install::Install;
use crate::layout::{Layout, tail};

/// `C.UTF-8` sorts by code point and knows the letters of all scripts; plain `C` is there on every system.
const LOCALES: [&str; 2] = ["C.UTF-8", "C"];

pub(crate) fn ensure(
    layout: &Layout,
    install: &Install,
    account: Account,
    password: &SecretString,
    durable: bool,
) -> Result<(), StartError> {
    if layout.cluster.exists() {
        let path = layout.cluster.join("PG_VERSION");
        let found = fs::read_to_string(&path).map_err(file("read", &path))?.trim().to_owned();
        if found != install.major.to_string() {
            return Err(StartError::WrongVersion {
                dir: layout.dir.clone(),
                found,
                installed: install.major.to_string(),
            });
        }
        return account.own(&layout.cluster);
    }
    // built aside and renamed: an interrupted initdb never looks like a cluster
    let aside = layout.dir.join("data.new");
    let password_copy = layout.dir.join("password.new");
    let mut outcome = Ok(());
    for locale in LOCALES {
        remove(&aside)?;
        fs::create_dir(&aside).map_err(file("create", &aside))?;
        account.own(&aside)?;
        layout.write_secret(&password_copy, password)?;
        account.own(&password_copy)?;
        outcome = initdb(install, account, &aside, &password_copy, locale, durable);
        fs::remove_file(&password_copy).map_err(file("remove", &password_copy))?;
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    fs::rename(&aside, &layout.cluster).map_err(file("rename", &aside))
}

fn initdb(
    install: &Install,
    account: Account,
    cluster: &Path,
    password_file: &Path,
    locale: &str,
    durable: bool,
) -> Result<(), StartError> {
    let failed = |output: String| StartError::Program { program: "initdb", output };
    let mut command = account.command(&install.program("initdb"));
    command.arg("--pgdata").arg(cluster).arg("--pwfile").arg(password_file);
    command.args(["--username", USER, "--encoding", "UTF8", "--locale", locale]);
    command.args(["--auth-local", "scram-sha-256", "--auth-host", "scram-sha-256", "--no-instructions"]);
    if !durable {
        command.arg("--no-sync");
    }
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(tail(&String::from_utf8_lossy(&output.stderr))))
}

fn remove(dir: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file("remove", dir)(error)),
        _ => Ok(()),
    }
}
