//! The key that anchors are signed with: one that the operator gives, or one that is made once in the data folder.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::AnchoringError;
use crate::domain::anchor::Seal;

const OWN: &str = "audit.key";

/// The seal; `None` without a file and without a folder.
pub(super) fn seal(file: Option<&Path>, data_dir: Option<&Path>) -> Result<Option<Seal>, AnchoringError> {
    let own = data_dir.map(|dir| dir.join(OWN));
    let Some(path) = file.or(own.as_deref()) else { return Ok(None) };
    let wrong = |cause: String| AnchoringError::Key { path: path.to_owned(), cause };
    let unreadable = |error: io::Error| wrong(format!("cannot be read: {error}"));
    let pem = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => {
            let (_, pem) = Seal::generate().map_err(|error| wrong(error.to_string()))?;
            write_once(path, &pem).map_err(|error| wrong(format!("cannot be written: {error}")))?;
            // another process may have been faster
            fs::read_to_string(path).map_err(unreadable)?
        }
        read => read.map_err(unreadable)?,
    };
    Seal::of_pem(&pem).map(Some).map_err(|error| wrong(error.to_string()))
}

/// Writes a file that is whole when it appears, and leaves one alone that is there.
fn write_once(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("key.{}", std::process::id()));
    let mut new =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // the name must outlive a crash, or there would be anchors of a key that nobody has
    fs::File::open(path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_where_nothing_was_said() {
        let dir = tempfile::tempdir().unwrap();
        assert!(seal(None, None).unwrap().is_none());
        let made = seal(None, Some(dir.path())).unwrap().unwrap();
        let file = dir.path().join(OWN);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let again = seal(None, Some(dir.path())).unwrap().unwrap();
        assert_eq!(again.public_key(), made.public_key());
        let named = seal(Some(&file), None).unwrap().unwrap();
        assert_eq!(named.public_key(), made.public_key());

        let missing = dir.path().join("other.key");
        let refused = seal(Some(&missing), Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("other.key cannot be read"), "{refused}");
        assert!(!missing.exists());
        fs::write(&file, "nonsense").unwrap();
        let refused = seal(None, Some(dir.path())).unwrap_err().to_string();
        assert!(refused.contains("openssl genpkey"), "{refused}");
    }
}
