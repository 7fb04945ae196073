//! Whether an answer is one: right count, order, length, encoding, finite unit vectors.

use serde::Deserialize;

use crate::answers::DIMS;
use crate::workload::Case;

/// What is wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// Not OpenAI's JSON, or a vector in the other encoding.
    #[error("not an embedding answer: {0}")]
    Json(#[from] serde_json::Error),
    /// Fewer or more vectors than inputs.
    #[error("{got} vectors for {wanted} inputs")]
    Count {
        /// Vectors that came.
        got: usize,
        /// Inputs sent.
        wanted: usize,
    },
    /// Indices not 0, 1, 2, …
    #[error("vector {position} says it is number {index}")]
    Index {
        /// Place in the answer.
        position: usize,
        /// What it says.
        index: usize,
    },
    /// Encoding asked for and encoding sent differ.
    #[error("vector {0} is not in the encoding asked for")]
    Encoding(usize),
    /// Wrong length, NaN, infinite, or not of length 1.
    #[error("vector {0} is not {DIMS} finite numbers of unit length")]
    Vector(usize),
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: usize,
    embedding: Embedding,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Embedding {
    Floats(Vec<f32>),
    Base64(String),
}

/// Checks the answer to a request of this case.
///
/// # Errors
/// Tells the first thing that is wrong.
pub fn verify(body: &[u8], case: Case) -> Result<(), BadAnswer> {
    let Answer { data } = serde_json::from_slice(body)?;
    if data.len() != case.inputs {
        return Err(BadAnswer::Count { got: data.len(), wanted: case.inputs });
    }
    for (position, item) in data.into_iter().enumerate() {
        if item.index != position {
            return Err(BadAnswer::Index { position, index: item.index });
        }
        let vector = match (item.embedding, case.base64) {
            (Embedding::Floats(vector), false) => vector,
            (Embedding::Base64(packed), true) => {
                let bytes = base64_simd::STANDARD.decode_to_vec(packed);
                let bytes = bytes.map_err(|_| BadAnswer::Encoding(position))?;
                bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
            }
            _ => return Err(BadAnswer::Encoding(position)),
        };
        let square: f64 = vector.iter().map(|component| f64::from(*component).powi(2)).sum();
        // a NaN fails the comparison too
        let is_unit = (square - 1.0).abs() < 1e-3;
        if vector.len() != DIMS || !is_unit {
            return Err(BadAnswer::Vector(position));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Answers;
    use crate::scan::Shape;

    fn answer(inputs: usize, base64: bool, dims: Option<usize>) -> Vec<u8> {
        Answers::default().get(Shape { inputs, base64, dims }).to_vec()
    }

    #[test]
    fn the_upstreams_own_answers_pass() {
        for case in Case::all() {
            verify(&answer(case.inputs, case.base64, None), case).unwrap();
        }
    }

    #[test]
    fn each_kind_of_wrong_answer_is_told() {
        let case = Case { inputs: 2, base64: false, hit: false };
        let check = |body: &[u8]| verify(body, case).unwrap_err();
        assert!(matches!(check(b"{}"), BadAnswer::Json(_)));
        assert!(matches!(check(&answer(1, false, None)), BadAnswer::Count { got: 1, wanted: 2 }));
        assert!(matches!(check(&answer(2, true, None)), BadAnswer::Encoding(0)));
        assert!(matches!(check(&answer(2, false, Some(8))), BadAnswer::Vector(0)));
        let text = String::from_utf8(answer(2, false, None)).unwrap();
        let swapped = text.replace(r#""index":0"#, r#""index":1"#);
        assert!(matches!(check(swapped.as_bytes()), BadAnswer::Index { position: 0, index: 1 }));
        let (head, tail) = text.split_once(r#""embedding":["#).unwrap();
        let huge = format!(r#"{head}"embedding":[9{tail}"#);
        assert!(matches!(check(huge.as_bytes()), BadAnswer::Vector(0)));
    }
}
