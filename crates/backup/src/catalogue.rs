//! The backups of a storage: found, checked file by file, and let go when they are old.

use std::{collections::BTreeMap, path::Path};

use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::{
    BackupError, Storage, Wal,
    manifest::{Kind, Manifest},
    storage::Object,
    taking::{MANIFEST, hash, now},
};

/// What was interrupted is let go after so long: nobody is at work on it any more.
const INTERRUPTED: SignedDuration = SignedDuration::from_hours(48);

/// The backups of a storage.
#[derive(Debug, Clone)]
pub struct Catalogue {
    storage: Storage,
}

/// A folder of the storage.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    /// A backup whose files are all there, each as large as it was.
    Whole(Manifest),
    /// One that was not finished, or of which something is missing.
    Broken {
        /// Its folder.
        id: String,
        /// What is wrong.
        why: String,
    },
}

/// A backup whose every byte was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Files that are what was written.
    pub files: usize,
    /// Their sizes.
    pub bytes: u64,
}

/// What was let go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Backups.
    pub backups: Vec<String>,
    /// Segments of the log that no backup needs.
    pub segments: usize,
}

impl Catalogue {
    /// Of this storage.
    pub const fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Everything, oldest first.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut listed = Vec::new();
        for (id, objects) in self.folders().await? {
            listed.push(self.look_at(&id, &objects).await?);
        }
        // names begin with the kind
        listed.sort_by_key(|one| {
            (one.id().split_once('-').map(|(_, rest)| rest.to_owned()), one.id().to_owned())
        });
        Ok(listed)
    }

    /// The newest whole backup of a kind that was finished by `until`, or the one of that name.
    ///
    /// # Errors
    /// [`BackupError::NotFound`] when there is none.
    pub async fn find(
        &self,
        kind: Kind,
        id: Option<&str>,
        until: Option<Timestamp>,
    ) -> Result<Manifest, BackupError> {
        let mut best: Option<Manifest> = None;
        for listed in self.list().await? {
            match listed {
                Listed::Broken { id: broken, why } if Some(broken.as_str()) == id => {
                    return Err(BackupError::Damaged(format!("{broken} is no whole backup: {why}")));
                }
                Listed::Whole(manifest)
                    if manifest.kind == kind
                        && id.is_none_or(|id| manifest.id == id)
                        && until.is_none_or(|until| manifest.finished_at <= until)
                        && best.as_ref().is_none_or(|best| best.finished_at <= manifest.finished_at) =>
                {
                    best = Some(manifest);
                }
                _ => {}
            }
        }
        best.ok_or_else(|| {
            let before = until.map_or_else(String::new, |until| format!(" that was finished by {until}"));
            let named = id.map_or_else(String::new, |id| format!(" named {id}"));
            BackupError::NotFound(format!("{} has no whole {kind} backup{named}{before}", self.storage))
        })
    }

    /// Brings every file of a backup into `to`, which must be empty, and holds each against the manifest.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] names the first file that is not what was written.
    pub async fn fetch(&self, manifest: &Manifest, to: &Path) -> Result<Checked, BackupError> {
        let mut checked = Checked { files: 0, bytes: 0 };
        for file in &manifest.files {
            let name = safe(&file.name)?;
            let target = to.join(name);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(crate::error::file(parent))?;
            }
            self.storage.get(&format!("{}/{name}", manifest.id), &target).await?;
            let (bytes, blake3) = hash(&target)?;
            if (bytes, &blake3) != (file.bytes, &file.blake3) {
                let (id, name) = (&manifest.id, &file.name);
                return Err(BackupError::Damaged(format!(
                    "{name} of {id} is not what was written: its hash differs"
                )));
            }
            checked.files += 1;
            checked.bytes += bytes;
        }
        Ok(checked)
    }

    /// Reads every byte of a backup, a file at a time.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn check(&self, manifest: &Manifest) -> Result<Checked, BackupError> {
        let mut checked = Checked { files: 0, bytes: 0 };
        for file in &manifest.files {
            let one = Manifest { files: vec![file.clone()], ..manifest.clone() };
            let scratch: TempDir = self.storage.staging()?;
            let read = self.fetch(&one, scratch.path()).await?;
            checked.files += read.files;
            checked.bytes += read.bytes;
        }
        Ok(checked)
    }

    /// Lets go of backups of a kind that are older than `days`, but never of the newest whole one; of what was interrupted days ago; and
    /// of the log that is older than every base backup.
    ///
    /// # Errors
    /// When the storage cannot be read or written.
    pub async fn prune(&self, kind: Kind, days: u32) -> Result<Pruned, BackupError> {
        let (now, mut pruned) = (now(), Pruned::default());
        let folders = self.folders().await?;
        let mut whole = Vec::new();
        for (id, objects) in folders.iter().filter(|(id, _)| id.starts_with(&format!("{kind}-"))) {
            match self.look_at(id, objects).await? {
                Listed::Whole(manifest) => whole.push(manifest),
                Listed::Broken { .. } => {
                    let touched = objects.iter().map(|object| object.modified).max().unwrap_or(now);
                    if now.duration_since(touched) > INTERRUPTED {
                        self.remove(objects).await?;
                        pruned.backups.push(id.clone());
                    }
                }
            }
        }
        let newest =
            whole.iter().max_by_key(|manifest| manifest.finished_at).map(|manifest| manifest.id.clone());
        let keep = SignedDuration::from_hours(24 * i64::from(days));
        let (old, kept): (Vec<_>, Vec<_>) = whole.into_iter().partition(|manifest| {
            newest.as_ref() != Some(&manifest.id) && now.duration_since(manifest.finished_at) > keep
        });
        for manifest in old {
            if let Some(objects) = folders.get(&manifest.id) {
                self.remove(objects).await?;
            }
            pruned.backups.push(manifest.id);
        }
        let needed = kept
            .iter()
            .filter_map(|manifest| manifest.server.as_ref()?.wal_from.as_deref())
            .min_by_key(|name| {
                // of another timeline or not: what counts is the place in the log
                name.get(8..).map(str::to_owned)
            });
        if let (Kind::Base, Some(needed)) = (kind, needed) {
            pruned.segments = Wal::new(self.storage.clone()).prune(needed).await?;
        }
        Ok(pruned)
    }

    /// The manifest goes first: half of a backup never looks like one.
    async fn remove(&self, objects: &[Object]) -> Result<(), BackupError> {
        let (manifest, files): (Vec<_>, Vec<_>) =
            objects.iter().partition(|object| object.name.ends_with(&format!("/{MANIFEST}")));
        for object in manifest.into_iter().chain(files) {
            self.storage.delete(&object.name).await?;
        }
        Ok(())
    }

    async fn folders(&self) -> Result<BTreeMap<String, Vec<Object>>, BackupError> {
        let mut folders: BTreeMap<String, Vec<Object>> = BTreeMap::new();
        for kind in Kind::ALL {
            for object in self.storage.list(&format!("{kind}-")).await? {
                if let Some((id, _)) = object.name.split_once('/') {
                    folders.entry(id.to_owned()).or_default().push(object);
                }
            }
        }
        Ok(folders)
    }

    async fn look_at(&self, id: &str, objects: &[Object]) -> Result<Listed, BackupError> {
        let broken = |why: String| Listed::Broken { id: id.to_owned(), why };
        let Some(text) = self.storage.get_bytes(&format!("{id}/{MANIFEST}")).await? else {
            return Ok(broken("it was never finished".to_owned()));
        };
        let manifest = match Manifest::read(id, &text) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(broken(error.to_string())),
        };
        let sizes: BTreeMap<&str, u64> = objects
            .iter()
            .filter_map(|object| Some((object.name.split_once('/')?.1, object.bytes)))
            .collect();
        for file in &manifest.files {
            match sizes.get(file.name.as_str()) {
                None => return Ok(broken(format!("{} is missing", file.name))),
                Some(bytes) if *bytes != file.bytes => {
                    return Ok(broken(format!("{} has {bytes} bytes, it had {}", file.name, file.bytes)));
                }
                Some(_) => {}
            }
        }
        Ok(Listed::Whole(manifest))
    }
}

