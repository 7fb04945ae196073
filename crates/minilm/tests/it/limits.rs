//! What is refused: too many tokens, and directories that hold something else.

use std::{fs, path::Path};

use embermesh_minilm::{EmbedError, LoadError, MAX_TOKENS, MiniLm};

use crate::weights::{dir, model};

#[test]
fn one_token_over_the_limit_is_refused_with_its_place_and_count() {
    let fits = "river ".repeat(MAX_TOKENS - 2);
    let over = "river ".repeat(MAX_TOKENS - 1);
    assert_eq!(model().embed(&[&fits]).unwrap().len(), 1);
    let error = model().embed(&["short", &fits, &over, &over]).unwrap_err();
    assert_eq!(error, EmbedError::TooLong { index: 2, tokens: 257, limit: 256 });
    assert_eq!(error.to_string(), "text 2 has 257 tokens, the model takes 256; shorten or split it");
}

#[test]
fn a_text_of_megabytes_is_refused_without_tokenising_it() {
    let error = model().embed(&["ok", &"river ".repeat(1 << 20)]).unwrap_err();
    assert!(matches!(error, EmbedError::Encode { index: 1, .. }), "{error:?}");
}

#[test]
fn no_texts_give_no_vectors() {
    assert_eq!(model().embed(&[]).unwrap(), Vec::<Vec<f32>>::new());
}

#[test]
fn batches_of_mixed_lengths_keep_order_and_values() {
    let texts: Vec<String> = (0..90).map(|i| "stone ".repeat(1 + i * 37 % 250) + &i.to_string()).collect();
    let together = model().embed(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    for (text, expected) in texts.iter().zip(&together) {
        let alone = &model().embed(&[text]).unwrap()[0];
        let worst = alone.iter().zip(expected).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "off by {worst:e}");
    }
}

#[test]
fn an_empty_directory_is_refused_with_the_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let error = MiniLm::load(empty.path()).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }), "{error:?}");
    assert!(error.to_string().contains("scripts/fetch-model-weights.sh"), "{error}");
}

#[test]
fn a_configuration_of_another_model_is_refused() {
    let copy = copy_of_the_weights();
    let config = fs::read_to_string(copy.path().join("config.json")).unwrap();
    let other = config.replace("\"num_hidden_layers\": 6", "\"num_hidden_layers\": 12");
    assert_ne!(config, other);
    fs::write(copy.path().join("config.json"), other).unwrap();
    let error = MiniLm::load(copy.path()).unwrap_err();
    assert!(matches!(error, LoadError::OtherModel { field: "num_hidden_layers", .. }), "{error:?}");
}

#[test]
fn half_a_weights_file_is_refused() {
    let copy = copy_of_the_weights();
    let weights = fs::read(copy.path().join("model.safetensors")).unwrap();
    fs::write(copy.path().join("model.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let error = MiniLm::load(copy.path()).unwrap_err();
    assert!(matches!(error, LoadError::Weights(_)), "{error:?}");
}

fn copy_of_the_weights() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(&dir()).join(name), copy.path().join(name)).unwrap();
    }
    copy
}
