//! Cohere's bodies as Bedrock takes them: texts in, vectors out in their order.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::super::deployment::ModelSpec;
use super::super::super::embedding::{CutFrom, EmbedAnswer, EmbedRequest, Input, Numbers};
use super::super::numbers::write_vector;
use super::super::present;
use super::error::AwsError;

/// Most texts of one call.
const MAX_TEXTS: usize = 96;
/// Most characters of a text for Embed 3; the schema refuses more, whatever `truncate` says.
const MAX_CHARACTERS_V3: usize = 2048;

/// Images and mixed inputs exist too, and are not simulated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    texts: Vec<String>,
    input_type: InputType,
    #[serde(default, deserialize_with = "present")]
    truncate: Option<Truncate>,
    #[serde(default, deserialize_with = "present")]
    embedding_types: Option<Vec<EmbeddingType>>,
    #[serde(default, deserialize_with = "present")]
    output_dimension: Option<usize>,
    #[serde(default, deserialize_with = "present")]
    max_tokens: Option<usize>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum InputType {
    SearchDocument,
    SearchQuery,
    Classification,
    Clustering,
}

/// Embed 3 says START and END, Embed 4 LEFT and RIGHT.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Truncate {
    None,
    Start,
    End,
    Left,
    Right,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EmbeddingType {
    Float,
    Int8,
    Uint8,
    Binary,
    Ubinary,
}

pub(super) fn read(model: &ModelSpec, body: &[u8]) -> Result<EmbedRequest, AwsError> {
    let body: Body =
        serde_json::from_slice(body).map_err(|error| AwsError::malformed(format!("#: {error}")))?;
    let is_v4 = model.shortenable;
    if !is_v4 && (body.output_dimension.is_some() || body.max_tokens.is_some()) {
        return Err(AwsError::malformed(
            "#: extraneous key [output_dimension] or [max_tokens] is not permitted",
        ));
    }
    let dims = model.dims_asked(body.output_dimension).map_err(AwsError::malformed)?;
    check_texts(&body.texts, (!is_v4).then_some(MAX_CHARACTERS_V3))?;
    let most = body.max_tokens.unwrap_or(model.max_tokens).min(model.max_tokens);
    let cut = cut(body.truncate.unwrap_or(Truncate::None), is_v4)?;
    let inputs: Result<Vec<Input>, AwsError> = body
        .texts
        .iter()
        .map(|text| match (Input::text(text), cut) {
            (input, _) if input.tokens <= most => Ok(input),
            (input, Some(end)) => Ok(input.cut(most, end)),
            (_, None) => Err(AwsError::validation("Input is too long for requested model.")),
        })
        .collect();
    Ok(EmbedRequest {
        dims,
        // none: the answer's older form, where the vectors stand alone
        numbers: body.embedding_types.unwrap_or_default().into_iter().map(numbers_of).collect(),
        input_type: Some(name_of(body.input_type).to_owned()),
        ..EmbedRequest::new(model, &model.name, inputs?)
    })
}

fn check_texts(texts: &[String], max_characters: Option<usize>) -> Result<(), AwsError> {
    if texts.is_empty() {
        return Err(AwsError::malformed("#/texts: expected minimum item count: 1, found: 0"));
    }
    if texts.len() > MAX_TEXTS {
        let found = texts.len();
        return Err(AwsError::malformed(format!(
            "#/texts: expected maximum item count: {MAX_TEXTS}, found: {found}"
        )));
    }
    for (at, text) in texts.iter().enumerate() {
        let characters = text.chars().count();
        if characters == 0 {
            return Err(AwsError::malformed(format!("#/texts/{at}: expected minLength: 1, actual: 0")));
        }
        if let Some(most) = max_characters.filter(|most| characters > *most) {
            let what = format!("#/texts/{at}: expected maxLength: {most}, actual: {characters}");
            return Err(AwsError::malformed(what));
        }
    }
    Ok(())
}

/// Which end is dropped; none: the text is refused.
fn cut(truncate: Truncate, is_v4: bool) -> Result<Option<CutFrom>, AwsError> {
    match (truncate, is_v4) {
        (Truncate::None, _) => Ok(None),
        (Truncate::Start, false) | (Truncate::Left, true) => Ok(Some(CutFrom::Start)),
        (Truncate::End, false) | (Truncate::Right, true) => Ok(Some(CutFrom::End)),
        _ => Err(AwsError::malformed("#/truncate: not a value of this model")),
    }
}

const fn name_of(input_type: InputType) -> &'static str {
    match input_type {
        InputType::SearchDocument => "search_document",
        InputType::SearchQuery => "search_query",
        InputType::Classification => "classification",
        InputType::Clustering => "clustering",
    }
}

const fn numbers_of(embedding_type: EmbeddingType) -> Numbers {
    match embedding_type {
        EmbeddingType::Float => Numbers::Float,
        EmbeddingType::Int8 => Numbers::Int8,
        EmbeddingType::Uint8 => Numbers::Uint8,
        EmbeddingType::Binary => Numbers::Binary,
        EmbeddingType::Ubinary => Numbers::Ubinary,
    }
}

/// Vectors alone, or by type where the request named types.
pub(super) fn write(request: &EmbedRequest, answer: &EmbedAnswer) -> Vec<u8> {
    let texts = json!(request.texts());
    let id = blake3::hash(texts.to_string().as_bytes()).to_hex();
    let mut out = format!(r#"{{"id":"{}","texts":{texts},"embeddings":"#, &id[..32]).into_bytes();
    let form = if request.numbers.is_empty() {
        write_vectors(&mut out, answer, Numbers::Float);
        "embeddings_floats"
    } else {
        for (position, numbers) in request.numbers.iter().enumerate() {
            out.push(if position > 0 { b',' } else { b'{' });
            let name = Value::from(format!("{numbers:?}").to_lowercase());
            out.extend_from_slice(format!("{name}:").as_bytes());
            write_vectors(&mut out, answer, *numbers);
        }
        out.push(b'}');
        "embeddings_by_type"
    };
    out.extend_from_slice(format!(r#","response_type":"{form}"}}"#).as_bytes());
    out
}

fn write_vectors(out: &mut Vec<u8>, answer: &EmbedAnswer, numbers: Numbers) {
    out.push(b'[');
    for (position, item) in answer.items.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_vector(out, &item.vector, numbers, false);
    }
    out.push(b']');
}
