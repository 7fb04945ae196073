//! The directory of one process's journal: whose it is, held by a lock while that process lives, and on which boot of the machine it
//! was written.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use uuid::Uuid;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const LOCK: &str = "lock";
const HEADER: &str = "header";
/// The last digit is the version of the form.
const MAGIC: &str = "EMBJRNL1";
/// Directories that are not complete yet begin so.
const UNFINISHED: &str = "new-";

/// A session's directory, which nobody else has.
#[derive(Debug)]
pub(crate) struct Session {
    pub id: String,
    pub dir: PathBuf,
    /// The same boot of the machine as now: what was written is there, to the last byte.
    pub same_boot: bool,
    /// Held for as long as this lives.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is what it does while it is open"))]
    lock: File,
}

impl Session {
    /// A new one under `journal`.
    pub fn create(journal: &Path, id: Uuid) -> io::Result<Self> {
        fs::create_dir_all(journal)?;
        let id = id.to_string();
        // whoever looks for old sessions finds this one complete and locked, or not at all
        let unfinished = journal.join(format!("{UNFINISHED}{id}"));
        fs::create_dir(&unfinished)?;
        let lock = lock(&unfinished)?.ok_or_else(|| io::Error::other("a new journal is locked already"))?;
        let mut header = File::create(unfinished.join(HEADER))?;
        writeln!(header, "{MAGIC} {}", boot().unwrap_or_default())?;
        header.sync_all()?;
        let dir = journal.join(&id);
        fs::rename(&unfinished, &dir)?;
        File::open(journal)?.sync_all()?;
        Ok(Self { id, dir, same_boot: true, lock })
    }

    /// The sessions under `journal` whose processes are gone.
    pub fn left_behind(journal: &Path) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(journal)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(rest) = name.strip_prefix(UNFINISHED) {
                // nothing was ever written to it
                if rest.parse::<Uuid>().is_ok() && lock(&path)?.is_some() {
                    fs::remove_dir_all(&path)?;
                }
                continue;
            }
            if name.parse::<Uuid>().is_err() {
                continue;
            }
            if let Some(lock) = lock(&path)? {
                found.push(Self { id: name.to_owned(), same_boot: is_of_this_boot(&path), lock, dir: path });
            }
        }
        // the oldest first
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }

    #[cfg(test)]
    pub fn unlock(&self) {
        self.lock.unlock().unwrap();
    }

    /// Removes it; everything in it is in the books.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.dir)
    }
}

/// `None`: somebody else has it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn boot() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

fn is_of_this_boot(dir: &Path) -> bool {
    let header = fs::read_to_string(dir.join(HEADER)).unwrap_or_default();
    let written = header.trim().strip_prefix(MAGIC).map(str::trim);
    written.is_some_and(|written| boot().is_some_and(|now| now == written))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_once_its_process_is_gone_and_by_one_alone() {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::create(dir.path(), Uuid::from_u128(1)).unwrap();
        assert!(Session::left_behind(dir.path()).unwrap().is_empty());
        drop(session);
        let found = Session::left_behind(dir.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].same_boot);
        assert!(Session::left_behind(dir.path()).unwrap().is_empty());
        found[0].remove().unwrap();
        drop(found);
        assert!(Session::left_behind(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn a_header_of_another_boot_or_none_is_not_of_this_one() {
        let dir = tempfile::tempdir().unwrap();
        for (at, header) in ["EMBJRNL1 another\n", "EMBJRNL1 \n", "", "EMBJRNL9"].iter().enumerate() {
            let session = Session::create(dir.path(), Uuid::from_u128(at as u128)).unwrap();
            fs::write(session.dir.join(HEADER), header).unwrap();
        }
        let session = Session::create(dir.path(), Uuid::from_u128(99)).unwrap();
        fs::remove_file(session.dir.join(HEADER)).unwrap();
        drop(session);
        let found = Session::left_behind(dir.path()).unwrap();
        assert_eq!(found.len(), 5);
        assert!(found.iter().all(|session| !session.same_boot));
    }

    #[test]
    fn what_was_never_finished_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let unfinished = dir.path().join(format!("new-{}", Uuid::from_u128(5)));
        fs::create_dir(&unfinished).unwrap();
        assert!(Session::left_behind(dir.path()).unwrap().is_empty());
        assert!(!unfinished.exists());
    }
}
