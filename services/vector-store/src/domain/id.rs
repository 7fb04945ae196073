//! Ids of rows: UUIDv7, so that an id tells its row's time and with it its partition.

use std::time::{Duration, SystemTime};

use embermesh_types::EmbeddingId;
use uuid::Uuid;

const RANDOM_BITS: u128 = (1 << 54) - 1;

/// A new id of the millisecond `millis`. Ids of one call sort by `position`, which may be up to 1,048,575; the other 54 bits are
/// random.
pub(crate) fn mint(millis: u64, position: usize) -> EmbeddingId {
    let (time, position) = (u128::from(millis) << 80, position as u128 & 0xf_ffff);
    // on both sides of the two bits that tell the variant
    let order = (position >> 8) << 64 | (position & 0xff) << 54;
    let random = u128::from(rand::random::<u64>()) & RANDOM_BITS;
    EmbeddingId::new(Uuid::from_u128(time | 0x7 << 76 | order | 0b10 << 62 | random))
}

/// When the row of this id was made; some time or other for an id that is none of ours.
pub(crate) fn created_at(id: EmbeddingId) -> SystemTime {
    // 48 bits always fit
    let millis = (id.uuid().as_u128() >> 80) as u64;
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_and_tell_their_time() {
        let id = mint(1_764_000_000_123, 7);
        assert_eq!(id.uuid().get_version_num(), 7);
        assert_eq!(id.uuid().get_variant(), uuid::Variant::RFC4122);
        assert_eq!(created_at(id), SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_000_000_123));
    }

    #[test]
    fn ids_of_one_call_sort_by_position_and_differ() {
        let ids: Vec<_> = (0..20_000).map(|position| mint(5, position)).collect();
        assert!(ids.is_sorted());
        let last = mint(5, 0xf_ffff);
        assert!(ids.last() < Some(&last) && last < mint(6, 0));
        assert_eq!((last.uuid().get_version_num(), last.uuid().get_variant()), (7, uuid::Variant::RFC4122));
        assert_ne!(mint(5, 1), mint(5, 1));
    }
}
