//! The decimal digits of vectors that are asked for again and again. To write them takes several times as long as everything else
//! about a cache hit. Not a cache of answers: whoever looks here has been given the vector already.

use std::sync::Arc;

use bytes::Bytes;
use moka::sync::Cache;

/// What the digits and their vectors may take together, in bytes; about 2,600 vectors of 1,536 dimensions.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry takes beside its two texts.
const OVERHEAD: usize = 160;
/// As much of a vector as finds it; the rest is compared.
const KEY: usize = 32;

/// Digits by vector.
#[derive(Debug)]
pub(super) struct FloatTexts(Cache<[u8; KEY], Kept>);

#[derive(Debug, Clone)]
struct Kept {
    vector: Bytes,
    text: Arc<[u8]>,
}

impl FloatTexts {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Self::within(MAX_BYTES)
    }

    fn within(bytes: u64) -> Self {
        let weigh = |_: &[u8; KEY], kept: &Kept| {
            u32::try_from(kept.vector.len() + kept.text.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self(Cache::builder().max_capacity(bytes).weigher(weigh).build())
    }

    /// Appends what `write` writes of `vector`, from memory if it is there. `keep` leaves it there for the next time.
    pub fn append(&self, out: &mut Vec<u8>, vector: &Bytes, keep: bool, write: fn(&mut Vec<u8>, &[u8])) {
        // what is new seldom comes twice, and a short one is written in no time
        let Some(key) = vector.first_chunk::<KEY>().filter(|_| keep) else { return write(out, vector) };
        if let Some(kept) = self.0.get(key).filter(|kept| kept.vector == *vector) {
            return out.extend_from_slice(&kept.text);
        }
        let from = out.len();
        write(out, vector);
        // a copy: a vector may be a small part of a large message, which it would hold on to
        let kept = Kept { vector: Bytes::copy_from_slice(vector), text: out[from..].into() };
        self.0.insert(*key, kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(out: &mut Vec<u8>, vector: &[u8]) {
        out.push(b'1');
        out.extend_from_slice(vector);
    }

    fn again(out: &mut Vec<u8>, _: &[u8]) {
        out.push(b'2');
    }

    fn appended(texts: &FloatTexts, vector: &Bytes, keep: bool, write: fn(&mut Vec<u8>, &[u8])) -> Vec<u8> {
        let mut out = b"before".to_vec();
        texts.append(&mut out, vector, keep, write);
        out.strip_prefix(b"before").unwrap().to_vec()
    }

    #[test]
    fn what_was_kept_is_not_written_again() {
        let (texts, vector) = (FloatTexts::new(), Bytes::from(vec![7; 64]));
        let written = appended(&texts, &vector, true, first);
        assert_eq!(written[0], b'1');
        assert_eq!(appended(&texts, &vector, true, again), written);
        assert_eq!(appended(&texts, &vector, false, again), b"2");
    }

    #[test]
    fn vectors_with_one_beginning_are_told_apart() {
        let texts = FloatTexts::new();
        let (one, other) = (Bytes::from([7; 64].to_vec()), Bytes::from([[7; 32], [8; 32]].concat()));
        let written = appended(&texts, &one, true, first);
        assert_eq!(appended(&texts, &other, true, again), b"2");
        assert_eq!(appended(&texts, &one, true, first), written);
    }

    #[test]
    fn what_is_not_to_be_kept_or_too_short_is_written_each_time() {
        let texts = FloatTexts::new();
        for (vector, keep) in [(Bytes::from(vec![7; 64]), false), (Bytes::from(vec![7; 8]), true)] {
            assert_eq!(appended(&texts, &vector, keep, first)[0], b'1');
            assert_eq!(appended(&texts, &vector, keep, again), b"2");
        }
    }

    #[test]
    fn what_is_kept_stays_within_its_bytes() {
        let texts = FloatTexts::within(10_000);
        for at in 0_u32..1000 {
            let vector: Bytes = at.to_le_bytes().repeat(100).into();
            appended(&texts, &vector, true, first);
        }
        texts.0.run_pending_tasks();
        assert!(texts.0.weighted_size() <= 10_000);
    }
}
