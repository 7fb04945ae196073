//! The JSON form, readable by OpenAI's SDKs.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::Error;

/// `{"error": {…}}`.
#[derive(Debug, Serialize)]
pub struct ErrorEnvelope<'a> {
    /// The error.
    pub error: ErrorBody<'a>,
}

/// What stands under `error`.
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// From the fixed set of codes.
    pub code: &'static str,
    /// For people.
    pub message: &'a str,
    /// OpenAI's coarse class.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field or header at fault.
    pub param: Option<&'a str>,
    /// What to name in a question about this error.
    pub request_id: &'a str,
    /// Figures that belong to the code.
    pub details: &'a Map<String, Value>,
}

impl Error {
    /// The JSON form of this error in the answer to `request_id`.
    pub fn envelope<'a>(&'a self, request_id: &'a str) -> ErrorEnvelope<'a> {
        ErrorEnvelope {
            error: ErrorBody {
                code: self.code.as_str(),
                message: &self.message,
                kind: self.code.openai_type(),
                param: self.param.as_deref(),
                request_id,
                details: &self.details,
            },
        }
    }
}
