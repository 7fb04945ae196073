//! What travels with every call between services: who asks, which request it is part of, and how long it may take.

use std::time::{Duration, Instant};

use embermesh_auth::Principal;
use embermesh_errors::{Code, Error};
use embermesh_telemetry::{TRACEPARENT, Trace};
use embermesh_types::RequestId;
use http::HeaderMap;
use tonic::{Request, metadata::MetadataMap};

use crate::{deadline, identity};

/// The circumstances of one call. A service hands its caller's context on to the services it calls.
#[derive(Debug, Clone)]
pub struct CallContext {
    /// Who asks.
    pub principal: Principal,
    /// The client's request that this call is part of.
    pub request_id: RequestId,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
}

impl CallContext {
    /// Reads the context of a call that another service made.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        match request.extensions().get() {
            // of a direct call; nothing that comes over a socket has extensions of this kind
            Some(context) => Ok(Self::clone(context)),
            None => Self::from_metadata(request.metadata()),
        }
    }

    fn from_metadata(metadata: &MetadataMap) -> Result<Self, Error> {
        let headers = metadata.as_ref();
        let principal = identity::read(headers).ok_or_else(|| {
            Error::new(
                Code::Unauthenticated,
                "the call carries no identity; public calls go through the gateway",
            )
        })?;
        let request_id = identity::read_request_id(headers)
            .ok_or_else(|| Error::invalid(identity::REQUEST_ID, "the call carries no request id"))?;
        Ok(Self {
            principal,
            request_id,
            deadline: deadline::read(headers).map(|left| Instant::now() + left),
        })
    }

    /// Dresses a message for a call to another service.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        identity::set(request.metadata_mut().as_mut(), &self.principal, &self.request_id);
        if let Some(left) = self.time_left() {
            request.set_timeout(left);
        }
        if let Some(trace) = Trace::current() {
            trace.write(request.metadata_mut().as_mut());
        }
        request
    }

    /// Replaces whatever identity, request id and deadline the headers claim. For the gateway, which passes clients' calls on as
    /// they came; nobody else sees headers that a client wrote.
    pub fn replace_in(&self, headers: &mut HeaderMap) {
        identity::strip(headers);
        identity::set(headers, &self.principal, &self.request_id);
        if let Some(left) = self.time_left() {
            deadline::write(headers, left);
        }
        headers.remove(TRACEPARENT);
        if let Some(trace) = Trace::current() {
            trace.write(headers);
        }
    }

    /// Time until the deadline; zero once it has passed, `None` without one.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
