use embermesh_vector_key::LENGTH;
use proptest::{collection::vec, prelude::*};

use super::*;

const KEY: VectorKey = VectorKey([3; LENGTH]);

fn key() -> impl Strategy<Value = VectorKey> {
    vec(any::<u8>(), LENGTH).prop_map(|bytes| VectorKey(bytes.try_into().unwrap()))
}

fn kept() -> impl Strategy<Value = Kept> {
    let facts = (any::<u64>(), "[a-zé/@-]{0,20}", any::<[i64; 3]>()).prop_map(
        |(tokens, deployment, [made_unix_ms, kept_unix_ms, stamp])| Facts {
            tokens,
            deployment,
            made_unix_ms,
            kept_unix_ms,
            stamp,
        },
    );
    (vec(any::<f32>(), 1..40), facts).prop_map(|(numbers, facts)| {
        let vector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Kept::new(vector.into(), facts).unwrap()
    })
}

proptest! {
    #[test]
    fn what_is_kept_comes_back_under_its_own_key_only(kept in kept(), key in key(), other in key()) {
        let value = kept.encode(&key);
        prop_assert_eq!(Kept::decode(&key, &value), Some(kept));
        if key != other {
            prop_assert_eq!(Kept::decode(&other, &value), None);
        }
    }

    #[test]
    fn the_beginning_of_a_value_tells_its_stamp(kept in kept()) {
        let value = kept.encode(&KEY);
        prop_assert_eq!(Kept::stamp_of(&value[..Kept::HEAD]), Some(kept.facts().stamp));
        prop_assert_eq!(Kept::stamp_of(&value[..Kept::HEAD - 1]), None);
        prop_assert_eq!(Kept::stamp_of(&[0; 100]), None);
    }

    #[test]
    fn a_changed_byte_is_a_miss(kept in kept(), at: prop::sample::Index, change in 1_u8..) {
        let mut value = kept.encode(&KEY).to_vec();
        let at = at.index(value.len());
        value[at] ^= change;
        prop_assert_eq!(Kept::decode(&KEY, &value.into()), None);
    }

    #[test]
    fn a_cut_or_longer_value_is_a_miss(kept in kept(), cut: prop::sample::Index, more in vec(any::<u8>(), 1..9)) {
        let value = kept.encode(&KEY);
        prop_assert_eq!(Kept::decode(&KEY, &value.slice(..cut.index(value.len()))), None);
        let longer: Vec<u8> = value.iter().copied().chain(more).collect();
        prop_assert_eq!(Kept::decode(&KEY, &longer.into()), None);
    }

    #[test]
    fn bytes_of_any_kind_never_break_the_decoder(mut value in vec(any::<u8>(), 0..250), disguise: bool) {
        if disguise && value.len() >= HEADER {
            value[..6].copy_from_slice(b"EMBV\x02\x01");
            value[10..12].fill(0);
            let sum = checksum(&KEY, &value);
            value[CRC_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
        }
        if let Some(kept) = Kept::decode(&KEY, &value.clone().into()) {
            prop_assert!(disguise);
            prop_assert_eq!(&kept.encode(&KEY)[..], &value[..]);
        }
    }
}

#[test]
fn a_name_that_is_no_text_is_a_miss() {
    let kept = Kept::new(Bytes::from_static(&[0; 4]), Facts { deployment: "ab".into(), ..Facts::default() })
        .unwrap();
    let mut value = kept.encode(&KEY).to_vec();
    value[HEADER + FACTS] = 0xff;
    let sum = checksum(&KEY, &value);
    value[CRC_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Kept::decode(&KEY, &value.into()), None);
}

#[test]
fn only_whole_numbers_and_short_names_can_be_kept() {
    let new = |bytes: usize, name: usize| {
        let facts = Facts { deployment: "x".repeat(name), ..Facts::default() };
        Kept::new(vec![0; bytes].into(), facts).err()
    };
    assert_eq!(new(4, 255), None);
    assert_eq!(new(4 * 65_535, 0), None);
    for bytes in [0, 3, 6, 4 * 65_536] {
        assert_eq!(new(bytes, 0), Some(KeptError::Vector(bytes)));
    }
    assert_eq!(new(4, 256), Some(KeptError::Deployment(256)));
}
