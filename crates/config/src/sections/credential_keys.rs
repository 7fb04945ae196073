//! The keys that providers' credentials from the API are sealed with.

use std::path::{Path, PathBuf};

use embermesh_sealing::{BadKeys, Keys};

use super::embedding::Security;
use crate::Secret;

/// Why the keys that are configured cannot be used. Never quotes them.
#[derive(Debug, thiserror::Error)]
pub enum UnusableKeys {
    /// Both places name some.
    #[error("embedding.security: give credential_keys or credential_keys_file, not both")]
    Both,
    /// There is no such file, or it is not for us.
    #[error("embedding.security.credential_keys_file: cannot read {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// There is something else in it.
    #[error("embedding.security.{place}: {problem}")]
    Bad {
        /// The setting.
        place: &'static str,
        /// What is wrong.
        problem: BadKeys,
    },
}

impl Security {
    /// The keys, where there are any.
    ///
    /// # Errors
    /// See [`UnusableKeys`].
    pub fn sealing_keys(&self) -> Result<Option<Keys>, UnusableKeys> {
        let given = self.credential_keys.as_ref().map(Secret::reveal).filter(|keys| !keys.trim().is_empty());
        match (given, &self.credential_keys_file) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(UnusableKeys::Both),
            (Some(keys), None) => parse("credential_keys", keys),
            (None, Some(path)) => parse("credential_keys_file", &read(path)?),
        }
    }
}

fn read(path: &Path) -> Result<String, UnusableKeys> {
    std::fs::read_to_string(path).map_err(|error| UnusableKeys::File { path: path.to_owned(), error })
}

fn parse(place: &'static str, text: &str) -> Result<Option<Keys>, UnusableKeys> {
    Keys::parse(text).map(Some).map_err(|problem| UnusableKeys::Bad { place, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_one_place_and_bad_ones_are_not_quoted() {
        let key = format!("1:{}", "ab".repeat(32));
        let given = |keys: &str| Some(Secret::new(keys));
        let of = |credential_keys, credential_keys_file: Option<&Path>| {
            let credential_keys_file = credential_keys_file.map(Path::to_owned);
            Security { credential_keys, credential_keys_file, ..Security::default() }.sealing_keys()
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{key}\n2:{}\n", "cd".repeat(32))).unwrap();
        assert!(of(None, None).unwrap().is_none() && of(given(" "), None).unwrap().is_none());
        assert_eq!(of(given(&key), None).unwrap().unwrap().newest(), 1);
        assert_eq!(of(None, Some(file.path())).unwrap().unwrap().newest(), 2);
        for error in [
            of(given(&key), Some(file.path())).unwrap_err(),
            of(given("1:canary"), None).unwrap_err(),
            of(None, Some(Path::new("/no/such/file"))).unwrap_err(),
        ] {
            assert!(
                !error.to_string().contains("canary") && !format!("{error:?}").contains("canary"),
                "{error}"
            );
        }
    }
}
