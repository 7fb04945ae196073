//! Finds PostgreSQL's programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::StartError;

const DIR_VARIABLE: &str = "EMBERMESH_POSTGRES_DIR";
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";
const OLDEST_MAJOR: u32 = 15;

/// The directory with the programs of one PostgreSQL that has pgvector.
#[derive(Debug, Clone)]
pub(crate) struct Install {
    bin: PathBuf,
    pub(crate) major: u32,
}

impl Install {
    /// Takes `given` or the environment's directory and nothing else where one of them is set; otherwise the first
    /// usable one of `candidates` and of what is installed on the machine.
    pub(crate) fn find(given: Option<&Path>, candidates: &[PathBuf]) -> Result<Self, StartError> {
        let mut searched = Vec::new();
        for bin in Self::places(given, candidates) {
            match Self::inspect(&bin) {
                Ok(install) => return Ok(install),
                Err(reason) => searched.push(format!("{}: {reason}", bin.display())),
            }
        }
        if searched.is_empty() {
            searched.push("none on this machine".to_owned());
        }
        Err(StartError::NotInstalled { searched: searched.join("; ") })
    }

    /// Directories with programs, likeliest first.
    pub(crate) fn places(given: Option<&Path>, candidates: &[PathBuf]) -> Vec<PathBuf> {
        let named = given.map(Path::to_owned).or_else(|| std::env::var_os(DIR_VARIABLE).map(PathBuf::from));
        match named {
            Some(named) => vec![named.join("bin")],
            None => candidates.iter().map(|dir| dir.join("bin")).chain(on_this_machine()).collect(),
        }
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    fn inspect(bin: &Path) -> Result<Self, String> {
        // resolved once, so that relative and linked directories mean the same to the child
        let bin = bin.canonicalize().map_err(|error| error.to_string())?;
        for program in ["postgres", "initdb"] {
            if !bin.join(program).is_file() {
                return Err(format!("no program {program}"));
            }
        }
        let version = output(&bin.join("postgres"), "--version")?;
        let major = major(&version).ok_or_else(|| format!("unknown version `{version}`"))?;
        if major < OLDEST_MAJOR {
            return Err(format!("version {major} is older than {OLDEST_MAJOR}"));
        }
        let near = bin.with_file_name("share").join("postgresql/extension/vector.control");
        let has_vector = near.is_file()
            || output(&bin.join("pg_config"), "--sharedir")
                .is_ok_and(|share| Path::new(&share).join("extension/vector.control").is_file());
        if !has_vector {
            return Err("the pgvector extension is not installed".to_owned());
        }
        Ok(Self { bin, major })
    }
}

fn on_this_machine() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        output(Path::new("pg_config"), "--bindir").ok().map(PathBuf::from).into_iter().collect();
    let mut packaged: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN_ROOT)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    packaged.sort_unstable_by_key(|(major, _)| std::cmp::Reverse(*major));
    for (_, bin) in packaged {
        if !places.contains(&bin) {
            places.push(bin);
        }
    }
    places
}

fn output(program: &Path, argument: &str) -> Result<String, String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .map_err(|error| format!("{} does not run: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} does not run: {}",
            program.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `postgres (PostgreSQL) 16.14 (Debian …)` → 16
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version() {
        for (text, expected) in [
            ("postgres (PostgreSQL) 16.14", Some(16)),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 19beta1", Some(19)),
            ("postgres", None),
        ] {
            assert_eq!(major(text), expected, "{text}");
        }
    }

    #[test]
    fn a_named_directory_without_postgresql_is_an_error_that_says_what_to_do() {
        let empty = tempfile::tempdir().unwrap();
        let error = Install::find(Some(empty.path()), &[]).unwrap_err().to_string();
        assert!(error.contains("scripts/setup.sh") && error.contains("DATABASE_URL"), "{error}");
        assert!(error.contains(empty.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_postgresql_without_pgvector_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for (name, prints) in
            [("postgres", "postgres (PostgreSQL) 16.1"), ("initdb", ""), ("pg_config", "/nowhere")]
        {
            let path = bin.join(name);
            fs::write(&path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        let error = Install::find(Some(dir.path()), &[]).unwrap_err().to_string();
        assert!(error.contains("pgvector extension is not installed"), "{error}");
    }
}
