//! One text to embed: parsed at the edge, trusted from here on.

use embermesh_errors::{Code, Error};
use embermesh_proto::v1;
use embermesh_types::RequestId;

use super::{EmbeddingLimits, InputType, JsonObject, OnTooLong, Route, caller::Caller, fields};

/// Most texts in one call.
pub(crate) const MAX_BATCH: usize = 2048;

/// One text to embed.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What decides how it is embedded.
    pub route: Route,
    /// What is embedded and kept.
    pub text: String,
    /// Whether it is kept.
    pub store: bool,
    /// Kept beside the text.
    pub metadata: Option<JsonObject>,
    /// Kept beside the text.
    pub context_id: Option<String>,
    /// The caller's idempotency key.
    pub request_id: Option<RequestId>,
    /// Whether the answer holds the vector.
    pub return_vector: bool,
}

impl Entry {
    /// Checks a request; errors name its field.
    pub fn parse(
        request: v1::EmbedRequest,
        caller: &Caller,
        limits: &EmbeddingLimits,
    ) -> Result<Self, Error> {
        let agent = caller.agent(&request.agent_id)?;
        check_text("text", &request.text, limits.max_text_bytes)?;
        Ok(Self {
            route: Route {
                agent,
                model: fields::model(request.model)?,
                task_type: fields::task_type(request.task_type)?,
                input_type: input_type(request.input_type.as_deref())?,
                dimensions: fields::dimensions(request.dimensions)?,
                on_too_long: OnTooLong::parse(request.on_too_long.as_deref())?,
            },
            text: request.text,
            store: request.store.unwrap_or(true),
            metadata: JsonObject::parse("metadata", &request.metadata, limits.max_metadata_bytes)?,
            context_id: fields::context_id(request.context_id)?,
            request_id: request_id(request.request_id)?,
            return_vector: request.return_vector.unwrap_or(true),
        })
    }
}

/// Checks a text that came as the field `param`.
pub(crate) fn check_text(param: &str, text: &str, max_bytes: usize) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid(param, format!("{param} must not be empty")));
    }
    if text.len() > max_bytes {
        let message = format!("{param} has {} bytes, at most {max_bytes} are taken; split it", text.len());
        return Err(Error::new(Code::InputTooLong, message)
            .with_param(param)
            .with_detail("bytes", text.len())
            .with_detail("max_bytes", max_bytes));
    }
    if memchr::memchr(0, text.as_bytes()).is_some() {
        return Err(Error::invalid(param, format!("{param} must not contain NUL (U+0000)")));
    }
    Ok(())
}

/// Checks the texts of a call together.
pub(crate) fn check_total(bytes: usize, max_bytes: usize) -> Result<(), Error> {
    if bytes <= max_bytes {
        return Ok(());
    }
    let message =
        format!("the texts have {bytes} bytes together, at most {max_bytes} are taken; send fewer at a time");
    Err(Error::new(Code::TooLarge, message).with_detail("bytes", bytes).with_detail("max_bytes", max_bytes))
}

fn input_type(given: Option<&str>) -> Result<InputType, Error> {
    match given {
        None | Some("document") => Ok(InputType::Document),
        Some("query") => Ok(InputType::Query),
        Some(_) => Err(Error::invalid("input_type", "input_type must be document or query")),
    }
}

fn request_id(given: Option<String>) -> Result<Option<RequestId>, Error> {
    given
        .map(|text| text.parse().map_err(|error| Error::invalid("request_id", format!("{error}"))))
        .transpose()
}
