//! What is kept for a text, and how it lies in Redis: a header of 16 bytes, its facts, and the numbers.
//!
//! ```text
//! magic "EMBV" | version | element | dimensions u16 | name length u16 | flags u16 | crc32
//! tokens u64 | made i64, ms since 1970 | kept i64, ms since 1970 | stamp i64 | deployment | little-endian f32 …
//! ```
//! The checksum covers the key too, so that an answer to another question is a miss and not somebody else's vector.

use std::str;

use bytes::{BufMut as _, Bytes, BytesMut};
use crc32fast::Hasher;

use crate::VectorKey;

const MAGIC: [u8; 4] = *b"EMBV";
const VERSION: u8 = 2;
/// The one kind of element so far.
const F32: u8 = 1;
const CRC_AT: usize = 12;
const HEADER: usize = 16;
const FACTS: usize = 32;
const MAX_DEPLOYMENT: usize = 255;

/// A vector and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    vector: Bytes,
    facts: Facts,
}

/// What is known of a vector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Tokens of its text.
    pub tokens: u64,
    /// The deployment that made it.
    pub deployment: String,
    /// When it was made, in milliseconds since 1970.
    pub made_unix_ms: i64,
    /// Since when it counts as kept: when it was made, or later for a stored one.
    pub kept_unix_ms: i64,
    /// Version of the configuration that whoever kept it knew.
    pub stamp: i64,
}

/// Why something cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// Not 1 to 65,535 numbers of four bytes.
    #[error("a vector has 1 to 65535 f32 of 4 bytes, this one has {0} bytes")]
    Vector(usize),
    /// Too long a name.
    #[error("a deployment's name has at most 255 bytes, this one has {0}")]
    Deployment(usize),
}

impl Kept {
    /// `vector` is little-endian f32.
    ///
    /// # Errors
    /// [`KeptError`], when the vector is no whole number of f32, or a part is too large.
    pub fn new(vector: Bytes, facts: Facts) -> Result<Self, KeptError> {
        if vector.is_empty() || !vector.len().is_multiple_of(4) || vector.len() / 4 > usize::from(u16::MAX) {
            return Err(KeptError::Vector(vector.len()));
        }
        if facts.deployment.len() > MAX_DEPLOYMENT {
            return Err(KeptError::Deployment(facts.deployment.len()));
        }
        Ok(Self { vector, facts })
    }

    /// Little-endian f32. May share memory with the whole answer it came in: copy what is to live long.
    pub fn vector(&self) -> &Bytes {
        &self.vector
    }

    /// What is known of it.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its form in Redis under `key`.
    pub(crate) fn encode(&self, key: &VectorKey) -> Bytes {
        let Facts { tokens, deployment, made_unix_ms, kept_unix_ms, stamp } = &self.facts;
        let mut out = BytesMut::with_capacity(HEADER + FACTS + deployment.len() + self.vector.len());
        out.put_slice(&MAGIC);
        out.put_slice(&[VERSION, F32]);
        // `new` has checked both
        out.put_u16_le(u16::try_from(self.vector.len() / 4).unwrap_or(u16::MAX));
        out.put_u16_le(u16::try_from(deployment.len()).unwrap_or(u16::MAX));
        out.put_u16_le(0);
        out.put_u32_le(0);
        out.put_u64_le(*tokens);
        for fact in [made_unix_ms, kept_unix_ms, stamp] {
            out.put_i64_le(*fact);
        }
        out.put_slice(deployment.as_bytes());
        out.put_slice(&self.vector);
        let sum = checksum(key, &out);
        out[CRC_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
    }

    /// Bytes of a value's beginning that [`Kept::stamp_of`] needs.
    pub(crate) const HEAD: usize = HEADER + FACTS;

    /// The stamp of a value, from its beginning; nothing, if it does not begin like one of ours.
    pub(crate) fn stamp_of(head: &[u8]) -> Option<i64> {
        let stamp = head.get(..Self::HEAD)?.last_chunk::<8>()?;
        (head.starts_with(&MAGIC) && head.get(4) == Some(&VERSION)).then(|| i64::from_le_bytes(*stamp))
    }

    /// Reads that form. Anything that is not exactly one of ours, under its own key, is nothing.
    pub(crate) fn decode(key: &VectorKey, value: &Bytes) -> Option<Self> {
        let header = value.first_chunk::<HEADER>()?;
        let [m0, m1, m2, m3, VERSION, F32, d0, d1, n0, n1, 0, 0, crc @ ..] = *header else { return None };
        let (dimensions, name) = (u16::from_le_bytes([d0, d1]), u16::from_le_bytes([n0, n1]));
        let facts = value.get(HEADER..)?.first_chunk::<FACTS>()?;
        let numbers = HEADER + FACTS + usize::from(name);
        let whole = [m0, m1, m2, m3] == MAGIC
            && dimensions > 0
            && usize::from(name) <= MAX_DEPLOYMENT
            && value.len() == numbers + 4 * usize::from(dimensions);
        if !whole || checksum(key, value) != u32::from_le_bytes(crc) {
            return None;
        }
        let [tokens, made, kept, stamp] = [0, 8, 16, 24].map(|at| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&facts[at..at + 8]);
            u64::from_le_bytes(eight)
        });
        let facts = Facts {
            tokens,
            deployment: str::from_utf8(&value[HEADER + FACTS..numbers]).ok()?.to_owned(),
            made_unix_ms: made.cast_signed(),
            kept_unix_ms: kept.cast_signed(),
            stamp: stamp.cast_signed(),
        };
        Some(Self { vector: value.slice(numbers..), facts })
    }
}

/// Over the key and all of `value` but the checksum itself; `value` is at least a header long.
fn checksum(key: &VectorKey, value: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&key.0);
    hasher.update(&value[..CRC_AT]);
    hasher.update(&value[HEADER..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests;
