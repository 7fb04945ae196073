//! One record of the audit chain, and its hash: SHA-256 of the hash before it and of the record in its canonical form.
//!
//! The canonical form is the number of the form, then every field in the order in which they stand below, each with its length in
//! front, so that no two records have the same form. It never changes; another one gets another number.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use embermesh_types::TenantId;

/// The canonical form that this release writes, and the only one that it knows.
pub(crate) const FORM: i16 = 1;

/// What the first record of a chain follows.
pub(crate) const BEGINNING: Hash = [0; 32];

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// A record without its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditRecord {
    pub(crate) tenant: TenantId,
    /// From 1, without a gap.
    pub(crate) number: i64,
    /// Microseconds since 1970, which is what PostgreSQL keeps of a time.
    pub(crate) at_micros: i64,
    pub(crate) by: String,
    pub(crate) action: String,
    pub(crate) subject: String,
    /// JSON, to the byte as it was written.
    pub(crate) details: String,
}

impl AuditRecord {
    /// The hash of the record where it follows `previous`. `buffer` is overwritten; passing it again saves an allocation.
    pub(crate) fn hash_after(&self, previous: &Hash, buffer: &mut Vec<u8>) -> Hash {
        buffer.clear();
        buffer.extend_from_slice(previous);
        buffer.extend_from_slice(&FORM.to_be_bytes());
        let mut field = |bytes: &[u8]| {
            buffer.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            buffer.extend_from_slice(bytes);
        };
        field(self.tenant.uuid().as_bytes());
        field(&self.number.to_be_bytes());
        field(&self.at_micros.to_be_bytes());
        field(self.by.as_bytes());
        field(self.action.as_bytes());
        field(self.subject.as_bytes());
        field(self.details.as_bytes());
        sha256(buffer)
    }
}

/// SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = BEGINNING;
    // as long as each other by definition
    hash.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// A time as records keep it. What lies beyond the calendar is its end.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let whole = |length: Duration| i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => whole(since),
        // rounded down, like the times after 1970
        Err(before) => -whole(before.duration() + Duration::from_nanos(999)),
    }
}

/// The other way.
pub(crate) fn time_of(micros: i64) -> SystemTime {
    let length = Duration::from_micros(micros.unsigned_abs());
    let shifted = if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(length)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(length)
    };
    shifted.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// In hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The other way, for exactly so many bytes.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn record(number: i64) -> AuditRecord {
        AuditRecord {
            tenant: TenantId::SYSTEM,
            number,
            at_micros: 1_795_348_800_000_000 + number,
            by: "k3y".to_owned(),
            action: "agent.put".to_owned(),
            subject: format!("agent-{number}"),
            details: format!(r#"{{"version":{number}}}"#),
        }
    }

    #[test]
    fn the_form_is_the_one_that_records_were_written_in() {
        // computed apart, from the description of the form: a difference here breaks every chain that exists
        let hash = record(1).hash_after(&BEGINNING, &mut Vec::new());
        assert_eq!(hex(&hash), "d985c2bbbaf96265ec84abdccbdcf648c1fb0b67a9f51bac48e59146eedb771d");
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_is_another_record() {
        let one = AuditRecord { by: "ab".to_owned(), action: "c".to_owned(), ..record(1) };
        let other = AuditRecord { by: "a".to_owned(), action: "bc".to_owned(), ..record(1) };
        let hash = |record: &AuditRecord| record.hash_after(&BEGINNING, &mut Vec::new());
        assert_ne!(hash(&one), hash(&other));
        assert_ne!(hash(&one), one.hash_after(&[1; 32], &mut Vec::new()));
    }

    #[test]
    fn times_are_whole_microseconds_on_both_sides_of_1970() {
        for (nanos, expected) in [(0, 0), (1_999, 1), (2_000, 2)] {
            assert_eq!(micros(SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)), expected);
        }
        for (nanos, expected) in [(1, -1), (1_000, -1), (1_001, -2)] {
            assert_eq!(micros(SystemTime::UNIX_EPOCH - Duration::from_nanos(nanos)), expected);
        }
    }

    proptest! {
        #[test]
        fn times_and_digits_read_back(at in -60_000_000_000_000_000_i64..250_000_000_000_000_000, bytes: [u8; 32]) {
            prop_assert_eq!(micros(time_of(at)), at);
            prop_assert_eq!(unhex::<32>(&hex(&bytes)), Some(bytes));
            prop_assert_eq!(unhex::<31>(&hex(&bytes)), None);
            prop_assert_eq!(unhex::<1>("+1"), None);
        }
    }
}
