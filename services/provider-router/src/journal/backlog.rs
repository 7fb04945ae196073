//! Reads records from disk, a bounded number at a time: for a ledger that is far behind, and after a crash.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use embermesh_types::TenantId;

use super::{
    record::{self, Record},
    segments::{Place, path},
};

/// Bytes that are read at once; more only for a longer record.
const CHUNK: usize = 256 * 1024;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub records: Vec<(TenantId, Record)>,
    /// Where to go on.
    pub next: Place,
    /// Something that was written whole cannot be read any more.
    pub damaged: bool,
}

/// Reads at most `most` records between two places. An empty page is the end.
pub(crate) fn read(dir: &Path, from: Place, to: Place, most: usize) -> io::Result<Page> {
    let mut page = Page { next: from, ..Page::default() };
    let mut chunk = CHUNK;
    while page.records.is_empty() && (page.next.segment, page.next.offset) < (to.segment, to.offset) {
        let bytes = read_chunk(dir, page.next, to, chunk)?;
        let mut at = 0;
        while page.records.len() < most
            && let Some((tenant, record, length)) = record::read(&bytes[at..])
        {
            page.damaged |= record == Record::Unknown;
            page.records.push((tenant, record));
            at += length;
        }
        page.next.offset += at as u64;
        page.next.written += at as u64;
        if at > 0 {
            continue;
        }
        if bytes.len() == chunk && record::is_torn(&bytes) {
            chunk *= 2;
            continue;
        }
        if !bytes.is_empty() {
            page.damaged |= !record::is_torn(&bytes);
            tracing::warn!(
                segment = page.next.segment,
                offset = page.next.offset,
                damaged = page.damaged,
                "a part of the journal ends in something that is no record"
            );
        }
        page.next = Place { segment: page.next.segment + 1, offset: 0, ..page.next };
    }
    Ok(page)
}

fn read_chunk(dir: &Path, from: Place, to: Place, most: usize) -> io::Result<Vec<u8>> {
    let file = match File::open(path(dir, from.segment)) {
        Ok(file) => file,
        // its records are all in the books
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let end = if from.segment == to.segment { to.offset } else { u64::MAX };
    let left = usize::try_from(end.saturating_sub(from.offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; most.min(left)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from.offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
