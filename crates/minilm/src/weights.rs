//! The weights, read from `model.safetensors`, checked against the one architecture this crate computes, and laid out
//! for the forward pass.

use std::{fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::{DIMENSIONS, LoadError, MAX_TOKENS, layer_norm::LayerNorm, matrix::Linear};

pub(crate) const HEADS: usize = 12;
pub(crate) const INNER: usize = 4 * DIMENSIONS;
pub(crate) const VOCABULARY: usize = 30_522;
const LAYERS: usize = 6;
const POSITIONS: usize = 512;

#[derive(Debug)]
pub(crate) struct Weights {
    /// Per vocabulary entry, a row.
    pub words: Vec<f32>,
    /// Per position up to [`MAX_TOKENS`], a row; the embedding of token type 0, which every token has, is added in.
    pub positions: Vec<f32>,
    pub embedding_norm: LayerNorm,
    pub layers: Vec<Layer>,
}

#[derive(Debug)]
pub(crate) struct Layer {
    /// Query, key and value as one map.
    pub qkv: Linear,
    pub qkv_bias: Vec<f32>,
    pub attention_out: Linear,
    pub attention_out_bias: Vec<f32>,
    pub attention_norm: LayerNorm,
    pub up: Linear,
    pub up_bias: Vec<f32>,
    pub down: Linear,
    pub down_bias: Vec<f32>,
    pub output_norm: LayerNorm,
}

impl Weights {
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        check_config(&read(dir, "config.json")?)?;
        let bytes = read(dir, "model.safetensors")?;
        let file = File(SafeTensors::deserialize(&bytes)?);

        let mut positions = file.tensor("embeddings.position_embeddings.weight", &[POSITIONS, DIMENSIONS])?;
        positions.truncate(MAX_TOKENS * DIMENSIONS);
        let types = file.tensor("embeddings.token_type_embeddings.weight", &[2, DIMENSIONS])?;
        for row in positions.chunks_exact_mut(DIMENSIONS) {
            for (x, kind) in row.iter_mut().zip(&types) {
                *x += kind;
            }
        }
        Ok(Self {
            words: file.tensor("embeddings.word_embeddings.weight", &[VOCABULARY, DIMENSIONS])?,
            positions,
            embedding_norm: file.norm("embeddings.LayerNorm")?,
            layers: (0..LAYERS)
                .map(|i| file.layer(&format!("encoder.layer.{i}")))
                .collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn read(dir: &Path, name: &str) -> Result<Vec<u8>, LoadError> {
    let path = dir.join(name);
    fs::read(&path).map_err(|source| LoadError::Read { path, source })
}

/// The fields of `config.json` that change the result without changing the shape of any tensor read here.
#[derive(Deserialize)]
struct Config {
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_act: String,
    layer_norm_eps: f64,
    position_embedding_type: String,
}

fn check_config(json: &[u8]) -> Result<(), LoadError> {
    let config: Config = serde_json::from_slice(json).map_err(LoadError::Config)?;
    let fields = [
        ("num_hidden_layers", LAYERS.to_string(), config.num_hidden_layers.to_string()),
        ("num_attention_heads", HEADS.to_string(), config.num_attention_heads.to_string()),
        ("hidden_act", "gelu".to_owned(), config.hidden_act),
        ("layer_norm_eps", 1e-12_f64.to_string(), config.layer_norm_eps.to_string()),
        ("position_embedding_type", "absolute".to_owned(), config.position_embedding_type),
    ];
    match fields.into_iter().find(|(_, expected, found)| expected != found) {
        Some((field, expected, found)) => Err(LoadError::OtherModel { field, expected, found }),
        None => Ok(()),
    }
}

struct File<'a>(SafeTensors<'a>);

impl File<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let wrong = |found: String| LoadError::Tensor {
            name: name.to_owned(),
            expected: format!("{:?} {shape:?}", Dtype::F32),
            found,
        };
        let view = self.0.tensor(name).map_err(|_| wrong("missing".to_owned()))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(wrong(format!("{:?} {:?}", view.dtype(), view.shape())));
        }
        let (floats, _) = view.data().as_chunks::<4>();
        Ok(floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn norm(&self, name: &str) -> Result<LayerNorm, LoadError> {
        Ok(LayerNorm {
            scale: self.tensor(&format!("{name}.weight"), &[DIMENSIONS])?,
            shift: self.tensor(&format!("{name}.bias"), &[DIMENSIONS])?,
        })
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<(Linear, Vec<f32>), LoadError> {
        let weights = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = self.tensor(&format!("{name}.bias"), &[outputs])?;
        Ok((Linear::joined(inputs, &[weights]), bias))
    }

    fn layer(&self, name: &str) -> Result<Layer, LoadError> {
        let mut parts = Vec::new();
        let mut qkv_bias = Vec::new();
        for part in ["query", "key", "value"] {
            let part = format!("{name}.attention.self.{part}");
            parts.push(self.tensor(&format!("{part}.weight"), &[DIMENSIONS, DIMENSIONS])?);
            qkv_bias.extend(self.tensor(&format!("{part}.bias"), &[DIMENSIONS])?);
        }
        let (attention_out, attention_out_bias) =
            self.linear(&format!("{name}.attention.output.dense"), DIMENSIONS, DIMENSIONS)?;
        let (up, up_bias) = self.linear(&format!("{name}.intermediate.dense"), INNER, DIMENSIONS)?;
        let (down, down_bias) = self.linear(&format!("{name}.output.dense"), DIMENSIONS, INNER)?;
        Ok(Layer {
            qkv: Linear::joined(DIMENSIONS, &parts),
            qkv_bias,
            attention_out,
            attention_out_bias,
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"))?,
            up,
            up_bias,
            down,
            down_bias,
            output_norm: self.norm(&format!("{name}.output.LayerNorm"))?,
        })
    }
}
