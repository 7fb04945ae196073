//! A folder: files appear under their names when they are whole and on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use embermesh_types::Clock;
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{BackupError, error::file, storage::Object};

const STAGING: &str = ".staging-";
/// What a run that was killed left is removed after so long.
const LEFT_BEHIND: Duration = Duration::from_secs(48 * 3600);

/// A folder of backups, closed to everybody else: they hold secrets.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(crate) const fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn staging(&self) -> Result<TempDir, BackupError> {
        make_dir(&self.root)?;
        self.sweep();
        tempfile::Builder::new().prefix(STAGING).tempdir_in(&self.root).map_err(file(&self.root))
    }

    fn sweep(&self) {
        let now = Clock::system().now();
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > LEFT_BEHIND));
            if old && entry.file_name().to_string_lossy().starts_with(STAGING) {
                // whoever wrote it is gone; what cannot be removed is tried again
                let _tried_again = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub(crate) fn put(&self, name: &str, source: &Path) -> Result<(), BackupError> {
        let target = self.prepare(name)?;
        let write = || {
            fs::set_permissions(source, fs::Permissions::from_mode(0o600))?;
            File::open(source)?.sync_all()?;
            match fs::rename(source, &target) {
                Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                    let part = target.with_extension("part");
                    fs::copy(source, &part)?;
                    File::open(&part)?.sync_all()?;
                    fs::rename(&part, &target)?;
                }
                renamed => renamed?,
            }
            sync_parent(&target)
        };
        write().map_err(file(&target))
    }

    /// `false`: something is there, and `over` does not allow to take its place.
    pub(crate) fn put_bytes(&self, name: &str, bytes: &[u8], over: bool) -> Result<bool, BackupError> {
        let target = self.prepare(name)?;
        let part = target.with_file_name(format!(".{}-{:016x}", file_name(&target), rand::random::<u64>()));
        let write = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            if over {
                fs::rename(&part, &target)?;
            } else {
                // unlike a renaming, a link never takes the place of what is there
                let linked = fs::hard_link(&part, &target);
                fs::remove_file(&part)?;
                match linked {
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                    linked => linked?,
                }
            }
            sync_parent(&target)?;
            Ok(true)
        };
        let written = write();
        if written.is_err() {
            let _never_made = fs::remove_file(&part);
        }
        written.map_err(file(&target))
    }

    pub(crate) fn get(&self, name: &str, to: &Path) -> Result<(), BackupError> {
        let from = self.root.join(name);
        let mut source = File::open(&from).map_err(file(&from))?;
        let mut target =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(file(to))?;
        io::copy(&mut source, &mut target).map(drop).map_err(file(to))
    }

    pub(crate) fn get_bytes(&self, name: &str) -> Result<Option<Bytes>, BackupError> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file(&path)(error)),
        }
    }

    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<Object>, BackupError> {
        let mut found = Vec::new();
        walk(&self.root, &self.root, &mut found).map_err(file(&self.root))?;
        found.retain(|object| object.name.starts_with(prefix));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), BackupError> {
        let path = self.root.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file(&path)(error)),
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != self.root) {
            // the last file takes its folder along
            let _not_empty = fs::remove_dir(parent);
        }
        Ok(())
    }

    fn prepare(&self, name: &str) -> Result<PathBuf, BackupError> {
        let target = self.root.join(name);
        make_dir(target.parent().unwrap_or(&self.root))?;
        Ok(target)
    }
}

fn make_dir(path: &Path) -> Result<(), BackupError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file(path))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name is on the disk too.
fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Names that begin with a dot are files on their way.
fn walk(root: &Path, dir: &Path, found: &mut Vec<Object>) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // somebody may prune at the same time
        let Ok(metadata) = entry.metadata() else { continue };
        let path = entry.path();
        if metadata.is_dir() {
            walk(root, &path, found)?;
        } else if let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) {
            let modified = Timestamp::try_from(metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH));
            let modified = modified.unwrap_or(Timestamp::UNIX_EPOCH);
            found.push(Object { name: name.to_owned(), bytes: metadata.len(), modified });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_takes_no_ones_place_and_nothing_is_left_on_the_way() {
        let dir = TempDir::new().unwrap();
        let directory = Directory::new(dir.path().join("backups"));
        assert!(directory.put_bytes("wal/1", b"one", false).unwrap());
        assert!(!directory.put_bytes("wal/1", b"two", false).unwrap());
        assert_eq!(directory.get_bytes("wal/1").unwrap().unwrap(), "one");
        assert!(directory.put_bytes("wal/1", b"three", true).unwrap());
        assert_eq!(directory.get_bytes("wal/1").unwrap().unwrap(), "three");
        assert_eq!(directory.get_bytes("wal/2").unwrap(), None);
        let names: Vec<_> =
            fs::read_dir(dir.path().join("backups/wal")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["1"]);
        assert_eq!(directory.list("wal/").unwrap().len(), 1);
        directory.delete("wal/1").unwrap();
        directory.delete("wal/1").unwrap();
        assert!(directory.list("").unwrap().is_empty());
    }
}
