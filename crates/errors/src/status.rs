//! To and from `tonic::Status`: the code travels as `google.rpc.ErrorInfo`, the wait as `RetryInfo`.

use std::collections::HashMap;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::{Code, Error};

const DOMAIN: &str = "embermesh";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut metadata = HashMap::new();
        if let Some(param) = error.param {
            metadata.insert("param".to_owned(), param);
        }
        if !error.details.is_empty() {
            metadata.insert("details".to_owned(), serde_json::Value::Object(error.details).to_string());
        }
        let mut details = ErrorDetails::with_error_info(error.code.as_str(), DOMAIN, metadata);
        if error.retry_after.is_some() {
            details.set_retry_info(error.retry_after);
        }
        Self::with_error_details(error.code.grpc(), error.message, details)
    }
}

impl From<&Status> for Error {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let code = match info.and_then(|info| info.reason.parse().ok()) {
            Some(code) => code,
            // tower's timeout surfaces as Unknown with this text, tonic's own as Cancelled
            None if status.message().contains("imeout expired") => Code::DeadlineExceeded,
            None => Code::from_grpc(status.code()),
        };
        let mut error = Self::new(code, status.message());
        error.retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
        if let Some(info) = info {
            error.param = info.metadata.get("param").cloned();
            error.details = info
                .metadata
                .get("details")
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default();
        } else if code == Code::Unavailable || code == Code::Internal {
            // a transport's own words may name hosts; the log has them
            error.message = format!("a part of the service is {}, try again", code.as_str());
        }
        error
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_survives_the_wire() {
        let error = Error::new(Code::InputTooLong, "text has 300 tokens, the model takes 256")
            .with_param("text")
            .with_detail("tokens", 300)
            .with_retry_after(Duration::from_millis(1500));
        assert_eq!(Error::from(Status::from(error.clone())), error);
    }

    #[test]
    fn two_codes_of_one_grpc_status_stay_apart() {
        let codes = [
            Code::PiiRejected,
            Code::BudgetExceeded,
            Code::TooLarge,
            Code::InputTooLong,
            Code::RateLimited,
            Code::QuotaExceeded,
        ];
        for code in codes {
            assert_eq!(Error::from(Status::from(Error::new(code, "x"))).code, code);
        }
    }

    #[test]
    fn timeouts_of_both_libraries_are_deadlines() {
        assert_eq!(Error::from(Status::cancelled("Timeout expired")).code, Code::DeadlineExceeded);
        assert_eq!(Error::from(Status::unknown("timeout expired")).code, Code::DeadlineExceeded);
    }
}
