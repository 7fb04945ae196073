//! What of a model may be changed: nothing that its stored vectors depend on.

use embermesh_errors::Error;
use embermesh_proto::v1::{CatalogModel, UpdateCatalogModelRequest};

use super::model::{BY_OPERATOR, check};

/// `current` with what `request` gives.
pub(crate) fn merge(
    current: &CatalogModel,
    request: UpdateCatalogModelRequest,
) -> Result<CatalogModel, Error> {
    let mut next = current.clone();
    for dimensions in request.more_dimensions {
        if !next.allowed_dimensions.contains(&dimensions) {
            next.allowed_dimensions.push(dimensions);
        }
    }
    for (field, given) in [
        (&mut next.max_input_tokens, request.max_input_tokens),
        (&mut next.max_batch, request.max_batch),
        (&mut next.max_batch_tokens, request.max_batch_tokens),
    ] {
        *field = given.unwrap_or(*field);
    }
    if let Some(tokenizer) = request.tokenizer {
        next.tokenizer = tokenizer;
    }
    if !request.provider_kinds.is_empty() {
        next.provider_kinds = request.provider_kinds;
    }
    for (kind, name) in request.provider_names {
        match name.is_empty() {
            true => next.provider_names.remove(&kind),
            false => next.provider_names.insert(kind, name),
        };
    }
    if let Some(quality) = request.quality {
        next.quality = Some(quality);
        // the old figure's source is not the new one's
        next.quality_source = request.quality_source.unwrap_or_else(|| BY_OPERATOR.to_owned());
    } else if let Some(source) = request.quality_source {
        next.quality_source = source;
    }
    check(&next).map_err(|error| match error.param.as_deref() {
        Some("allowed_dimensions") => error.with_param("more_dimensions"),
        _ => error,
    })?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::Price;

    use super::*;

    fn model() -> CatalogModel {
        let price = Price { per_million_tokens_nano_usd: Some(1), ..Price::default() };
        CatalogModel {
            id: "m".to_owned(),
            family: "acme/m".to_owned(),
            native_dimensions: 8,
            allowed_dimensions: vec![4],
            max_input_tokens: 100,
            max_batch: 10,
            tokenizer: "bytes".to_owned(),
            provider_kinds: vec!["openai".to_owned()],
            provider_names: [("openai".to_owned(), "acme-m".to_owned())].into(),
            quality: Some(50.0),
            quality_source: "a paper".to_owned(),
            prices: vec![price],
            ..CatalogModel::default()
        }
    }

    #[test]
    fn given_fields_are_merged_and_the_whole_is_checked() {
        let request = UpdateCatalogModelRequest {
            more_dimensions: vec![2, 4],
            max_batch: Some(20),
            provider_names: [("openai".to_owned(), String::new())].into(),
            quality: Some(60.0),
            ..UpdateCatalogModelRequest::default()
        };
        let next = merge(&model(), request).unwrap();
        assert_eq!((next.allowed_dimensions, next.max_batch, next.max_input_tokens), (vec![4, 2], 20, 100));
        assert_eq!((next.provider_names.len(), next.quality_source.as_str()), (0, BY_OPERATOR));
        let refused = |request| merge(&model(), request).unwrap_err().param;
        let long = UpdateCatalogModelRequest { more_dimensions: vec![9], ..Default::default() };
        assert_eq!(refused(long).as_deref(), Some("more_dimensions"));
        let kinds =
            UpdateCatalogModelRequest { provider_kinds: vec!["acme".to_owned()], ..Default::default() };
        assert_eq!(refused(kinds).as_deref(), Some("provider_kinds[0]"));
        let small = UpdateCatalogModelRequest { max_batch_tokens: Some(5), ..Default::default() };
        assert_eq!(refused(small).as_deref(), Some("max_batch_tokens"));
    }
}
