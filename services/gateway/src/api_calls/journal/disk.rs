//! Records in files that are appended to: the oldest is read until it is done, and a file goes when all in it is. A plain write outlives
//! the process, not the machine.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// A file is closed at this size.
const LONG: u64 = 4 * 1024 * 1024;
/// Length and checksum of a record, both little-endian u32.
const HEAD: usize = 8;
/// No record of ours is longer: a length beyond is damage.
const LONGEST: usize = 16 * 1024 * 1024;

/// A folder of records, which no other process has.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    /// Oldest first. The last one is written to while `file` is open.
    segments: VecDeque<Segment>,
    file: Option<File>,
    /// How far the first file is done.
    done: u64,
    /// Length of the record that `first` found, with its head.
    found: u64,
    next_number: u64,
    #[expect(dead_code, reason = "it is what it does while it is open")]
    lock: File,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    length: u64,
}

impl Disk {
    /// Finds what an earlier process has left in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other(format!("another gateway has {}", dir.display())),
            TryLockError::Error(error) => error,
        })?;
        let mut numbers: Vec<u64> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".log")).map(str::parse::<u64>);
            numbers.extend(number.and_then(Result::ok));
        }
        numbers.sort_unstable();
        let segment = |number: &u64| {
            let path = path(dir, *number);
            fs::metadata(&path).map(|found| Segment { length: found.len(), path })
        };
        Ok(Self {
            segments: numbers.iter().map(segment).collect::<io::Result<_>>()?,
            dir: dir.to_owned(),
            file: None,
            done: 0,
            found: 0,
            // what was torn off is never written after
            next_number: numbers.last().map_or(1, |last| last + 1),
            lock,
        })
    }

    /// Appends a record. After an error nothing of it is there, or nothing of it is read.
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        if self.file.is_none() || self.segments.back().is_none_or(|last| last.length >= LONG) {
            let path = path(&self.dir, self.next_number);
            let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
            self.next_number += 1;
            self.file = Some(file);
            self.segments.push_back(Segment { path, length: 0 });
        }
        let (Some(file), Some(last)) = (&mut self.file, self.segments.back_mut()) else {
            return Err(io::Error::other("the journal of calls has no file"));
        };
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        let mut framed = Vec::with_capacity(HEAD + record.len());
        framed.extend_from_slice(&length.to_le_bytes());
        framed.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        framed.extend_from_slice(record);
        if let Err(error) = file.write_all(&framed) {
            // a torn record ends what is read of a file, so nothing may follow it
            if file.set_len(last.length).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        last.length += framed.len() as u64;
        Ok(())
    }

    /// The oldest record that is not done.
    pub fn first(&mut self) -> Option<Vec<u8>> {
        while let Some(segment) = self.segments.front() {
            if self.done < segment.length {
                match read(&segment.path, self.done) {
                    Ok(Some(record)) => {
                        self.found = (HEAD + record.len()) as u64;
                        return Some(record);
                    }
                    Ok(None) => tracing::warn!(
                        file = %segment.path.display(),
                        offset = self.done,
                        "a file of recorded calls ends in something that is no record"
                    ),
                    Err(error) => {
                        tracing::error!(file = %segment.path.display(), %error, "recorded calls cannot be read");
                        if error.kind() != io::ErrorKind::NotFound {
                            return None;
                        }
                    }
                }
            }
            self.remove_first();
        }
        None
    }

    /// As if [`first`](Self::first) had found a record of this length.
    pub fn found(&mut self, length: usize) {
        self.found = (HEAD + length) as u64;
    }

    /// The record that [`first`](Self::first) found is.
    pub fn done(&mut self) {
        self.done += std::mem::take(&mut self.found);
        if self.segments.front().is_some_and(|first| self.done >= first.length) {
            self.remove_first();
        }
    }

    /// Of the files that are there.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    fn remove_first(&mut self) {
        let Some(segment) = self.segments.pop_front() else { return };
        if self.segments.is_empty() {
            self.file = None;
        }
        (self.done, self.found) = (0, 0);
        if let Err(error) = fs::remove_file(&segment.path) {
            tracing::warn!(file = %segment.path.display(), %error, "cannot remove recorded calls, which admin has");
        }
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

/// The record at `offset`; `None`: there is no whole and sound one.
fn read(path: &Path, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let mut head = [0; HEAD];
    if !fill(&file, &mut head, offset)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = head;
    let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Ok(None);
    }
    let mut record = vec![0; length];
    let whole = fill(&file, &mut record, offset + HEAD as u64)?;
    Ok((whole && crc32fast::hash(&record) == u32::from_le_bytes([e, f, g, h])).then_some(record))
}

/// Whether there was enough.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(disk: &mut Disk) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(record) = disk.first() {
            found.push(record);
            disk.done();
        }
        found
    }

    #[test]
    fn what_is_not_done_is_found_by_the_next_process_in_order_and_files_go_when_all_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(dir.path()).unwrap();
        let large = vec![7; usize::try_from(LONG).unwrap()];
        for record in [b"one".as_slice(), b"two", &large, b"three"] {
            disk.append(record).unwrap();
        }
        assert_eq!(disk.first().unwrap(), b"one");
        assert_eq!(disk.first().unwrap(), b"one", "it is not done");
        disk.done();
        assert!(Disk::open(dir.path()).is_err(), "somebody has it");
        drop(disk);
        // of a file that is partly done, all comes again
        let mut disk = Disk::open(dir.path()).unwrap();
        disk.append(b"four").unwrap();
        assert_eq!(all(&mut disk), [b"one".as_slice(), b"two", &large, b"three", b"four"]);
        assert_eq!(disk.bytes(), 0);
        let left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["lock"]);
        disk.append(b"five").unwrap();
        assert_eq!(all(&mut disk), [b"five"]);
    }

    #[test]
    fn a_torn_or_changed_record_ends_its_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        for (at, damage) in ["torn", "changed"].iter().enumerate() {
            let mut disk = Disk::open(dir.path()).unwrap();
            disk.append(b"sound").unwrap();
            disk.append(b"damaged").unwrap();
            let path = disk.segments[0].path.clone();
            drop(disk);
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len() - 1;
            if at == 0 {
                bytes.truncate(end)
            } else {
                bytes[end] ^= 1
            }
            fs::write(&path, bytes).unwrap();
            let mut disk = Disk::open(dir.path()).unwrap();
            disk.append(b"later").unwrap();
            assert_eq!(all(&mut disk), [b"sound".as_slice(), b"later"], "{damage}");
        }
    }
}
