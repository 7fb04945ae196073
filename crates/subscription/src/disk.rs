//! The copy on disk: one message with a checksum in front, readable by its owner alone, replaced as a whole.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use embermesh_proto::internal::v1::ConfigUpdate;
use prost::Message;

use crate::{Snapshot, entry};

// the last digit is the version of the form
const MAGIC: &[u8; 8] = b"EMBCONF2";

/// Why a copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot read or write the copy: {0}")]
    Io(#[from] io::Error),
    #[error("the copy is damaged or of another version, it will be replaced")]
    Damaged,
}

/// Replaces the copy at `path`; a crash leaves the old or the new one, never a mixture.
pub(crate) fn save(path: &Path, snapshot: &Snapshot) -> Result<(), DiskError> {
    let body = entry::to_update(snapshot).encode_to_vec();
    let mut temporary = path.to_owned().into_os_string();
    temporary.push(".new");
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    // a file left by a crash might have other permissions
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    for part in [MAGIC.as_slice(), blake3::hash(&body).as_bytes(), &body] {
        file.write_all(part)?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(())
}

/// Reads the copy at `path`; `None` when there is none.
pub(crate) fn load(path: &Path) -> Result<Option<Snapshot>, DiskError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let rest = bytes.strip_prefix(MAGIC).ok_or(DiskError::Damaged)?;
    let (sum, body) = rest.split_first_chunk::<32>().ok_or(DiskError::Damaged)?;
    if blake3::hash(body) != *sum {
        return Err(DiskError::Damaged);
    }
    let update = ConfigUpdate::decode(body).map_err(|_| DiskError::Damaged)?;
    Ok(entry::apply(&Snapshot::default(), update))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::entry::tests::full_snapshot;

    #[test]
    fn a_saved_snapshot_is_loaded_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper").join("config.bin");
        assert!(load(&path).unwrap().is_none());
        for version in [7, 8] {
            let snapshot = full_snapshot().with_version(version);
            save(&path, &snapshot).unwrap();
            assert_eq!(load(&path).unwrap(), Some(snapshot));
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_copy_with_any_flipped_bit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.bin");
        save(&path, &full_snapshot()).unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            assert!(matches!(load(&path), Err(DiskError::Damaged)), "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(matches!(load(&path), Err(DiskError::Damaged)));
    }
}
