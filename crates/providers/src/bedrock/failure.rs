//! Bedrock's errors in terms of what to do next.

use std::error::Error;

use aws_sdk_bedrockruntime::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    operation::invoke_model::InvokeModelError,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{
    Failure, ProviderError,
    http::{by_status, retry_after},
};

type InvokeError = SdkError<InvokeModelError, HttpResponse>;

/// Why a request that was sent gave no answer that can be used.
pub(super) fn of(error: &InvokeError) -> ProviderError {
    match error {
        SdkError::ServiceError(refusal) => {
            let (raw, said) = (refusal.raw(), refusal.err());
            refused(raw, said.code().unwrap_or_default(), said.message().unwrap_or_default())
        }
        SdkError::DispatchFailure(_) if never_connected(error) => {
            ProviderError::new(Failure::Unreachable, "cannot connect")
        }
        SdkError::DispatchFailure(_) => ProviderError::new(Failure::Broken, "the connection broke"),
        SdkError::ResponseError(_) => ProviderError::new(Failure::Broken, "the answer broke off"),
        SdkError::TimeoutError(_) => ProviderError::new(Failure::TimedOut, "no answer in time"),
        _ => ProviderError::new(Failure::Local, "the request could not be built"),
    }
}

fn refused(raw: &HttpResponse, code: &str, message: &str) -> ProviderError {
    let status = StatusCode::from_u16(raw.status().as_u16()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // a header may hold anything; an error type is a word
    let named = !code.is_empty() && code.len() < 64 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let name = if named { format!(" {code}") } else { String::new() };
    ProviderError {
        // Bedrock's own text is not repeated: it may quote the input
        message: format!("bedrock answered {status}{name}"),
        failure: by_code(code, message).unwrap_or_else(|| by_status(status, &HeaderMap::new(), b"")),
        retry_after: retry_after(&headers(raw)),
    }
}

/// What an error type says; none where the status has to.
fn by_code(code: &str, message: &str) -> Option<Failure> {
    Some(match code {
        "ThrottlingException" | "TooManyRequestsException" => Failure::Throttled,
        "ServiceQuotaExceededException" => Failure::Exhausted,
        "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Failure::Unauthorized,
        // of a model that is not granted to the account: nothing is wrong with the credential
        "AccessDeniedException" | "ResourceNotFoundException" | "UnknownOperationException" => {
            Failure::NotHere
        }
        "ValidationException" => of_validation(message),
        // the model itself took too long: it may have been billed
        "ModelTimeoutException" => Failure::Intermediary,
        "InternalFailure"
        | "InternalServerException"
        | "ModelErrorException"
        | "ModelNotReadyException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => Failure::Server,
        _ => return None,
    })
}

/// Bedrock says by this one error that a text is too long, that a model is not served here, and that the input is wrong.
fn of_validation(message: &str) -> Failure {
    let message = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if says(&[
        "too many input tokens",
        "expected maxlength",
        "too long",
        "maximum context length",
        "too many tokens",
    ]) {
        Failure::TooLong
    } else if says(&["model identifier is invalid", "on-demand throughput", "operation not allowed"]) {
        Failure::NotHere
    } else {
        Failure::Refused
    }
}

/// Name, address or TLS: no byte of the request left.
fn never_connected(error: &InvokeError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(client) = error.downcast_ref::<hyper_util::client::legacy::Error>() {
            return client.is_connect();
        }
        next = error.source();
    }
    false
}

fn headers(raw: &HttpResponse) -> HeaderMap {
    let pairs = raw.headers().iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_validation_error_says_three_things() {
        for (message, expected) in [
            (
                "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9875",
                Failure::TooLong,
            ),
            (
                "Malformed input request: #/texts/0: expected maxLength: 2048, actual: 19882, please reformat your input and try again.",
                Failure::TooLong,
            ),
            ("Input is too long for requested model.", Failure::TooLong),
            ("The provided model identifier is invalid.", Failure::NotHere),
            (
                "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn't supported.",
                Failure::NotHere,
            ),
            ("Malformed input request: extraneous key [inputText] is not permitted", Failure::Refused),
            ("", Failure::Refused),
        ] {
            assert_eq!(of_validation(message), expected, "{message}");
        }
    }

    #[test]
    fn an_unknown_error_type_leaves_it_to_the_status() {
        assert_eq!(by_code("SomethingNewException", ""), None);
        assert_eq!(by_code("", ""), None);
    }
}
