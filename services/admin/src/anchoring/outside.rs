//! `audit-anchors.log` in the data folder: every anchor of this replica as a line of JSON. Only ever added to.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use embermesh_types::TenantId;

use super::AnchoringError;
use crate::domain::anchor::{Anchor, PublicKey};

const NAME: &str = "audit-anchors.log";

/// The file. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct AnchorsFile {
    path: Arc<PathBuf>,
}

impl AnchorsFile {
    /// Opens the file of a folder, and cuts off what a crash has left of a last line.
    pub(super) fn open(dir: &Path) -> Result<Self, AnchoringError> {
        let file = Self { path: Arc::new(dir.join(NAME)) };
        file.heal().map_err(|cause| file.failed(cause))?;
        Ok(file)
    }

    fn heal(&self) -> io::Result<()> {
        let bytes = match fs::read(&*self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            fs::OpenOptions::new().write(true).open(&*self.path)?.set_len(whole as u64)?;
        }
        Ok(())
    }

    /// Adds anchors, and waits until the disk has them.
    pub(super) fn append(&self, anchors: &[Anchor]) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&*self.path)?;
        let lines: String = anchors.iter().map(|anchor| anchor.to_line() + "\n").collect();
        file.write_all(lines.as_bytes())?;
        file.sync_data()
    }

    /// The anchor of each chain that was added last, of those that are signed with one of `trusted`.
    pub(super) fn last(&self, trusted: &[PublicKey]) -> Result<HashMap<TenantId, Anchor>, AnchoringError> {
        let mut last = HashMap::new();
        self.each(|_, anchor| {
            if let Some(anchor) = anchor.filter(|anchor| trusted.contains(&anchor.public_key)) {
                last.insert(anchor.tenant, anchor);
            }
        })
        .map_err(|cause| self.failed(cause))?;
        last.retain(|_, anchor| anchor.is_genuine());
        Ok(last)
    }

    /// The anchors of a chain, and the numbers of lines that are none.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> io::Result<(Vec<Anchor>, Vec<usize>)> {
        let (mut anchors, mut unreadable) = (Vec::new(), Vec::new());
        self.each(|line, anchor| match anchor {
            Some(anchor) if anchor.tenant == tenant => anchors.push(anchor),
            Some(_) => {}
            None => unreadable.push(line),
        })?;
        Ok((anchors, unreadable))
    }

    /// Every whole line; one that is being written just now is not there yet.
    fn each(&self, mut take: impl FnMut(usize, Option<Anchor>)) -> io::Result<()> {
        let mut lines = match fs::File::open(&*self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => BufReader::new(opened?),
        };
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            lines.read_until(b'\n', &mut line)?;
            let Some(whole) = line.strip_suffix(b"\n") else { break };
            take(number, std::str::from_utf8(whole).ok().and_then(Anchor::of_line));
        }
        Ok(())
    }

    fn failed(&self, cause: io::Error) -> AnchoringError {
        AnchoringError::File { path: self.path.to_path_buf(), cause }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::domain::anchor::Seal;

    #[test]
    fn what_was_appended_is_read_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (seal, _) = Seal::generate().unwrap();
        let other = TenantId::new(uuid::Uuid::from_u128(7));
        let sign = |tenant, number| seal.sign(tenant, number, [3; 32], 5).unwrap();
        let file = AnchorsFile::open(dir.path()).unwrap();
        assert_eq!(file.of_tenant(other).unwrap(), (vec![], vec![]));
        file.append(&[sign(other, 4), sign(TenantId::SYSTEM, 1)]).unwrap();
        // a chain that was cut off is anchored at a lower number
        file.append(&[sign(other, 2)]).unwrap();
        let path = dir.path().join(NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut torn = fs::OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"nonsense\n{\"tenant_id\":").unwrap();
        let expected = (vec![sign(other, 4), sign(other, 2)], vec![4]);
        assert_eq!(file.of_tenant(other).unwrap(), expected);

        let file = AnchorsFile::open(dir.path()).unwrap();
        assert!(fs::read_to_string(&path).unwrap().ends_with("nonsense\n"));
        file.append(&[sign(other, 3)]).unwrap();
        let last = file.last(&[*seal.public_key()]).unwrap();
        assert_eq!(last[&other], sign(other, 3));
        assert_eq!(last[&TenantId::SYSTEM], sign(TenantId::SYSTEM, 1));
        assert!(file.last(&[[0; 32]]).unwrap().is_empty());
    }
}
