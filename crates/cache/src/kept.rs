//! What is kept for a text, and how it lies in Redis: a header of 16 bytes, three facts, and the numbers.
//!
//! ```text
//! magic "EMBV" | version | element | dimensions u16 | name length u16 | flags u16 | crc32
//! tokens u64 | made i64, ms since 1970 | deployment | little-endian f32 …
//! ```
//! The checksum covers the key too, so that an answer to another question is a miss and not somebody else's vector.

use std::str;

use bytes::{BufMut as _, Bytes, BytesMut};
use crc32fast::Hasher;

use crate::VectorKey;

const MAGIC: [u8; 4] = *b"EMBV";
const VERSION: u8 = 1;
/// The one kind of element so far.
const F32: u8 = 1;
const CRC_AT: usize = 12;
const HEADER: usize = 16;
const FACTS: usize = 16;
const MAX_DEPLOYMENT: usize = 255;

/// A vector and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    vector: Bytes,
    tokens: u64,
    deployment: String,
    made_unix_ms: i64,
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
    /// `vector` is little-endian f32, `deployment` what made it, `made_unix_ms` when.
    ///
    /// # Errors
    /// [`KeptError`], when the vector is no whole number of f32, or a part is too large.
    pub fn new(vector: Bytes, tokens: u64, deployment: String, made_unix_ms: i64) -> Result<Self, KeptError> {
        if vector.is_empty() || !vector.len().is_multiple_of(4) || vector.len() / 4 > usize::from(u16::MAX) {
            return Err(KeptError::Vector(vector.len()));
        }
        if deployment.len() > MAX_DEPLOYMENT {
            return Err(KeptError::Deployment(deployment.len()));
        }
        Ok(Self { vector, tokens, deployment, made_unix_ms })
    }

    /// Little-endian f32. May share memory with the whole answer it came in: copy what is to live long.
    pub fn vector(&self) -> &Bytes {
        &self.vector
    }

    /// Tokens of the text.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// The deployment that made it.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// When it was made, in milliseconds since 1970.
    pub const fn made_unix_ms(&self) -> i64 {
        self.made_unix_ms
    }

    /// Its form in Redis under `key`.
    pub(crate) fn encode(&self, key: &VectorKey) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + FACTS + self.deployment.len() + self.vector.len());
        out.put_slice(&MAGIC);
        out.put_slice(&[VERSION, F32]);
        // `new` has checked both
        out.put_u16_le(u16::try_from(self.vector.len() / 4).unwrap_or(u16::MAX));
        out.put_u16_le(u16::try_from(self.deployment.len()).unwrap_or(u16::MAX));
        out.put_u16_le(0);
        out.put_u32_le(0);
        out.put_u64_le(self.tokens);
        out.put_i64_le(self.made_unix_ms);
        out.put_slice(self.deployment.as_bytes());
        out.put_slice(&self.vector);
        let sum = checksum(key, &out);
        out[CRC_AT..HEADER].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
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
        let [t0, t1, t2, t3, t4, t5, t6, t7, made @ ..] = *facts;
        Some(Self {
            vector: value.slice(numbers..),
            tokens: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            deployment: str::from_utf8(&value[HEADER + FACTS..numbers]).ok()?.to_owned(),
            made_unix_ms: i64::from_le_bytes(made),
        })
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
