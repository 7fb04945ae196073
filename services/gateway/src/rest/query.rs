//! Query strings as messages: the same types as JSON bodies, so that unknown, repeated and malformed parameters are refused alike.

use embermesh_errors::Error;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::http::{in_plain_words, param};

/// Reads a query string as `T`.
pub(crate) fn decode<T: DeserializeOwned>(query: &str) -> Result<T, Error> {
    // the parser would put replacement characters
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Error::invalid("query", "the query string is not valid UTF-8"));
    }
    serde_urlencoded::from_str(query).map_err(|error| explain::<T>(query, &error.to_string()))
}

/// Names the parameter at fault, which costs a second reading.
fn explain<T: DeserializeOwned>(query: &str, said: &str) -> Error {
    let parameters = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    let path = serde_path_to_error::deserialize::<_, T>(parameters)
        .err()
        .map_or_else(String::new, |error| error.path().to_string());
    let said = in_plain_words(said);
    match param(&path, &said) {
        Some(param) => Error::invalid(&param, format!("query parameter {param}: {said}")),
        None => Error::invalid("query", format!("the query string cannot be read: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::{GetCostReportRequest, ListEmbeddingsRequest};

    use super::*;

    #[test]
    fn every_kind_of_field_is_read() {
        let query = "page_size=7&return_vector=true&agent_id=a%3Ab&created_after=2026-01-31T12%3A00%3A00Z&context_id=x+y%26";
        let request: ListEmbeddingsRequest = decode(query).unwrap();
        assert_eq!((request.page_size, request.return_vector), (Some(7), Some(true)));
        assert_eq!((request.agent_id.as_deref(), request.context_id.as_deref()), (Some("a:b"), Some("x y&")));
        assert_eq!(request.created_after.unwrap().seconds, 1_769_860_800);
        assert_eq!(decode::<ListEmbeddingsRequest>("").unwrap(), ListEmbeddingsRequest::default());
    }

    #[test]
    fn a_wrong_parameter_is_refused_by_its_name() {
        for (query, param) in [
            ("pagesize=7", "pagesize"),
            ("page_size=7&page_size=8", "page_size"),
            ("page_size=many", "page_size"),
            ("page_size=", "page_size"),
            ("page_size=-1", "page_size"),
            ("return_vector=1", "return_vector"),
            ("created_after=yesterday", "created_after"),
            ("agent_id=%ff", "query"),
        ] {
            let error = decode::<ListEmbeddingsRequest>(query).expect_err(query);
            assert_eq!(error.param.as_deref(), Some(param), "{query}: {error}");
        }
        assert!(decode::<GetCostReportRequest>("from=2026-01-31T13%3A00%3A00%2B01%3A00").is_ok());
    }
}
