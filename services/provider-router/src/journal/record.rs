//! A record's form on disk: length and checksum, then what kind it is, whose, and its content.

use embermesh_proto::internal::v1::Entry;
use embermesh_types::{AttemptId, TenantId};
use prost::Message;
use uuid::Uuid;

/// Length and checksum, both little-endian u32.
const HEAD: usize = 8;
/// Kind and tenant.
const PREFIX: usize = 17;
/// No record of ours is longer: a length beyond is damage.
const LONGEST: usize = 16 * 1024 * 1024;

const ENTRY: u8 = 1;
const NOTED: u8 = 2;

/// What is written down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Record {
    /// For the ledger.
    Entry(Box<Entry>),
    /// For a replay alone: the ledger is being asked for this attempt.
    Noted(AttemptId),
    /// Of a later version; nothing can be done with it.
    Unknown,
}

/// Appends the record of an entry to `buffer`.
pub(crate) fn write_entry(buffer: &mut Vec<u8>, tenant: TenantId, entry: &Entry) {
    frame(buffer, ENTRY, tenant, |buffer| {
        // a Vec has room for everything
        let _room = entry.encode(buffer);
    });
}

/// Appends the record of an attempt that the ledger is asked for.
pub(crate) fn write_noted(buffer: &mut Vec<u8>, tenant: TenantId, attempt: AttemptId) {
    frame(buffer, NOTED, tenant, |buffer| buffer.extend_from_slice(attempt.uuid().as_bytes()));
}

fn frame(buffer: &mut Vec<u8>, kind: u8, tenant: TenantId, content: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEAD]);
    buffer.push(kind);
    buffer.extend_from_slice(tenant.uuid().as_bytes());
    content(buffer);
    let payload = start + HEAD;
    let length = u32::try_from(buffer.len() - payload).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(&buffer[payload..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..payload].copy_from_slice(&sum.to_le_bytes());
}

/// The record at the beginning of `bytes` and its length; `None`: there is no whole and sound one.
pub(crate) fn read(bytes: &[u8]) -> Option<(TenantId, Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LONGEST)?;
    let payload = rest.get(..length).filter(|payload| payload.len() >= PREFIX)?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    let (kind, tenant, content) = (payload[0], &payload[1..PREFIX], &payload[PREFIX..]);
    let tenant = TenantId::new(Uuid::from_slice(tenant).ok()?);
    let record = match kind {
        ENTRY => Entry::decode(content).map_or(Record::Unknown, |entry| Record::Entry(Box::new(entry))),
        NOTED => Uuid::from_slice(content).map_or(Record::Unknown, |id| Record::Noted(AttemptId::new(id))),
        _ => Record::Unknown,
    };
    Some((tenant, record, HEAD + length))
}

/// Whether what is at the beginning of `bytes`, and cannot be read, is the beginning of a record whose end was never written.
pub(crate) fn is_torn(bytes: &[u8]) -> bool {
    let Some((length, _)) = bytes.split_first_chunk::<4>() else { return true };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    length <= LONGEST && bytes.len() < HEAD + length
}

#[cfg(test)]
mod tests {
    use embermesh_proto::internal::v1::entry::Entry as Value;

    use super::*;

    fn records() -> Vec<u8> {
        let mut bytes = Vec::new();
        let entry = Entry { entry: Some(Value::PresumedAttemptId("an attempt".to_owned())) };
        write_entry(&mut bytes, TenantId::SYSTEM, &entry);
        write_noted(&mut bytes, TenantId::SYSTEM, AttemptId::new(Uuid::from_u128(7)));
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = records();
        let (tenant, record, length) = read(&bytes).unwrap();
        let expected = Entry { entry: Some(Value::PresumedAttemptId("an attempt".to_owned())) };
        assert_eq!((tenant, record), (TenantId::SYSTEM, Record::Entry(Box::new(expected))));
        let (_, record, rest) = read(&bytes[length..]).unwrap();
        assert_eq!(record, Record::Noted(AttemptId::new(Uuid::from_u128(7))));
        assert_eq!(length + rest, bytes.len());
    }

    #[test]
    fn a_torn_or_changed_record_is_none() {
        let bytes = records();
        let (_, _, length) = read(&bytes).unwrap();
        for end in 0..length {
            assert_eq!(read(&bytes[..end]), None, "cut at {end}");
        }
        for at in 0..length {
            let mut changed = bytes[..length].to_vec();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed), None, "changed at {at}");
        }
    }
}
