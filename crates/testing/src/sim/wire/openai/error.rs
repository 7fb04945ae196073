//! OpenAI's error shape, `{"error": {"message", "type", "param", "code"}}`.

use http::StatusCode;
use serde::Serialize;

use super::super::{Problem, Refusal, Written};

/// An error on its way out.
#[derive(Debug)]
pub(in super::super) struct OpenAiError {
    status: StatusCode,
    message: String,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorDetail<'a>,
}

#[derive(Serialize)]
struct ErrorDetail<'a> {
    message: &'a str,
    r#type: &'a str,
    param: Option<&'a str>,
    code: Option<&'a str>,
}

impl OpenAiError {
    pub fn new(status: StatusCode, message: String) -> Self {
        Self { status, message, kind: "invalid_request_error", param: None, code: None }
    }

    /// A 400 that blames one parameter.
    pub fn param(param: &'static str, message: String) -> Self {
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn refusal(self) -> Refusal {
        let Self { status, message, kind, param, code } = self;
        let error = ErrorDetail { message: &message, r#type: kind, param, code };
        Refusal { status, written: Written::serialise(&ErrorBody { error }) }
    }
}

/// What the real API says.
pub(in super::super) fn refusal(status: StatusCode, problem: Problem) -> Refusal {
    let (kind, code, message) = match (problem, status.as_u16()) {
        (Problem::TokenLimit, _) => ("tokens", Some("rate_limit_exceeded"), "rate limit reached for tokens"),
        (Problem::QuotaUsedUp, _) => (
            "insufficient_quota",
            Some("insufficient_quota"),
            "you exceeded your current quota, please check your plan and billing details",
        ),
        (Problem::Content, _) => (
            "invalid_request_error",
            Some("content_policy_violation"),
            "the input was refused by the safety system",
        ),
        (Problem::BodyTooLarge, _) => ("invalid_request_error", None, "the request body is too large"),
        (_, 401) => ("invalid_request_error", Some("invalid_api_key"), "incorrect API key provided"),
        (_, 403) => {
            ("invalid_request_error", Some("unsupported_country_region_territory"), "not allowed here")
        }
        (_, 429) => ("requests", Some("rate_limit_exceeded"), "rate limit reached for requests"),
        (_, 500..) => ("server_error", None, "the server had an error while processing the request"),
        _ => ("invalid_request_error", None, "simulated refusal"),
    };
    OpenAiError { code, kind, ..OpenAiError::new(status, message.to_owned()) }.refusal()
}