impl Listed {
    /// Its folder.
    pub fn id(&self) -> &str {
        match self {
            Self::Whole(manifest) => &manifest.id,
            Self::Broken { id, .. } => id,
        }
    }
}

/// Names in a manifest lead nowhere else.
fn safe(name: &str) -> Result<&str, BackupError> {
    let good = !name.is_empty() && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    if good { Ok(name) } else { Err(BackupError::Damaged(format!("the manifest names a file `{name}`"))) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::taking::Taking;

    async fn take(storage: &Storage, age_days: i64, wal_from: Option<&str>) -> Manifest {
        let kind = if wal_from.is_some() { Kind::Base } else { Kind::Logical };
        let source = storage.staging().unwrap();
        let path = source.path().join("x");
        fs::write(&path, "what was written").unwrap();
        let mut taking = Taking::begin(storage, kind);
        taking.add("x.dump", &path).await.unwrap();
        let server = wal_from.map(|from| crate::Server {
            version: "16.1".to_owned(),
            system_identifier: "1".to_owned(),
            timeline: 1,
            lsn: "0/0".to_owned(),
            segment_bytes: 1 << 24,
            user: "u".to_owned(),
            wal_from: Some(from.to_owned()),
        });
        let mut manifest = taking.finish(server, Vec::new()).await.unwrap();
        manifest.finished_at -= SignedDuration::from_hours(24 * age_days);
        let path = storage.folder().unwrap().join(&manifest.id).join(MANIFEST);
        fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
        manifest
    }

    async fn storage() -> (TempDir, Storage, Catalogue) {
        let dir = TempDir::new().unwrap();
        let storage = Storage::open(dir.path().to_str().unwrap()).await.unwrap();
        (dir, storage.clone(), Catalogue::new(storage))
    }

    #[tokio::test]
    async fn half_of_a_backup_is_none_and_a_changed_byte_is_found() {
        let (dir, storage, catalogue) = storage().await;
        let whole = take(&storage, 0, None).await;
        let source = storage.staging().unwrap();
        let path = source.path().join("x");
        fs::write(&path, "interrupted").unwrap();
        let mut interrupted = Taking::begin(&storage, Kind::Logical);
        interrupted.add("x.dump", &path).await.unwrap();
        let interrupted = interrupted.id().to_owned();
        let listed = catalogue.list().await.unwrap();
        assert!(listed.contains(&Listed::Whole(whole.clone())) && listed.len() == 2, "{listed:?}");
        assert_eq!(catalogue.find(Kind::Logical, None, None).await.unwrap(), whole);
        assert!(matches!(
            catalogue.find(Kind::Logical, Some(&interrupted), None).await,
            Err(BackupError::Damaged(_))
        ));
        assert!(matches!(catalogue.find(Kind::Base, None, None).await, Err(BackupError::NotFound(_))));
        assert_eq!(catalogue.check(&whole).await.unwrap(), Checked { files: 1, bytes: 16 });
        let file = dir.path().join(&whole.id).join("x.dump");
        let mut bytes = fs::read(&file).unwrap();
        bytes[7] ^= 1;
        fs::write(&file, &bytes).unwrap();
        assert!(matches!(catalogue.check(&whole).await, Err(BackupError::Damaged(_))));
        bytes.pop();
        fs::write(&file, &bytes).unwrap();
        assert!(matches!(catalogue.find(Kind::Logical, None, None).await, Err(BackupError::NotFound(_))));
    }

    #[tokio::test]
    async fn the_newest_whole_backup_is_never_let_go_nor_the_log_that_it_needs() {
        let (_dir, storage, catalogue) = storage().await;
        let wal = |n: u32| format!("0000000100000000{n:08X}");
        let old = take(&storage, 40, Some(&wal(3))).await;
        let kept = take(&storage, 35, Some(&wal(7))).await;
        let logical = take(&storage, 90, None).await;
        for n in 1..10 {
            storage.put_new(&format!("wal/{}", wal(n)), "x".into()).await.unwrap();
        }
        let pruned = catalogue.prune(Kind::Base, 30).await.unwrap();
        assert_eq!(pruned, Pruned { backups: vec![old.id], segments: 6 });
        assert_eq!(catalogue.find(Kind::Base, None, None).await.unwrap(), kept);
        assert_eq!(catalogue.prune(Kind::Logical, 30).await.unwrap(), Pruned::default());
        assert_eq!(catalogue.find(Kind::Logical, None, None).await.unwrap(), logical);
    }

    #[test]
    fn a_manifest_leads_nowhere_else() {
        for name in ["../x", "/etc/x", "a//b", ".x", ""] {
            assert!(safe(name).is_err(), "{name}");
        }
        assert!(safe("files/keys.json").is_ok());
    }
}
