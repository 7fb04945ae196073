//! What an unsuccessful answer means. The status says most of it; some APIs put the rest into codes or sentences of the body.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::Failure;

/// What a status says where the API has no codes beside it.
pub(crate) fn by_status(status: StatusCode, _headers: &HeaderMap, _body: &[u8]) -> Failure {
    match status.as_u16() {
        429 | 409 | 425 => Failure::Throttled,
        401 | 403 => Failure::Unauthorized,
        402 => Failure::Exhausted,
        // a redirect is not followed: a key must not travel on, and a POST would become a GET
        300..=399 | 404 | 405 => Failure::NotHere,
        408 | 499 | 502 | 504 | 524 => Failure::Intermediary,
        400..=499 => Failure::Refused,
        _ => Failure::Server,
    }
}

/// Codes and sentence of an error body, in small letters. Empty where the body has none. It may quote the input: only to be
/// compared with, never to be shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// `code`, `type` and the like.
    codes: Vec<String>,
    /// What it says to people.
    message: String,
}

impl Refusal {
    /// Reads the forms that are about: `{"error": {"code", "type", "message"}}`, `{"error": "…", "error_type"}`,
    /// `{"message", "code"}`, `{"detail": "…"}`.
    pub fn read(body: &[u8]) -> Self {
        let Ok(Value::Object(outer)) = serde_json::from_slice(body) else { return Self::default() };
        let inner = outer.get("error").and_then(Value::as_object).unwrap_or(&outer);
        let small = |value: &Value| value.as_str().map(str::to_lowercase);
        let text = |name| inner.get(name).and_then(small);
        let codes = ["code", "type", "error_type", "error_code"].into_iter().filter_map(text).collect();
        let message = ["message", "detail", "error"].into_iter().find_map(text).unwrap_or_default();
        Self { codes, message }
    }

    /// Whether it has that code.
    pub fn is(&self, code: &str) -> bool {
        self.codes.iter().any(|has| has == code)
    }

    /// Whether its sentence holds those words, given in small letters.
    pub fn says(&self, words: &str) -> bool {
        self.message.contains(words)
    }

    /// Whether one text was too long; not: all of them together.
    pub fn is_too_long(&self) -> bool {
        let of_one_text = [
            // OpenAI, vLLM; Ollama; Voyage
            "context length",
            "context window",
            // OpenAI's newer check
            "maximum input length",
            // Titan and its imitators
            "too many input tokens",
            // llama.cpp, which answers it with 500
            "too large to process",
            "is too long",
        ];
        self.is("context_length_exceeded")
            || of_one_text.iter().any(|words| self.says(words))
            // text-embeddings-inference
            || (self.says("must have less than") && self.says("tokens"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_kind_of_failure_it_is() {
        for (status, expected) in [
            (302, Failure::NotHere),
            (400, Failure::Refused),
            (401, Failure::Unauthorized),
            (402, Failure::Exhausted),
            (403, Failure::Unauthorized),
            (404, Failure::NotHere),
            (408, Failure::Intermediary),
            (413, Failure::Refused),
            (422, Failure::Refused),
            (429, Failure::Throttled),
            (500, Failure::Server),
            (502, Failure::Intermediary),
            (503, Failure::Server),
            (504, Failure::Intermediary),
            (529, Failure::Server),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(by_status(status, &HeaderMap::new(), b""), expected, "{status}");
        }
    }

    #[test]
    fn every_form_of_an_error_body_is_read() {
        for (body, code, words) in [
            (
                r#"{"error":{"message":"No Quota","type":"insufficient_quota","code":"x"}}"#,
                "insufficient_quota",
                "no quota",
            ),
            (r#"{"error":{"message":"Gone","code":404}}"#, "", "gone"),
            (r#"{"error":"Too many","error_type":"Validation"}"#, "validation", "too many"),
            (r#"{"object":"error","message":"Bad","type":"BadRequestError"}"#, "badrequesterror", "bad"),
            (r#"{"detail":"Not Allowed"}"#, "", "not allowed"),
            (r#"{"id":"1","message":"Trial key"}"#, "", "trial key"),
        ] {
            let refusal = Refusal::read(body.as_bytes());
            assert!(code.is_empty() || refusal.is(code), "{body}");
            assert!(refusal.says(words), "{body}");
        }
        for body in ["", "<html>", "[]", "null", r#"{"detail":[{"msg":"x"}]}"#, r#"{"error":null}"#] {
            assert_eq!(Refusal::read(body.as_bytes()), Refusal::default(), "{body}");
        }
    }

    #[test]
    fn too_long_is_told_from_too_much_together() {
        let too_long = |message: &str| {
            let body = serde_json::json!({"error": {"message": message}});
            Refusal::read(body.to_string().as_bytes()).is_too_long()
        };
        for message in [
            "This model's maximum context length is 8192 tokens, however you requested 9000 tokens",
            "Invalid 'input[0]': maximum input length is 8192 tokens.",
            "The example at index 0 in your batch has too many tokens and does not fit into the model's context window",
            "Input validation error: `inputs` must have less than 512 tokens. Given: 527",
            "the input length exceeds the context length",
            "input (600 tokens) is too large to process. increase the physical batch size",
        ] {
            assert!(too_long(message), "{message}");
        }
        for message in [
            "Too many tokens in batch. Max is 16384 got 17555",
            "The max allowed tokens per submitted batch is 120000. Your batch has 124417 tokens after truncation.",
            "batch size 50 > maximum allowed batch size 32",
            "Requested 350000 tokens, max 300000 tokens per request",
        ] {
            assert!(!too_long(message), "{message}");
        }
    }
}
