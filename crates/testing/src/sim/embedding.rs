//! An embedding request and its answer, in no wire format yet.

use super::faults::Fault;
use super::model::ModelSpec;
use super::tokens;
use super::vectors;

/// One thing to embed, with the tokens it is billed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// UTF-8 text, or what token ids decode to.
    pub text: Vec<u8>,
    /// Billed tokens.
    pub tokens: usize,
    /// Whether it was longer and has been cut.
    pub cut: bool,
}

impl Input {
    /// A text with its count.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self { tokens: tokens::count(text), text: text.into(), cut: false }
    }

    /// The first `max` tokens of a longer text, or its last ones.
    #[must_use]
    pub fn cut(self, max: usize, from: CutFrom) -> Self {
        if self.tokens <= max {
            return self;
        }
        let ids = tokens::encode(&String::from_utf8_lossy(&self.text));
        let kept = match from {
            CutFrom::End => &ids[..max.min(ids.len())],
            CutFrom::Start => &ids[ids.len().saturating_sub(max)..],
        };
        let text = tokens::decode(kept).unwrap_or(self.text);
        Self { text, tokens: kept.len(), cut: true }
    }
}

/// Which end of a text that is too long is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutFrom {
    /// The beginning.
    Start,
    /// The end.
    End,
}

/// What the components of a vector are sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// f32.
    Float,
    /// -128 to 127.
    Int8,
    /// 0 to 255.
    Uint8,
    /// Signs, eight to a byte, which is 128 less than with `Ubinary`.
    Binary,
    /// Signs, eight to a byte, the first one highest.
    Ubinary,
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
    /// Whether the client wants packed vectors, little-endian in base64.
    pub base64: bool,
    /// What the components are; several for APIs that send each vector in several forms.
    pub numbers: Vec<Numbers>,
    /// What the inputs are for, as the client wrote it.
    pub input_type: Option<String>,
    /// Whether the model's vectors depend on it.
    pub asymmetric: bool,
    /// Components of the unit vector that these are the beginning of, when the API cuts without normalising again.
    pub cut_from: Option<usize>,
}

impl EmbedRequest {
    /// Inputs for `model` under the name `name`, everything else by default.
    #[must_use]
    pub fn new(model: &ModelSpec, name: &str, inputs: Vec<Input>) -> Self {
        Self {
            model: name.to_owned(),
            family: model.family.clone(),
            inputs,
            dims: model.dims,
            base64: false,
            numbers: vec![Numbers::Float],
            input_type: None,
            asymmetric: model.asymmetric,
            cut_from: None,
        }
    }

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

    fn vector(&self, seed: u64, input: &Input, dims: usize) -> Vec<f32> {
        let input_type = self.input_type.as_deref().filter(|_| self.asymmetric);
        let whole = self.cut_from.unwrap_or(dims).max(dims);
        let mut vector = vectors::vector_of(seed, &self.family, input_type, &input.text, whole);
        vector.truncate(dims);
        vector
    }

    /// The answer, spoilt by `fault` if that is one of its kinds.
    pub(super) fn answer(&self, seed: u64, fault: Option<&Fault>, has_index: bool) -> EmbedAnswer {
        let dims =
            if matches!(fault, Some(Fault::WrongDims)) { self.dims.saturating_sub(1) } else { self.dims };
        let mut items: Vec<Item> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(index, input)| Item { index, vector: self.vector(seed, input, dims) })
            .collect();
        match fault {
            Some(Fault::WrongCount) => items.truncate(items.len().saturating_sub(1)),
            Some(Fault::WrongOrder) => items.reverse(),
            // without an index to be wrong there is one vector too many
            Some(Fault::WrongIndex) if !has_index => items.extend(items.first().cloned()),
            // twice the same index, or for a lone vector one out of range
            Some(Fault::WrongIndex) => items.iter_mut().take(1).for_each(|item| item.index = 1),
            Some(Fault::NotANumber) => items.iter_mut().for_each(|item| item.vector[dims / 2] = f32::NAN),
            Some(Fault::HugeVector) => {
                items.iter_mut().take(1).flat_map(|item| &mut item.vector).for_each(|x| *x *= 1e6);
            }
            Some(Fault::ZeroVector) => items.iter_mut().for_each(|item| item.vector.fill(0.0)),
            _ => {}
        }
        let base64 = self.base64 && !matches!(fault, Some(Fault::IgnoreBase64));
        EmbedAnswer { tokens: self.tokens(), model: self.model.clone(), items, base64 }
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
