//! An embedding request and its answer, in no wire format yet.

use super::faults::Fault;
use super::vectors::vector_seeded;

/// One thing to embed, with the tokens it is billed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// UTF-8 text, or what token ids decode to.
    pub text: Vec<u8>,
    /// Billed tokens.
    pub tokens: usize,
}

/// A request that passed every check of its wire format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The model's name as the client wrote it.
    pub model: String,
    /// What its vectors depend on.
    pub family: String,
    /// What to embed, in order.
    pub inputs: Vec<Input>,
    /// Components of each vector.
    pub dims: usize,
    /// Whether the client wants packed vectors instead of numbers.
    pub base64: bool,
}

impl EmbedRequest {
    /// Billed tokens of all inputs.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.inputs.iter().map(|input| input.tokens).sum()
    }

    /// The inputs as text; half a character becomes U+FFFD.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.inputs.iter().map(|input| String::from_utf8_lossy(&input.text).into_owned()).collect()
    }

    /// The answer, spoilt by `fault` if that is one of its kinds.
    pub(super) fn answer(mut self, seed: u64, fault: Option<&Fault>) -> EmbedAnswer {
        let dims =
            if matches!(fault, Some(Fault::WrongDims)) { self.dims.saturating_sub(1) } else { self.dims };
        let mut items: Vec<Item> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| Item {
                index,
                vector: vector_seeded(seed, &self.family, &input.text, dims),
            })
            .collect();
        match fault {
            Some(Fault::WrongCount) => items.truncate(items.len() - 1),
            Some(Fault::WrongOrder) => items.reverse(),
            // twice the same index, or for a lone vector one out of range
            Some(Fault::WrongIndex) => items[0].index = 1,
            Some(Fault::NotANumber) => items.iter_mut().for_each(|item| item.vector[dims / 2] = f32::NAN),
            Some(Fault::ZeroVector) => items.iter_mut().for_each(|item| item.vector.fill(0.0)),
            Some(Fault::IgnoreBase64) => self.base64 = false,
            _ => {}
        }
        EmbedAnswer { tokens: self.tokens(), model: self.model, items, base64: self.base64 }
    }
}

/// A vector and the input that it claims to belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Position of the input.
    pub index: usize,
    /// The embedding.
    pub vector: Vec<f32>,
}

/// What a wire format writes out.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbedAnswer {
    /// The model's name.
    pub model: String,
    /// Vectors, in the order in which they are sent.
    pub items: Vec<Item>,
    /// Billed tokens.
    pub tokens: usize,
    /// Packed little-endian f32 in base64, or numbers.
    pub base64: bool,
}
