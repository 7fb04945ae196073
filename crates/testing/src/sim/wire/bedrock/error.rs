//! Bedrock's error shape: the type in the header `x-amzn-errortype`, `{"message"}` in the body.

use http::StatusCode;
use serde_json::json;

use super::super::super::sigv4::SignatureError;
use super::super::{Problem, Refusal, Written};

/// An error on its way out.
#[derive(Debug)]
pub(super) struct AwsError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl AwsError {
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// A body that the model's schema does not take, in the words of the real thing.
    pub fn malformed(what: impl std::fmt::Display) -> Self {
        Self::validation(format!(
            "Malformed input request: {what}, please reformat your input and try again."
        ))
    }

    pub fn unknown_operation() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", "There is no such operation")
    }

    /// What Bedrock says of a signature.
    pub fn of_signature(wrong: SignatureError) -> Self {
        let forbidden = |kind, message: &str| Self::new(StatusCode::FORBIDDEN, kind, message);
        match wrong {
            SignatureError::Missing => {
                forbidden("MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            SignatureError::Incomplete(what) => forbidden("IncompleteSignatureException", &what),
            SignatureError::UnknownKey => forbidden(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ),
            SignatureError::Expired => {
                forbidden("ExpiredTokenException", "The security token included in the request is expired")
            }
            SignatureError::Skewed(when) => {
                forbidden("InvalidSignatureException", &format!("Signature expired: {when}"))
            }
            SignatureError::Scope(what) => forbidden(
                "InvalidSignatureException",
                &format!("Credential should be scoped to a valid {what}"),
            ),
            SignatureError::Mismatch => forbidden(
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.",
            ),
        }
    }

    /// What Bedrock says with a status.
    pub fn of_problem(status: StatusCode, problem: Problem) -> Self {
        let (status, kind, message) = match (problem, status.as_u16()) {
            (Problem::TokenLimit, _) => {
                (status, "ThrottlingException", "Too many tokens, please wait before trying again.")
            }
            // a status of its own, which no other limit of Bedrock has
            (Problem::QuotaUsedUp, _) => (
                StatusCode::BAD_REQUEST,
                "ServiceQuotaExceededException",
                "Your request exceeds the service quota for your account.",
            ),
            (Problem::Content, _) => {
                (status, "ValidationException", "The input was blocked by a content filter.")
            }
            (Problem::BodyTooLarge, _) => (status, "ValidationException", "The request body is too large."),
            (_, 401 | 403) => (
                status,
                "AccessDeniedException",
                "You don't have access to the model with the specified model ID.",
            ),
            (_, 404) => (status, "ResourceNotFoundException", "The specified resource ARN was not found"),
            (_, 408) => {
                (status, "ModelTimeoutException", "Processing time exceeded the model timeout length.")
            }
            (_, 424) => (
                status,
                "ModelErrorException",
                "The request failed due to an error while processing the model.",
            ),
            (_, 429) => {
                (status, "ThrottlingException", "Too many requests, please wait before trying again.")
            }
            (_, 503) => (status, "ServiceUnavailableException", "The service isn't currently available."),
            (_, 500..) => (status, "InternalServerException", "An internal server error occurred."),
            _ => (status, "ValidationException", "Simulated refusal."),
        };
        Self::new(status, kind, message)
    }

    pub fn refusal(self) -> Refusal {
        let Self { status, kind, message } = self;
        let written = Written::serialise(&json!({ "message": message })).header(
            "x-amzn-errortype",
            &format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/"),
        );
        Refusal { status, written }
    }
}
