//! OpenAI's wire format, which Azure and many other servers share. Asks for base64, which is a quarter of the bytes and needs no
//! number parsing, and takes floats from servers that answer them anyway.

use embermesh_types::TokenCount;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{
    BatchLimits, Failure, ProviderAnswer, ProviderCall, ProviderError, Usage,
    http::{Refusal, by_status},
    json::push_text,
    numbers::{Count, Vector},
    verify::in_order,
};

/// OpenAI's limits of one call: 2,048 inputs, 300,000 tokens over all of them.
pub(crate) const LIMITS: BatchLimits = BatchLimits { texts: 2048, tokens: 300_000, bytes: u64::MAX };

/// `POST …/embeddings`.
///
/// `model` is absent where the path names it.
pub(crate) fn body(model: Option<&str>, call: &ProviderCall) -> Vec<u8> {
    let texts: usize = call.texts.iter().map(|text| text.len() + 3).sum();
    let mut json = Vec::with_capacity(texts + model.map_or(0, str::len) + 96);
    json.push(b'{');
    if let Some(model) = model {
        json.extend_from_slice(br#""model":"#);
        push_text(&mut json, model);
        json.push(b',');
    }
    json.extend_from_slice(br#""input":["#);
    for (at, text) in call.texts.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        push_text(&mut json, text);
    }
    json.extend_from_slice(br#"],"encoding_format":"base64""#);
    if let Some(dimensions) = call.shortened() {
        json.extend_from_slice(format!(r#","dimensions":{dimensions}"#).as_bytes());
    }
    json.push(b'}');
    json
}

/// What is answered.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    data: Vec<Item>,
    #[serde(default)]
    usage: Option<Counts>,
}

#[derive(Debug, Deserialize)]
struct Item {
    // some compatible servers leave it out
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Debug, Deserialize)]
struct Counts {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    total_tokens: Count,
}

impl Answer {
    /// The vectors in the order of the `asked` texts.
    pub fn into_answer(self, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        let tokens = self.usage.and_then(|usage| usage.prompt_tokens.0.or(usage.total_tokens.0));
        let vectors = self.data.into_iter().map(|item| (item.index, item.embedding.0)).collect();
        let vectors = in_order(asked, vectors).map_err(|bad| ProviderError::bad_answer(bad.to_string()))?;
        Ok(ProviderAnswer { vectors, usage: Usage { tokens: tokens.map(TokenCount), characters: None } })
    }
}

/// What an unsuccessful answer means.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    let failure = by_status(status, headers, body);
    let refusal = Refusal::read(body);
    let used_up = || {
        ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"].iter().any(|c| refusal.is(c))
            // the quota policy of Azure's API management, a 403
            || refusal.says("out of call volume quota")
    };
    match status.as_u16() {
        400..=499 if used_up() => Failure::Exhausted,
        // also with 403, when the project may not use the model: nothing is wrong with the key
        400 | 403 if refusal.is("model_not_found") => Failure::NotHere,
        // 500: llama.cpp
        400 | 413 | 422 | 500 if refusal.is_too_long() => Failure::TooLong,
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::to_le_bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::mangling;

    fn read(json: &str, asked: usize) -> Result<ProviderAnswer, ProviderError> {
        serde_json::from_str::<Answer>(json)
            .map_err(|e| ProviderError::bad_answer(e.to_string()))?
            .into_answer(asked)
    }

    #[test]
    fn a_body_says_what_the_status_does_not() {
        for (status, code, message, expected) in [
            (429, "rate_limit_exceeded", "Rate limit reached", Failure::Throttled),
            (429, "insufficient_quota", "You exceeded your current quota", Failure::Exhausted),
            (402, "insufficient_quota", "", Failure::Exhausted),
            (400, "billing_hard_limit_reached", "Billing hard limit has been reached", Failure::Exhausted),
            (
                403,
                "",
                "Out of call volume quota. Quota will be replenished in 1.00:00:00",
                Failure::Exhausted,
            ),
            (404, "model_not_found", "The model `x` does not exist", Failure::NotHere),
            (403, "model_not_found", "Project `p` does not have access to model `x`", Failure::NotHere),
            (
                404,
                "DeploymentNotFound",
                "The API deployment for this resource does not exist",
                Failure::NotHere,
            ),
            (400, "context_length_exceeded", "", Failure::TooLong),
            (400, "", "This model's maximum context length is 8192 tokens", Failure::TooLong),
            (413, "", "`inputs` must have less than 512 tokens. Given: 527", Failure::TooLong),
            (500, "", "input is too large to process", Failure::TooLong),
            (400, "content_filter", "The response was filtered", Failure::Refused),
            (
                400,
                "max_tokens_per_request",
                "Requested 350000 tokens, max 300000 tokens per request",
                Failure::Refused,
            ),
            (401, "invalid_api_key", "Incorrect API key provided", Failure::Unauthorized),
            (503, "", "overloaded", Failure::Server),
        ] {
            let body = serde_json::json!({"error": {"message": message, "code": code, "param": null}});
            let status = StatusCode::from_u16(status).unwrap();
            let found = classify(status, &HeaderMap::new(), body.to_string().as_bytes());
            assert_eq!(found, expected, "{status} {code} {message}");
            assert_eq!(
                classify(status, &HeaderMap::new(), b"<html>"),
                by_status(status, &HeaderMap::new(), b"")
            );
        }
    }

    #[test]
    fn an_index_may_be_left_out_of_all_or_none() {
        let of = |indices: &[Option<usize>]| {
            let item = |(at, index): (usize, &Option<usize>)| match index {
                Some(index) => format!(r#"{{"index":{index},"embedding":[{at},1]}}"#),
                None => format!(r#"{{"embedding":[{at},1]}}"#),
            };
            let data: Vec<_> = indices.iter().enumerate().map(item).collect();
            read(&format!(r#"{{"data":[{}]}}"#, data.join(",")), indices.len())
        };
        let first = to_le_bytes(&[0.0, 1.0]);
        let second = to_le_bytes(&[1.0, 1.0]);
        assert_eq!(of(&[None, None]).unwrap().vectors, [first.clone(), second.clone()]);
        assert_eq!(of(&[Some(1), Some(0)]).unwrap().vectors, [second, first]);
        for bad in [[Some(0), None], [None, Some(1)], [Some(0), Some(0)], [Some(1), Some(2)]] {
            assert_eq!(of(&bad).unwrap_err().failure, Failure::BadAnswer, "{bad:?}");
        }
    }

    #[test]
    fn usage_may_be_missing() {
        for (usage, expected) in [
            (r#","usage":{"prompt_tokens":5,"total_tokens":5}"#, Some(5)),
            (r#","usage":{"total_tokens":7}"#, Some(7)),
            (r#","usage":{"prompt_tokens":0,"total_tokens":0}"#, None),
            (r#","usage":{"prompt_tokens":"many"}"#, None),
            (r#","usage":{}"#, None),
            (r#","usage":null"#, None),
            ("", None),
        ] {
            let answer = read(&format!(r#"{{"data":[{{"index":0,"embedding":[1]}}]{usage}}}"#), 1).unwrap();
            assert_eq!(answer.usage.tokens, expected.map(TokenCount), "{usage}");
        }
    }

    proptest! {
        #[test]
        fn a_mangled_answer_never_gives_another_count(
            asked in 0_usize..4,
            got in 0_usize..4,
            edits in mangling::edits(),
        ) {
            let item = |i: usize| format!(r#"{{"object":"embedding","index":{i},"embedding":"AACAPwAAAEA="}}"#);
            let data: Vec<_> = (0..got).map(item).collect();
            let json = format!(r#"{{"data":[{}],"usage":{{"prompt_tokens":3}}}}"#, data.join(","));
            mangling::check(json, &edits, asked, Answer::into_answer)?;
        }
    }
}
