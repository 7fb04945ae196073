//! The error shape that Google's APIs have in common: `{"error": {code, message, status, details}}`.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{Failure, http::by_status};

/// Longest wait that a provider may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What an unsuccessful answer of Vertex AI or the Gemini API means.
pub(crate) fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    // an answer that is not Google's comes from something in between, and its status is all there is
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = &body["error"];
    match status.as_u16() {
        400 => bad_request(error),
        429 if is_daily(error) => Failure::Exhausted,
        _ => by_status(status, headers, &[]),
    }
}

/// `RetryInfo`, which these APIs send in the body and not as a header: seconds with a fraction, such as `59.95s`. At most a minute.
pub(crate) fn retry_info(body: &[u8]) -> Option<Duration> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let delay = details(&body["error"]).find_map(|detail| detail["retryDelay"].as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|wait| wait.min(MAX_WAIT))
}

/// 400 is said of inputs, but also of keys and of accounts.
fn bad_request(error: &Value) -> Failure {
    let key_refused = details(error)
        .any(|detail| detail["reason"].as_str().is_some_and(|reason| reason.starts_with("API_KEY_")));
    if key_refused || error["status"] == "FAILED_PRECONDITION" {
        return Failure::Unauthorized;
    }
    let message = error["message"].as_str().unwrap_or_default().to_ascii_lowercase();
    let of_tokens = message.contains("token")
        && ["exceed", "supports up to", "too long", "longer than"].iter().any(|said| message.contains(said));
    if of_tokens || message.contains("payload size exceeds") { Failure::TooLong } else { Failure::Refused }
}

/// Whether a quota is used up that comes back tomorrow and not within the minute.
fn is_daily(error: &Value) -> bool {
    let daily = |text: &Value| {
        let text = text.as_str().unwrap_or_default().to_ascii_lowercase();
        ["perday", "per day", "per_day"].iter().any(|said| text.contains(said))
    };
    let mut violations = details(error).filter_map(|detail| detail["violations"].as_array()).flatten();
    violations.any(|violation| {
        ["quotaId", "quotaMetric", "subject", "description"].iter().any(|field| daily(&violation[field]))
    }) || daily(&error["message"])
}

fn details(error: &Value) -> impl Iterator<Item = &Value> {
    error["details"].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(status: u16, error: &Value) -> Failure {
        let body = json!({ "error": error }).to_string();
        classify(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn each_error_of_google_has_its_class() {
        let api_key =
            json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"});
        let quota = |id: &str| {
            json!({"status": "RESOURCE_EXHAUSTED", "details": [
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
            ]})
        };
        let said = |message: &str| json!({"status": "INVALID_ARGUMENT", "message": message});
        for (status, error, expected) in [
            (
                400,
                said("* BatchEmbedContentsRequest.requests: at most 100 requests can be in one batch"),
                Failure::Refused,
            ),
            (400, said("5 instance(s) is allowed per prediction. Actual: 6"), Failure::Refused),
            (
                400,
                said("The input token count (9000) exceeds the maximum number of tokens allowed (2048)."),
                Failure::TooLong,
            ),
            (
                400,
                said(
                    "Unable to submit request because the input token count is 9 but the model supports up to 2.",
                ),
                Failure::TooLong,
            ),
            (400, said("Request payload size exceeds the limit: 36000 bytes."), Failure::TooLong),
            (400, json!({"status": "INVALID_ARGUMENT", "details": [api_key]}), Failure::Unauthorized),
            (400, json!({"status": "FAILED_PRECONDITION"}), Failure::Unauthorized),
            (401, json!({"status": "UNAUTHENTICATED"}), Failure::Unauthorized),
            (403, json!({"status": "PERMISSION_DENIED"}), Failure::Unauthorized),
            (404, json!({"status": "NOT_FOUND"}), Failure::NotHere),
            (429, json!({"status": "RESOURCE_EXHAUSTED"}), Failure::Throttled),
            (429, quota("EmbedContentRequestsPerMinutePerProjectPerModel"), Failure::Throttled),
            (429, quota("EmbedContentRequestsPerDayPerProjectPerModel-FreeTier"), Failure::Exhausted),
            (499, json!({"status": "CANCELLED"}), Failure::Intermediary),
            (500, json!({"status": "INTERNAL"}), Failure::Server),
            (503, json!({"status": "UNAVAILABLE"}), Failure::Server),
            (504, json!({"status": "DEADLINE_EXCEEDED"}), Failure::Intermediary),
        ] {
            assert_eq!(of(status, &error), expected, "{status} {error}");
        }
    }

    #[test]
    fn the_wait_is_read_from_the_body() {
        let wait = |delay: &str| {
            let info = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay});
            let help = json!({"@type": "type.googleapis.com/google.rpc.Help"});
            retry_info(json!({"error": {"details": [help, info]}}).to_string().as_bytes())
        };
        assert_eq!(wait("26s"), Some(Duration::from_secs(26)));
        assert_eq!(wait("0.25s"), Some(Duration::from_millis(250)));
        assert_eq!(wait("86400s"), Some(MAX_WAIT));
        for unusable in ["26", "-1s", "soon", "1e99s", "NaNs"] {
            assert_eq!(wait(unusable), None, "{unusable}");
        }
    }

    proptest! {
        #[test]
        fn any_body_has_a_class(body in ".{0,200}", status in 400_u16..600) {
            let status = StatusCode::from_u16(status).unwrap();
            let expected = by_status(status, &HeaderMap::new(), &[]);
            prop_assert_eq!(classify(status, &HeaderMap::new(), body.as_bytes()), expected);
            prop_assert_eq!(retry_info(body.as_bytes()), None);
        }
    }
}
