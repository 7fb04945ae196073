//! The error shape that Google's APIs have in common: `{"error": {code, message, status, details}}`.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::wire::{Problem, Refusal, Written};

/// An error on its way out.
#[derive(Debug)]
pub(in super::super) struct GoogleError {
    status: StatusCode,
    message: String,
    details: Vec<Value>,
}

impl GoogleError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), details: Vec::new() }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// With the machine-readable reason.
    pub fn reason(mut self, reason: &str) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": "googleapis.com",
        }));
        self
    }

    /// With the quota that is used up.
    fn quota(mut self, id: &str) -> Self {
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaMetric": "generativelanguage.googleapis.com/embed_content", "quotaId": id}],
        }));
        self
    }

    /// With the time to wait.
    fn retry(mut self, after: Option<Duration>) -> Self {
        if let Some(after) = after {
            self.details.push(json!({
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": format!("{}s", after.as_secs_f64()),
            }));
        }
        self
    }

    pub fn refusal(self) -> Refusal {
        let Self { status, message, details } = self;
        let mut error = json!({"code": status.as_u16(), "message": message, "status": name(status)});
        if !details.is_empty() {
            error["details"] = details.into();
        }
        Refusal { status, written: Written::serialise(&json!({ "error": error })) }
    }
}

/// The name that `google.rpc.Code` has for a status.
fn name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// What the real APIs say.
pub(in super::super) fn refusal(
    status: StatusCode,
    problem: Problem,
    retry_after: Option<Duration>,
) -> Refusal {
    let error = |message: &str| GoogleError::new(status, message).retry(retry_after);
    match problem {
        Problem::RequestLimit => {
            error("quota exceeded for requests").quota("EmbedContentRequestsPerMinutePerProjectPerModel")
        }
        Problem::TokenLimit => error("quota exceeded for input tokens")
            .quota("EmbedContentInputTokensPerMinutePerProjectPerModel"),
        Problem::QuotaUsedUp => {
            error("quota exceeded for requests").quota("EmbedContentRequestsPerDayPerProjectPerModel")
        }
        Problem::Content => error("the input was blocked for its content"),
        Problem::BodyTooLarge => error("request payload size exceeds the limit"),
        Problem::Injected => match status.as_u16() {
            401 => error("the credential is not valid").reason("ACCESS_TOKEN_EXPIRED"),
            403 => error("permission denied on the resource").reason("IAM_PERMISSION_DENIED"),
            404 => error("the model was not found, or the project has no access to it"),
            429 => error("resource has been exhausted"),
            503 => error("the model is overloaded"),
            _ => error("simulated refusal"),
        },
    }
    .refusal()
}
