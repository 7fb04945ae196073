//! The upstream's answers, serialised once and then only copied to sockets.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use embermesh_testing::sim::embedding::{EmbedAnswer, Item};
use embermesh_testing::sim::{openai, vector};

use crate::scan::Shape;

/// The model that the upstream says it is.
pub const MODEL: &str = "text-embedding-3-small";
/// Its dimensions unless the request says otherwise.
pub const DIMS: usize = 1536;
/// Tokens billed per input, near what the load's texts have.
const TOKENS_PER_INPUT: usize = 75;

/// Answers by shape. An input's vector depends on its position only.
#[derive(Debug, Default)]
pub struct Answers(Mutex<HashMap<Shape, Bytes>>);

impl Answers {
    /// The answer for a request of this shape; the first of each shape is slow.
    pub fn get(&self, shape: Shape) -> Bytes {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.entry(shape).or_insert_with(|| serialise(shape)).clone()
    }
}

/// The vector of the input at `index`.
#[must_use]
pub fn vector_at(index: usize, dims: usize) -> Vec<f32> {
    vector(MODEL, &index.to_string(), dims)
}

fn serialise(shape: Shape) -> Bytes {
    let dims = shape.dims.unwrap_or(DIMS);
    let items = (0..shape.inputs).map(|index| Item { index, vector: vector_at(index, dims) }).collect();
    let tokens = shape.inputs * TOKENS_PER_INPUT;
    openai::write_answer(&EmbedAnswer { model: MODEL.to_owned(), items, tokens, base64: shape.base64 }).into()
}
