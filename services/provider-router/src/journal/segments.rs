//! The files of a journal: records are appended to the last one, and whole files go when nobody needs them.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A file is closed at this size.
const LONG: u64 = 4 * 1024 * 1024;

/// The end of a record: its file, and how many bytes of all files lie before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub segment: u64,
    pub offset: u64,
    pub written: u64,
}

/// Where records stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub start: Place,
    pub end: Place,
}

/// Keeps the file in being that the beginning of an attempt stands in, until the attempt has ended.
#[derive(Debug)]
pub(crate) struct Kept(Arc<AtomicUsize>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    kept: Arc<AtomicUsize>,
}

/// Files that are appended to.
#[derive(Debug)]
pub(crate) struct Segments {
    dir: PathBuf,
    /// Absent: the next record begins another.
    file: Option<Arc<File>>,
    end: Place,
    /// Oldest first; the last one is written to.
    all: VecDeque<Segment>,
}

impl Segments {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), file: None, end: Place::default(), all: VecDeque::new() }
    }

    /// Appends whole records. After an error nothing of them is there, or nothing of them is read.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<Span> {
        if self.file.is_none() || self.end.offset >= LONG {
            self.begin()?;
        }
        let Some(file) = &self.file else { return Err(io::Error::other("the journal has no file")) };
        if let Err(error) = (&**file).write_all(bytes) {
            // a torn record ends what is read of a file, so nothing may follow it
            if file.set_len(self.end.offset).is_err() {
                self.file = None;
            }
            return Err(error);
        }
        let (start, length) = (self.end, bytes.len() as u64);
        self.end.offset += length;
        self.end.written += length;
        Ok(Span { start, end: self.end })
    }

    fn begin(&mut self) -> io::Result<()> {
        let number = self.end.segment + 1;
        let path = path(&self.dir, number);
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        self.file = Some(Arc::new(file));
        self.end = Place { segment: number, offset: 0, written: self.end.written };
        self.all.push_back(Segment { number, kept: Arc::default() });
        Ok(())
    }

    /// Keeps the last file in being.
    pub fn keep(&self) -> Option<Kept> {
        let last = self.all.back()?;
        last.kept.fetch_add(1, Ordering::AcqRel);
        Some(Kept(Arc::clone(&last.kept)))
    }

    /// Attempts that have begun and not ended.
    pub fn kept(&self) -> usize {
        self.all.iter().map(|segment| segment.kept.load(Ordering::Acquire)).sum()
    }

    pub const fn end(&self) -> Place {
        self.end
    }

    /// What there is to be synchronised.
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.clone()
    }

    /// Takes out the files that end before `place` and in which no attempt is open, to be removed.
    pub fn done(&mut self, place: Place) -> Vec<PathBuf> {
        let mut done = Vec::new();
        self.all.retain(|segment| {
            let needed = segment.number >= place.segment || segment.kept.load(Ordering::Acquire) > 0;
            if !needed {
                done.push(path(&self.dir, segment.number));
            }
            needed
        });
        done
    }
}

/// The path of a file.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:012}.log"))
}

/// The numbers of the files in `dir`, in order.
pub(crate) fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log")).map(str::parse::<u64>);
        numbers.extend(number.and_then(Result::ok));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_when_all_before_the_place_is_done_and_no_attempt_in_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(dir.path());
        let large = vec![1; usize::try_from(LONG).unwrap()];
        segments.append(&large).unwrap();
        let first = segments.keep().unwrap();
        segments.append(&large).unwrap();
        let end = segments.append(&large).unwrap().end;
        assert_eq!(numbers(dir.path()).unwrap(), [1, 2, 3]);
        assert_eq!(segments.done(end), [path(dir.path(), 2)]);
        assert_eq!(segments.kept(), 1);
        drop(first);
        assert_eq!(segments.done(end), [path(dir.path(), 1)]);
        assert_eq!(end.written, 3 * LONG);
    }

    #[test]
    fn after_a_failed_write_the_journal_goes_on_in_another_file() {
        let dir = tempfile::tempdir().unwrap();
        // a disk without room, which does not take anything back either
        std::os::unix::fs::symlink("/dev/full", path(dir.path(), 1)).unwrap();
        let mut segments = Segments::new(dir.path());
        assert_eq!(segments.append(b"lost").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let end = segments.append(b"kept").unwrap().end;
        assert_eq!((end.segment, end.offset), (2, 4));
        assert_eq!(fs::read(path(dir.path(), 2)).unwrap(), b"kept");
    }
}
