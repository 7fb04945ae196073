//! The forward pass against the model's own Python implementation.

use embermesh_minilm::DIMENSIONS;
use embermesh_tokens::TextTokenizer;
use serde::Deserialize;

use crate::weights::model;

#[derive(Deserialize)]
struct Reference {
    text: String,
    tokens: usize,
    vector: Vec<f32>,
}

fn reference() -> Vec<Reference> {
    serde_json::from_str(include_str!("../reference.json")).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn assert_agree(vectors: &[Vec<f32>], reference: &[Reference]) {
    assert_eq!(vectors.len(), reference.len());
    for (vector, reference) in vectors.iter().zip(reference) {
        assert_eq!(vector.len(), DIMENSIONS);
        let cosine = cosine(vector, &reference.vector);
        let worst = vector.iter().zip(&reference.vector).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(cosine >= 0.9999 && worst < 2e-6, "cosine {cosine}, off by {worst:e}: {:?}", reference.text);
    }
}

#[test]
fn twenty_texts_in_one_call_agree_with_the_python_model() {
    let model = model();
    let reference = reference();
    assert_eq!(reference.len(), 20);
    let texts: Vec<&str> = reference.iter().map(|row| row.text.as_str()).collect();
    assert_agree(&model.embed(&texts).unwrap(), &reference);
}

#[test]
fn each_text_alone_agrees_with_the_python_model() {
    let model = model();
    let reference = reference();
    let vectors: Vec<_> = reference.iter().flat_map(|row| model.embed(&[&row.text]).unwrap()).collect();
    assert_agree(&vectors, &reference);
}

#[test]
fn token_counts_agree_with_the_python_model() {
    let model = model();
    for row in reference() {
        assert_eq!(model.tokenizer().count(&row.text).unwrap(), row.tokens, "{:?}", row.text);
    }
}
