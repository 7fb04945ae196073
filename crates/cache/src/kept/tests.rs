use proptest::{collection::vec, prelude::*};

use super::*;

const KEY: VectorKey = VectorKey([3; 32]);

fn kept() -> impl Strategy<Value = Kept> {
    (vec(any::<f32>(), 1..40), any::<u64>(), "[a-zé/@-]{0,20}", any::<i64>()).prop_map(
        |(numbers, tokens, deployment, made)| {
            let vector: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            Kept::new(vector.into(), tokens, deployment, made).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn what_is_kept_comes_back_under_its_own_key_only(kept in kept(), key: [u8; 32], other: [u8; 32]) {
        let value = kept.encode(&VectorKey(key));
        prop_assert_eq!(Kept::decode(&VectorKey(key), &value), Some(kept));
        if key != other {
            prop_assert_eq!(Kept::decode(&VectorKey(other), &value), None);
        }
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
    fn bytes_of_any_kind_never_break_the_decoder(mut value in vec(any::<u8>(), 0..200), disguise: bool) {
        if disguise && value.len() >= HEADER {
            value[..6].copy_from_slice(b"EMBV\x01\x01");
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
    let kept = Kept::new(Bytes::from_static(&[0; 4]), 1, "ab".into(), 2).unwrap();
    let mut value = kept.encode(&KEY).to_vec();
    value[HEADER + FACTS] = 0xff;
    let sum = checksum(&KEY, &value);
    value[CRC_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Kept::decode(&KEY, &value.into()), None);
}

#[test]
fn only_whole_numbers_and_short_names_can_be_kept() {
    let new = |bytes: usize, name: usize| Kept::new(vec![0; bytes].into(), 0, "x".repeat(name), 0).err();
    assert_eq!(new(4, 255), None);
    assert_eq!(new(4 * 65_535, 0), None);
    for bytes in [0, 3, 6, 4 * 65_536] {
        assert_eq!(new(bytes, 0), Some(KeptError::Vector(bytes)));
    }
    assert_eq!(new(4, 256), Some(KeptError::Deployment(256)));
}
