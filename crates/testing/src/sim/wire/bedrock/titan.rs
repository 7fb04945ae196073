//! Amazon Titan's bodies: one text in, one vector out.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::super::deployment::ModelSpec;
use super::super::super::embedding::{EmbedAnswer, EmbedRequest, Input};
use super::super::numbers::write_floats;
use super::super::present;
use super::error::AwsError;

/// Most characters of a text.
const MAX_CHARACTERS: usize = 50_000;

/// Which Titan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
    Image,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct V1 {
    input_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct V2 {
    input_text: String,
    #[serde(default, deserialize_with = "present")]
    dimensions: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    normalize: Option<bool>,
    #[serde(default, deserialize_with = "present")]
    embedding_types: Option<Vec<EmbeddingType>>,
}

/// `binary` exists too, and is not simulated.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmbeddingType {
    Float,
}

/// Images are not simulated.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Image {
    input_text: String,
    #[serde(default, deserialize_with = "present")]
    embedding_config: Option<EmbeddingConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EmbeddingConfig {
    output_embedding_length: usize,
}

pub(super) fn read(version: Version, model: &ModelSpec, body: &[u8]) -> Result<EmbedRequest, AwsError> {
    let (text, dims, normalize) = match version {
        Version::V1 => {
            let V1 { input_text } = parse(body)?;
            (input_text, None, true)
        }
        Version::V2 => {
            let V2 { input_text, dimensions, normalize, embedding_types } = parse(body)?;
            if embedding_types.is_some_and(|types| types.is_empty()) {
                return Err(AwsError::malformed(
                    "#/embeddingTypes: expected minimum item count: 1, found: 0",
                ));
            }
            (input_text, dimensions, normalize.unwrap_or(true))
        }
        Version::Image => {
            let Image { input_text, embedding_config } = parse(body)?;
            (input_text, embedding_config.map(|config| config.output_embedding_length), true)
        }
    };
    let dims = model.dims_asked(dims).map_err(AwsError::malformed)?;
    let input = input(model, &text)?;
    // without normalising, a vector has another length than 1
    let cut_from = (!normalize).then_some(2 * model.dims);
    Ok(EmbedRequest { dims, cut_from, ..EmbedRequest::new(model, &model.name, vec![input]) })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, AwsError> {
    serde_json::from_slice(body).map_err(|error| AwsError::malformed(format!("#: {error}")))
}

fn input(model: &ModelSpec, text: &str) -> Result<Input, AwsError> {
    let characters = text.chars().count();
    if characters == 0 {
        return Err(AwsError::malformed("#/inputText: expected minLength: 1, actual: 0"));
    }
    if characters > MAX_CHARACTERS {
        let what = format!("#/inputText: expected maxLength: {MAX_CHARACTERS}, actual: {characters}");
        return Err(AwsError::malformed(what));
    }
    let input = Input::text(text);
    let (most, tokens) = (model.max_tokens, input.tokens);
    if tokens > most {
        return Err(AwsError::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {most}, request input token count: {tokens} "
        )));
    }
    Ok(input)
}

/// One vector; were there several, all their numbers in one array, for there is no place for a second.
pub(super) fn write(version: Version, answer: &EmbedAnswer) -> Vec<u8> {
    let mut embedding = Vec::new();
    let numbers: Vec<f32> = answer.items.iter().flat_map(|item| item.vector.iter().copied()).collect();
    write_floats(&mut embedding, &numbers);
    let mut out = b"{".to_vec();
    if !answer.items.is_empty() {
        out.extend_from_slice(br#""embedding":"#);
        out.extend_from_slice(&embedding);
        out.push(b',');
        if version == Version::V2 {
            out.extend_from_slice(br#""embeddingsByType":{"float":"#);
            out.extend_from_slice(&embedding);
            out.extend_from_slice(b"},");
        }
    }
    let message = if version == Version::Image { r#","message":null"# } else { "" };
    out.extend_from_slice(format!(r#""inputTextTokenCount":{}{message}}}"#, answer.tokens).as_bytes());
    out
}
