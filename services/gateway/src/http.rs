//! What every HTTP answer has in common: the one error shape, request ids, limits, and the requests that have been let in.

mod admit;
mod body;
mod content_type;
mod failure;
mod fallback;
mod incoming;
mod json;
mod metrics;
mod observe;
mod operations;

pub(crate) use admit::{Arrival, admit_lookup, admit_method, admit_request, context, let_in};
pub(crate) use body::read_json;
pub(crate) use failure::Failure;
pub(crate) use fallback::{is_grpc, no_such_method, no_such_route};
pub(crate) use incoming::Incoming;
pub(crate) use json::{in_plain_words, param};
pub(crate) use metrics::HttpMetrics;
pub(crate) use observe::{observe, observe_route};
#[cfg(test)]
pub(crate) use operations::OPENAPI;
pub(crate) use operations::operations;
