//! Which models the catalog may hold.

use std::collections::HashSet;

use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_types::SpaceId;

use super::{names::check_label, price};

const TOKENIZERS: [&str; 3] = ["cl100k_base", "wordpiece", "bytes"];
const PROVIDER_KINDS: [&str; 8] =
    ["openai", "azure_openai", "bedrock", "vertex", "gemini", "voyage", "cohere", "local"];
const MAX_BATCH: u32 = 2048;
const MAX_TOKENS: u32 = 10_000_000;
const MAX_BATCH_TOKENS: u32 = 1_000_000_000;
const MODALITIES: [&str; 2] = ["text", "multimodal"];
/// Source of a figure that came without one.
pub(crate) const BY_OPERATOR: &str = "given by an operator";

/// Checks a model that an operator adds.
pub(crate) fn check(model: &CatalogModel) -> Result<(), Error> {
    let named = (1..=200).contains(&model.id.len())
        && model
            .id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'-' | b'/'));
    if !named || model.id == "auto" {
        let message = "expected 1 to 200 of the characters A-Z a-z 0-9 . _ : - / and not auto";
        return Err(Error::invalid("id", message));
    }
    if !(1..=SpaceId::MAX_DIMENSIONS).contains(&model.native_dimensions) {
        let message = format!("a vector has 1 to {} dimensions", SpaceId::MAX_DIMENSIONS);
        return Err(Error::invalid("native_dimensions", message));
    }
    SpaceId::new(&model.family, "", model.native_dimensions).map_err(|_| {
        Error::invalid("family", "expected a name of printable ASCII such as openai/text-embedding-3-small")
    })?;
    SpaceId::new(&model.family, &model.revision, model.native_dimensions)
        .map_err(|_| Error::invalid("revision", "expected printable ASCII, or nothing"))?;
    check_dimensions(model)?;
    within("max_input_tokens", model.max_input_tokens, MAX_TOKENS)?;
    within("max_batch", model.max_batch, MAX_BATCH)?;
    let call = model.max_batch_tokens;
    if call != 0 && !(model.max_input_tokens..=MAX_BATCH_TOKENS).contains(&call) {
        let message = format!(
            "expected max_input_tokens to {MAX_BATCH_TOKENS}, for a call must be able to hold the longest text; 0 for no limit"
        );
        return Err(Error::invalid("max_batch_tokens", message));
    }
    if !TOKENIZERS.contains(&model.tokenizer.as_str()) {
        return Err(Error::invalid("tokenizer", format!("choose from {}", TOKENIZERS.join(", "))));
    }
    check_providers(model)?;
    check_quality(model)?;
    if !model.modality.is_empty() && !MODALITIES.contains(&model.modality.as_str()) {
        return Err(Error::invalid("modality", format!("choose from {}", MODALITIES.join(", "))));
    }
    price::check_all(model)
}

/// The model with the defaults written out, as the catalog holds it.
pub(crate) fn completed(mut model: CatalogModel) -> CatalogModel {
    if model.modality.is_empty() {
        model.modality = MODALITIES[0].to_owned();
    }
    if model.quality.is_some() && model.quality_source.is_empty() {
        model.quality_source = BY_OPERATOR.to_owned();
    }
    model.prices = model.prices.into_iter().map(price::completed).collect();
    model
}

fn check_providers(model: &CatalogModel) -> Result<(), Error> {
    let kinds = &model.provider_kinds;
    if kinds.is_empty() || has_twins(kinds) {
        return Err(Error::invalid("provider_kinds", "name each provider kind that serves the model, once"));
    }
    if let Some(at) = kinds.iter().position(|kind| !PROVIDER_KINDS.contains(&kind.as_str())) {
        let message = format!("choose from {}", PROVIDER_KINDS.join(", "));
        return Err(Error::invalid(format!("provider_kinds[{at}]"), message));
    }
    for (kind, name) in &model.provider_names {
        if !kinds.contains(kind) {
            let kind: String = kind.chars().take(100).collect();
            let message = format!("'{kind}' is not among provider_kinds, names are for those alone");
            return Err(Error::invalid("provider_names", message));
        }
        let param = format!("provider_names.{kind}");
        check_label(&param, name, 200)?;
    }
    Ok(())
}

fn check_quality(model: &CatalogModel) -> Result<(), Error> {
    match model.quality {
        // not a number is in no range
        Some(quality) if !(0.0..=100.0).contains(&quality) => {
            Err(Error::invalid("quality", "expected 0 to 100; leave it out when nobody has measured it"))
        }
        None if !model.quality_source.is_empty() => {
            Err(Error::invalid("quality_source", "there is no quality that it is the source of"))
        }
        Some(_) if !model.quality_source.is_empty() => {
            check_label("quality_source", &model.quality_source, 500)
        }
        _ => Ok(()),
    }
}

fn check_dimensions(model: &CatalogModel) -> Result<(), Error> {
    let allowed = &model.allowed_dimensions;
    if model.any_dimensions && !allowed.is_empty() {
        let message = "any_dimensions allows every length already, leave the list out";
        return Err(Error::invalid("allowed_dimensions", message));
    }
    if allowed.len() > 64
        || has_twins(allowed)
        || allowed.iter().any(|d| !(1..=model.native_dimensions).contains(d))
    {
        let message = "expected lengths from 1 to native_dimensions, each once";
        return Err(Error::invalid("allowed_dimensions", message));
    }
    if model.matryoshka && !model.any_dimensions && allowed.is_empty() {
        let message =
            "a model of one length is none; name the others in allowed_dimensions or set any_dimensions";
        return Err(Error::invalid("matryoshka", message));
    }
    Ok(())
}

fn within(param: &str, value: u32, max: u32) -> Result<(), Error> {
    if (1..=max).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid(param, format!("expected 1 to {max}")))
    }
}

fn has_twins<T: Eq + std::hash::Hash>(list: &[T]) -> bool {
    list.iter().collect::<HashSet<_>>().len() < list.len()
}

#[cfg(test)]
mod tests;
