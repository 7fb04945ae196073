//! The forward pass: six layers over the tokens of several texts, packed end to end.

use std::ops::Range;

use faer::Accum;
use pulp::Arch;

use crate::{
    DIMENSIONS,
    attention::attend,
    gelu::add_bias_gelu,
    layer_norm::add_bias_layer_norm,
    weights::{INNER, Layer, Weights},
};

/// The buffers of a forward pass, kept from one to the next: fresh pages cost more than the arithmetic on them.
///
/// They grow to what the largest batch needs, about 7 MB, and stay there.
#[derive(Debug, Default)]
pub struct Workspace {
    hidden: Vec<f32>,
    qkv: Vec<f32>,
    context: Vec<f32>,
    inner: Vec<f32>,
    scores: Vec<f32>,
}

impl Workspace {
    /// Empty buffers.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The hidden states after the last layer, [`DIMENSIONS`] per token.
///
/// `texts` are the ranges of `ids`, in order and without gaps; each has at most [`MAX_TOKENS`](crate::MAX_TOKENS).
pub(crate) fn forward<'w>(
    weights: &Weights,
    ids: &[u32],
    texts: &[Range<usize>],
    workspace: &'w mut Workspace,
) -> &'w [f32] {
    let arch = Arch::new();
    let tokens = ids.len();
    let longest = texts.iter().map(ExactSizeIterator::len).max().unwrap_or(0);

    let hidden = first(&mut workspace.hidden, tokens * DIMENSIONS);
    let qkv = first(&mut workspace.qkv, tokens * 3 * DIMENSIONS);
    let context = first(&mut workspace.context, tokens * DIMENSIONS);
    let inner = first(&mut workspace.inner, tokens * INNER);
    let scores = first(&mut workspace.scores, longest * longest);

    embed_tokens(arch, weights, ids, texts, hidden);
    for layer in &weights.layers {
        attention_block(arch, layer, texts, hidden, qkv, scores, context);
        feed_forward_block(arch, layer, hidden, inner);
    }
    hidden
}

fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

fn embed_tokens(arch: Arch, weights: &Weights, ids: &[u32], texts: &[Range<usize>], hidden: &mut [f32]) {
    let positions = texts.iter().flat_map(|text| weights.positions.chunks_exact(DIMENSIONS).take(text.len()));
    for ((row, id), position) in hidden.chunks_exact_mut(DIMENSIONS).zip(ids).zip(positions) {
        let word = *id as usize * DIMENSIONS;
        row.copy_from_slice(&weights.words[word..word + DIMENSIONS]);
        for (x, p) in row.iter_mut().zip(position) {
            *x += p;
        }
    }
    add_bias_layer_norm(arch, hidden, &[0.0; DIMENSIONS], &weights.embedding_norm);
}

fn attention_block(
    arch: Arch,
    layer: &Layer,
    texts: &[Range<usize>],
    hidden: &mut [f32],
    qkv: &mut [f32],
    scores: &mut [f32],
    context: &mut [f32],
) {
    // The product accumulates onto the bias: one pass less than adding it afterwards.
    for row in qkv.chunks_exact_mut(layer.qkv_bias.len()) {
        row.copy_from_slice(&layer.qkv_bias);
    }
    layer.qkv.apply(qkv, Accum::Add, hidden);
    attend(arch, qkv, texts, scores, context);
    layer.attention_out.apply(hidden, Accum::Add, context);
    add_bias_layer_norm(arch, hidden, &layer.attention_out_bias, &layer.attention_norm);
}

fn feed_forward_block(arch: Arch, layer: &Layer, hidden: &mut [f32], inner: &mut [f32]) {
    layer.up.apply(inner, Accum::Replace, hidden);
    add_bias_gelu(arch, inner, &layer.up_bias);
    layer.down.apply(hidden, Accum::Add, inner);
    add_bias_layer_norm(arch, hidden, &layer.down_bias, &layer.output_norm);
}
