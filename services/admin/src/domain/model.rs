//! Which models the catalog may hold.

use std::collections::HashSet;

use embermesh_errors::Error;
use embermesh_proto::v1::{CatalogModel, Price};
use embermesh_types::SpaceId;

use super::names::check_label;

const TOKENIZERS: [&str; 3] = ["cl100k_base", "wordpiece", "bytes"];
const PROVIDER_KINDS: [&str; 8] =
    ["openai", "azure_openai", "bedrock", "vertex", "gemini", "voyage", "cohere", "local"];
const MAX_BATCH: u32 = 2048;
const MAX_TOKENS: u32 = 10_000_000;

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
    if !TOKENIZERS.contains(&model.tokenizer.as_str()) {
        return Err(Error::invalid("tokenizer", format!("choose from {}", TOKENIZERS.join(", "))));
    }
    if model.provider_kinds.is_empty() || has_twins(&model.provider_kinds) {
        return Err(Error::invalid("provider_kinds", "name each provider kind that serves the model, once"));
    }
    if let Some(at) = model.provider_kinds.iter().position(|kind| !PROVIDER_KINDS.contains(&kind.as_str())) {
        let message = format!("choose from {}", PROVIDER_KINDS.join(", "));
        return Err(Error::invalid(format!("provider_kinds[{at}]"), message));
    }
    if model.prices.is_empty() {
        return Err(Error::invalid("prices", "a model needs a price, 0 if it costs nothing"));
    }
    model.prices.iter().enumerate().try_for_each(|(at, price)| check_price(&format!("prices[{at}]."), price))
}

/// Checks a price; `within` is the path of the message that it stands in, with its dot.
pub(crate) fn check_price(within: &str, price: &Price) -> Result<(), Error> {
    let wrong = match price.per_million_tokens_nano_usd {
        // taken for 0 it would make the model free
        None => Some("the price is missing, give 0 for a model that costs nothing"),
        Some(..0) => Some("a price may not be negative"),
        Some(_) => None,
    };
    if let Some(message) = wrong {
        return Err(Error::invalid(format!("{within}per_million_tokens_usd"), message));
    }
    if let Some(time) = &price.effective_from {
        // PostgreSQL and RFC 3339 both reach from year 1 to 9999
        if !(-62_135_596_800..=253_402_300_799).contains(&time.seconds)
            || !(0..1_000_000_000).contains(&time.nanos)
        {
            return Err(Error::invalid(format!("{within}effective_from"), "not a time"));
        }
    }
    if !price.source.is_empty() {
        check_label("source", &price.source, 500)
            .map_err(|error| error.with_param(format!("{within}source")))?;
    }
    Ok(())
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
mod tests {
    use super::*;

    type Spoil = fn(&mut CatalogModel);

    fn model() -> CatalogModel {
        CatalogModel {
            id: "acme-2".to_owned(),
            family: "acme/embed-2".to_owned(),
            native_dimensions: 8,
            allowed_dimensions: vec![4, 2],
            max_input_tokens: 512,
            max_batch: 64,
            tokenizer: "bytes".to_owned(),
            provider_kinds: vec!["openai".to_owned()],
            prices: vec![Price { per_million_tokens_nano_usd: Some(0), ..Price::default() }],
            ..CatalogModel::default()
        }
    }

    #[test]
    fn every_refusal_names_its_field() {
        check(&model()).unwrap();
        let cases: [(&str, Spoil); 14] = [
            ("id", |m| m.id = "a b".to_owned()),
            ("id", |m| m.id = "auto".to_owned()),
            ("family", |m| m.family.clear()),
            ("revision", |m| m.revision = " ".to_owned()),
            ("native_dimensions", |m| m.native_dimensions = 0),
            ("allowed_dimensions", |m| m.allowed_dimensions = vec![9]),
            ("allowed_dimensions", |m| m.any_dimensions = true),
            ("max_input_tokens", |m| m.max_input_tokens = 0),
            ("max_batch", |m| m.max_batch = 2049),
            ("tokenizer", |m| m.tokenizer.clear()),
            ("provider_kinds[0]", |m| m.provider_kinds[0] = "acme".to_owned()),
            ("prices", |m| m.prices.clear()),
            ("prices[0].per_million_tokens_usd", |m| m.prices[0].per_million_tokens_nano_usd = Some(-1)),
            ("prices[0].per_million_tokens_usd", |m| m.prices[0] = Price::default()),
        ];
        for (param, spoil) in cases {
            let mut model = model();
            spoil(&mut model);
            assert_eq!(check(&model).unwrap_err().param.as_deref(), Some(param));
        }
    }

    #[test]
    fn the_shipped_catalog_passes_its_own_rules() {
        for model in crate::store::catalog::seed().unwrap() {
            check(&model).unwrap();
            assert!(model.prices.iter().all(|p| p.effective_from.is_some() && !p.source.is_empty()));
        }
    }
}
