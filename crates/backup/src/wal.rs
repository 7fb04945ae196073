//! PostgreSQL's log, archived segment by segment: with a base backup and all that came after it, any moment can be brought back.
//!
//! A segment is kept compressed behind a header with the hash of what lies there, and never changes: a second one of the same name is either
//! the same, or an error.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;

use crate::{BackupError, Storage, error::file};

const PREFIX: &str = "wal/";
/// The last digit is the version of the form.
const MAGIC: &[u8; 8] = b"EMBWAL1\n";
const HASH: usize = 32;

/// The archive of a storage.
#[derive(Debug, Clone)]
pub struct Wal {
    storage: Storage,
}

/// What became of a file that was archived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is new.
    New,
    /// It was there, and the same.
    Known,
}

/// What became of a file that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It is there.
    Here,
    /// It was never archived.
    Absent,
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Segment {
    timeline: u32,
    number: u64,
}

impl Wal {
    /// Of this storage.
    pub const fn new(storage: Storage) -> Self {
        Self { storage }
    }

    /// Archives a file of the log: for `archive_command`. It is on the disk, or at the other end, when this returns.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] when another file of the same name is there: two servers archive to one place.
    pub async fn push(&self, path: &Path) -> Result<Pushed, BackupError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        check_name(name)?;
        let raw = fs::read(path).map_err(file(path))?;
        let packed = pack(&raw).map_err(file(path))?;
        if self.storage.put_new(&format!("{PREFIX}{name}"), packed).await? {
            return Ok(Pushed::New);
        }
        let there = self.storage.get_bytes(&format!("{PREFIX}{name}")).await?.unwrap_or_default();
        if unpack(name, &there).is_ok_and(|there| there == raw) {
            return Ok(Pushed::Known);
        }
        Err(BackupError::Damaged(format!(
            "{} holds another {name}: does another server archive to the same place?",
            self.storage
        )))
    }

    /// Brings a file of the log back to `to`: for `restore_command`.
    ///
    /// # Errors
    /// When it cannot be told whether it is there, or it is not what was archived: then recovery must not go on as if the log ended here.
    pub async fn fetch(&self, name: &str, to: &Path) -> Result<Fetched, BackupError> {
        check_name(name)?;
        let Some(packed) = self.storage.get_bytes(&format!("{PREFIX}{name}")).await? else {
            return Ok(Fetched::Absent);
        };
        let raw = unpack(name, &packed)?;
        let write = || {
            let mut target = File::create(to)?;
            target.write_all(&raw)?;
            target.sync_all()
        };
        write().map_err(file(to))?;
        Ok(Fetched::Here)
    }

    /// Reads every segment from `from` on and sees that none is missing in between; returns how many there are, and when the last two
    /// were archived.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] names what is missing or changed.
    pub async fn check(
        &self,
        from: &str,
        segment_bytes: u64,
        contents: bool,
    ) -> Result<(usize, Vec<Timestamp>), BackupError> {
        let first = Segment::parse(from, segment_bytes)
            .ok_or_else(|| BackupError::Damaged(format!("`{from}` is no segment of the log")))?;
        let (mut found, mut times) = (Vec::new(), Vec::new());
        for object in self.storage.list(PREFIX).await? {
            let name = object.name.strip_prefix(PREFIX).unwrap_or_default();
            let Some(segment) = Segment::parse(name, segment_bytes) else { continue };
            if segment.timeline < first.timeline
                || (segment.timeline == first.timeline && segment.number < first.number)
            {
                continue;
            }
            if contents {
                let packed = self.storage.get_bytes(&object.name).await?.unwrap_or_default();
                unpack(name, &packed)?;
            }
            found.push(segment);
            times.push(object.modified);
        }
        if let Some(missing) = gap(first, &found) {
            return Err(BackupError::Damaged(format!(
                "segment {} of the log is missing in {}: what comes after it cannot be brought back",
                missing.name(segment_bytes),
                self.storage
            )));
        }
        times.sort();
        let last = times.split_off(times.len().saturating_sub(2));
        Ok((found.len(), last))
    }

    /// Lets go of all segments before `needed`; returns how many.
    pub(crate) async fn prune(&self, needed: &str) -> Result<usize, BackupError> {
        let place = |name: &str| name.get(8..24).map(str::to_owned);
        let (mut gone, needed) = (0, place(needed));
        for object in self.storage.list(PREFIX).await? {
            let name = object.name.strip_prefix(PREFIX).unwrap_or_default();
            // histories of timelines are small, and what a later restore goes by
            if !name.ends_with(".history") && place(name).is_some() && place(name) < needed {
                self.storage.delete(&object.name).await?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

impl Segment {
    /// `000000010000000A000000FF`; what has another form is no segment.
    fn parse(name: &str, bytes: u64) -> Option<Self> {
        if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let part = |at: usize| u32::from_str_radix(name.get(at..at + 8)?, 16).ok();
        let (timeline, log, low) = (part(0)?, u64::from(part(8)?), u64::from(part(16)?));
        Some(Self { timeline, number: log * ((1 << 32) / bytes.max(1 << 20)) + low })
    }

    fn name(self, bytes: u64) -> String {
        let per_log = (1_u64 << 32) / bytes.max(1 << 20);
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number / per_log, self.number % per_log)
    }
}

/// The name of the segment that holds a position such as `0/2000028`.
pub(crate) fn segment_at(timeline: u32, lsn: &str, bytes: u64) -> Option<String> {
    let (high, low) = lsn.split_once('/')?;
    let position = (u64::from_str_radix(high, 16).ok()? << 32) | u64::from_str_radix(low, 16).ok()?;
    Some(Segment { timeline, number: position / bytes.max(1 << 20) }.name(bytes))
}

/// The first segment that is missing: on the first one's timeline from it on, on later ones from their own beginnings.
fn gap(first: Segment, found: &[Segment]) -> Option<Segment> {
    let mut sorted = found.to_vec();
    sorted.sort();
    if sorted.first().is_some_and(|earliest| earliest.timeline == first.timeline && *earliest != first) {
        return Some(first);
    }
    sorted.windows(2).find_map(|pair| {
        let follows = pair[0].timeline != pair[1].timeline || pair[0].number + 1 == pair[1].number;
        (!follows).then(|| Segment { number: pair[0].number + 1, ..pair[0] })
    })
}

/// Segments, histories of timelines, labels of backups: no name of a path.
fn check_name(name: &str) -> Result<(), BackupError> {
    let good = name.len() >= 16
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')
        && !name.starts_with('.');
    if good { Ok(()) } else { Err(BackupError::Setting(format!("`{name}` is no file of PostgreSQL's log"))) }
}

fn pack(raw: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(raw.len() / 4), Compression::fast());
    encoder.write_all(raw)?;
    let body = encoder.finish()?;
    let mut packed = Vec::with_capacity(MAGIC.len() + HASH + body.len());
    packed.extend_from_slice(MAGIC);
    packed.extend_from_slice(blake3::hash(&body).as_bytes());
    packed.extend_from_slice(&body);
    Ok(packed.into())
}

fn unpack(name: &str, packed: &[u8]) -> Result<Vec<u8>, BackupError> {
    let damaged = || BackupError::Damaged(format!("{name} in the archive is not what was archived"));
    let body = packed.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (hash, body) = body.split_at_checked(HASH).ok_or_else(damaged)?;
    // of what lies there, not of what comes out: a changed byte of a long run of zeros may decompress to the same
    if blake3::hash(body).as_bytes() != hash {
        return Err(damaged());
    }
    let mut raw = Vec::new();
    GzDecoder::new(body).read_to_end(&mut raw).map_err(|_| damaged())?;
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const BYTES: u64 = 1 << 24;

    async fn archive() -> (TempDir, Wal) {
        let dir = TempDir::new().unwrap();
        let storage = Storage::open(dir.path().join("backups").to_str().unwrap()).await.unwrap();
        (dir, Wal::new(storage))
    }

    #[tokio::test]
    async fn a_segment_is_archived_once_and_another_of_its_name_is_refused() {
        let (dir, wal) = archive().await;
        let path = dir.path().join("000000010000000000000003");
        fs::write(&path, vec![7; 100_000]).unwrap();
        assert_eq!(wal.push(&path).await.unwrap(), Pushed::New);
        assert_eq!(wal.push(&path).await.unwrap(), Pushed::Known);
        fs::write(&path, vec![8; 100_000]).unwrap();
        assert!(matches!(wal.push(&path).await, Err(BackupError::Damaged(_))));
        let to = dir.path().join("back");
        assert_eq!(wal.fetch("000000010000000000000003", &to).await.unwrap(), Fetched::Here);
        assert_eq!(fs::read(&to).unwrap(), vec![7; 100_000]);
        assert_eq!(wal.fetch("000000010000000000000004", &to).await.unwrap(), Fetched::Absent);
        for stray in ["../../etc/passwd", "x", ""] {
            assert!(wal.fetch(stray, &to).await.is_err(), "{stray}");
        }
    }

    #[tokio::test]
    async fn a_missing_segment_is_named() {
        let (dir, wal) = archive().await;
        let name = |n: u64| Segment { timeline: 1, number: n }.name(BYTES);
        for n in [254, 255, 256, 257] {
            let path = dir.path().join(name(n));
            fs::write(&path, n.to_string()).unwrap();
            wal.push(&path).await.unwrap();
        }
        assert_eq!(wal.check(&name(255), BYTES, true).await.unwrap().0, 3);
        assert_eq!(wal.prune(&name(255)).await.unwrap(), 1);
        wal.storage.delete(&format!("wal/{}", name(256))).await.unwrap();
        let error = wal.check(&name(255), BYTES, false).await.unwrap_err().to_string();
        assert!(error.contains("000000010000000100000000"), "{error}");
        wal.storage.delete(&format!("wal/{}", name(255))).await.unwrap();
        assert!(wal.check(&name(255), BYTES, false).await.unwrap_err().to_string().contains(&name(255)));
    }

    #[test]
    fn positions_and_names_agree() {
        assert_eq!(segment_at(1, "0/2000028", BYTES).unwrap(), "000000010000000000000002");
        assert_eq!(segment_at(2, "1A/FF000000", BYTES).unwrap(), "000000020000001A000000FF");
        assert_eq!(segment_at(1, "nonsense", BYTES), None);
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_found(raw in prop::collection::vec(any::<u8>(), 0..2_000), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let packed = pack(&raw).unwrap();
            prop_assert_eq!(unpack("x", &packed).unwrap(), raw.clone());
            let mut changed = packed.to_vec();
            let at = at.index(changed.len());
            changed[at] ^= 1_u8 << bit;
            // a byte of the compression's own header, such as that of the operating system, changes nothing of what was archived
            if let Ok(same) = unpack("x", &changed) {
                prop_assert_eq!(same, raw);
            }
        }
    }
}
