//! Vectors as little-endian f32 bytes, the form they have inside the system.

use bytes::Bytes;

/// Bytes that are not a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongVector;

/// The vector as little-endian bytes.
pub fn to_le_bytes(vector: &[f32]) -> Bytes {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Reads little-endian bytes; their number must be a multiple of four.
pub fn from_le_bytes(bytes: &[u8]) -> Result<Vec<f32>, WrongVector> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        Ok(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
    } else {
        Err(WrongVector)
    }
}
