//! The model as a whole: text in, vectors out, on the calling thread.

use std::{ops::Range, path::Path};

use embermesh_tokens::TextTokenizer;

use crate::{
    DIMENSIONS, EmbedError, LoadError, MAX_TOKENS, Tokenizer, Workspace, forward::forward,
    pooling::mean_normalized, weights::Weights,
};

/// Tokens computed at once. More amortises the packing of the weights further, fewer keep the activations in cache.
const PACKED_TOKENS: usize = 512;

/// all-MiniLM-L6-v2 in memory, 90 MB. Shared freely between threads.
#[derive(Debug)]
pub struct MiniLm {
    weights: Weights,
    tokenizer: Tokenizer,
}

impl MiniLm {
    /// Loads `config.json`, `model.safetensors` and `tokenizer.json` from a directory and checks that they are of this
    /// model. Blocks: it reads and rearranges 90 MB.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Ok(Self { weights: Weights::load(dir)?, tokenizer: Tokenizer::load(dir)? })
    }

    /// The model's own tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// One vector per text, in order: [`DIMENSIONS`] floats of length one.
    ///
    /// Blocks the calling thread, about 10 ms per text of 75 tokens. All texts are checked before any is computed.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.embed_with(&mut Workspace::new(), texts)
    }

    /// As [`embed`](Self::embed), with buffers that the caller keeps.
    pub fn embed_with(
        &self,
        workspace: &mut Workspace,
        texts: &[impl AsRef<str>],
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let encoded = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.encode(index, text.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;

        let mut vectors = Vec::with_capacity(texts.len());
        let mut rest = encoded.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_len(rest));
            self.embed_batch(workspace, batch, &mut vectors);
            rest = later;
        }
        Ok(vectors)
    }

    fn encode(&self, index: usize, text: &str) -> Result<Vec<u32>, EmbedError> {
        let ids = self.tokenizer.encode(text).map_err(|source| EmbedError::Encode { index, source })?;
        match ids.len() {
            0..=MAX_TOKENS => Ok(ids),
            tokens => Err(EmbedError::TooLong { index, tokens, limit: MAX_TOKENS }),
        }
    }

    fn embed_batch(&self, workspace: &mut Workspace, batch: &[Vec<u32>], vectors: &mut Vec<Vec<f32>>) {
        let ids = batch.concat();
        let mut end = 0;
        let ranges: Vec<Range<usize>> = batch
            .iter()
            .map(|text| {
                end += text.len();
                end - text.len()..end
            })
            .collect();
        let hidden = forward(&self.weights, &ids, &ranges, workspace);
        vectors.extend(
            ranges
                .iter()
                .map(|text| mean_normalized(&hidden[text.start * DIMENSIONS..text.end * DIMENSIONS])),
        );
    }
}

/// How many of the texts make the next batch: as many as fit, and at least one.
fn batch_len(texts: &[Vec<u32>]) -> usize {
    let mut tokens = 0;
    let fit = texts.iter().take_while(|text| {
        tokens += text.len();
        tokens <= PACKED_TOKENS
    });
    fit.count().max(1)
}
