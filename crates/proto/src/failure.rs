//! The one error, as a part of an answer whose other parts went well.

use std::time::Duration;

use embermesh_errors::{Code, Error};

use crate::internal::v1::Failure;

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let details = &error.details;
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            param: error.param.clone().unwrap_or_default(),
            details: if details.is_empty() {
                String::new()
            } else {
                serde_json::Value::Object(details.clone()).to_string()
            },
            retry_after_ms: error
                .retry_after
                .map_or(0, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let code = failure.code.parse().unwrap_or(Code::Internal);
        let mut error = Self::new(code, failure.message);
        error.param = (!failure.param.is_empty()).then_some(failure.param);
        error.details = serde_json::from_str(&failure.details).unwrap_or_default();
        error.retry_after =
            (failure.retry_after_ms > 0).then(|| Duration::from_millis(failure.retry_after_ms));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_the_way_there_and_back() {
        let error = Error::new(Code::InputTooLong, "too long")
            .with_param("text")
            .with_detail("tokens", 9000)
            .with_retry_after(Duration::from_millis(1500));
        assert_eq!(Error::from(Failure::from(&error)), error);
        let bare = Error::internal("x");
        assert_eq!(Error::from(Failure::from(&bare)), bare);
    }
}
