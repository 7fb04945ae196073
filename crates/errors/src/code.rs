//! The codes, and what each is in gRPC and HTTP.

use std::str::FromStr;

use http::StatusCode;
use tonic::Code as Grpc;

/// What went wrong. The text form is part of the public API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The request is malformed; repeating it changes nothing.
    Invalid,
    /// No key, or one that is unknown, revoked or expired.
    Unauthenticated,
    /// A budget is spent.
    BudgetExceeded,
    /// The key may not do this.
    Forbidden,
    /// Not there, or not the caller's.
    NotFound,
    /// The route exists, the method does not.
    MethodNotAllowed,
    /// Idempotency conflict, stale version or duplicate.
    Conflict,
    /// The body, or the texts of a call together, over the limit.
    TooLarge,
    /// Personal data under a `reject` policy.
    PiiRejected,
    /// A text over the limit of the model, or of the gateway.
    InputTooLong,
    /// Too many requests.
    RateLimited,
    /// A quota of the tenant is used up, and stays so for hours or days.
    QuotaExceeded,
    /// The caller went away.
    Cancelled,
    /// A defect.
    Internal,
    /// A promised thing that this version cannot do.
    NotImplemented,
    /// Nobody can serve this now.
    Unavailable,
    /// Out of time.
    DeadlineExceeded,
}

type Row = (Code, &'static str, u16, Grpc);

const TABLE: [Row; 17] = [
    (Code::Invalid, "invalid_request", 400, Grpc::InvalidArgument),
    (Code::Unauthenticated, "unauthenticated", 401, Grpc::Unauthenticated),
    (Code::BudgetExceeded, "budget_exceeded", 402, Grpc::FailedPrecondition),
    (Code::Forbidden, "forbidden", 403, Grpc::PermissionDenied),
    (Code::NotFound, "not_found", 404, Grpc::NotFound),
    (Code::MethodNotAllowed, "method_not_allowed", 405, Grpc::Unimplemented),
    (Code::Conflict, "conflict", 409, Grpc::AlreadyExists),
    (Code::TooLarge, "too_large", 413, Grpc::OutOfRange),
    (Code::PiiRejected, "pii_rejected", 422, Grpc::FailedPrecondition),
    (Code::InputTooLong, "input_too_long", 422, Grpc::OutOfRange),
    (Code::RateLimited, "rate_limited", 429, Grpc::ResourceExhausted),
    (Code::QuotaExceeded, "quota_exceeded", 429, Grpc::ResourceExhausted),
    (Code::Cancelled, "cancelled", 499, Grpc::Cancelled),
    (Code::Internal, "internal", 500, Grpc::Internal),
    (Code::NotImplemented, "not_implemented", 501, Grpc::Unimplemented),
    (Code::Unavailable, "unavailable", 503, Grpc::Unavailable),
    (Code::DeadlineExceeded, "deadline_exceeded", 504, Grpc::DeadlineExceeded),
];

impl Code {
    /// Every code, in the order of their HTTP statuses.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static Row {
        // the table is in the order of the enum, which a test proves
        &TABLE[self as usize]
    }

    /// The text form, such as `budget_exceeded`.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status.
    pub fn http(self) -> StatusCode {
        StatusCode::from_u16(self.row().2).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The gRPC status code.
    pub fn grpc(self) -> Grpc {
        self.row().3
    }

    /// OpenAI's coarse `type` of the error.
    pub fn openai_type(self) -> &'static str {
        match self {
            Self::Unauthenticated => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::BudgetExceeded | Self::QuotaExceeded => "insufficient_quota",
            Self::RateLimited => "rate_limit_error",
            _ if self.http().is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::DeadlineExceeded)
    }

    /// The code of a status that carries no detail of ours.
    pub(crate) fn from_grpc(code: Grpc) -> Self {
        match code {
            Grpc::InvalidArgument => Self::Invalid,
            Grpc::Unauthenticated => Self::Unauthenticated,
            Grpc::PermissionDenied => Self::Forbidden,
            Grpc::NotFound => Self::NotFound,
            Grpc::AlreadyExists | Grpc::Aborted | Grpc::FailedPrecondition => Self::Conflict,
            Grpc::OutOfRange => Self::TooLarge,
            Grpc::ResourceExhausted => Self::RateLimited,
            Grpc::Cancelled => Self::Cancelled,
            Grpc::Unimplemented => Self::NotImplemented,
            Grpc::Unavailable => Self::Unavailable,
            Grpc::DeadlineExceeded => Self::DeadlineExceeded,
            Grpc::Ok | Grpc::Unknown | Grpc::Internal | Grpc::DataLoss => Self::Internal,
        }
    }
}

impl FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        TABLE.iter().find(|row| row.1 == text).map(|row| row.0).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, at, "{}", row.1);
            assert_eq!(row.1.parse(), Ok(row.0));
            assert_eq!(row.0.http().as_u16(), row.2);
        }
    }
}
