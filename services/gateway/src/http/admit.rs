//! Letting a request in: whose it is, whether it may, and what travels with it.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use embermesh_auth::Scope;
use embermesh_errors::Error;
use embermesh_telemetry::Span;
use embermesh_transport::{CallContext, read_timeout};
use embermesh_types::RequestId;
use http::{Extensions, HeaderMap};

use super::{Failure, body, is_grpc};
use crate::{
    authorise::{self, require, require_operator},
    edge::{App, AppState},
    embeddings::IdempotencyKey,
};

/// What the edge knows of every request, with a key or without; a request extension.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// Its name in every log and answer.
    pub request_id: RequestId,
    /// When the edge gives up on it.
    pub deadline: Instant,
}

/// Lets a request with these headers in if its key has any of `scopes`: what travels with the call, and the key under which its answer
/// is kept.
pub(crate) fn let_in(
    app: &App,
    headers: &HeaderMap,
    arrival: Arrival,
    scopes: &[Scope],
) -> Result<(CallContext, Option<IdempotencyKey>), Error> {
    let span = Span::new("authenticate");
    let principal = app.authenticator.authenticate(headers)?;
    drop(span);
    require(&principal, scopes)?;
    let key = idempotency_key(headers)?;
    let own_limit = read_timeout(headers).filter(|_| is_grpc(headers)).map(|left| Instant::now() + left);
    let deadline = own_limit.map_or(arrival.deadline, |limit| limit.min(arrival.deadline));
    Ok((CallContext { principal, request_id: arrival.request_id, deadline: Some(deadline) }, key))
}

/// [`let_in`] for a request on its way through the routes: what travels with the call is put into `extensions` too.
pub(crate) fn admit(
    app: &App,
    headers: &HeaderMap,
    extensions: &mut Extensions,
    scopes: &[Scope],
) -> Result<CallContext, Error> {
    let arrival = extensions
        .get::<Arrival>()
        .cloned()
        .ok_or_else(|| Error::internal("the request has not passed the edge"))?;
    let (context, key) = let_in(app, headers, arrival, scopes)?;
    if let Some(key) = key {
        extensions.insert(key);
    }
    extensions.insert(context.clone());
    Ok(context)
}

/// [`admit`] for a method of the contracts.
pub(crate) fn admit_method(
    app: &App,
    headers: &HeaderMap,
    extensions: &mut Extensions,
    method: &authorise::Method,
) -> Result<CallContext, Error> {
    let context = admit(app, headers, extensions, method.scopes)?;
    if method.operator {
        require_operator(app.authenticator.is_operator(context.principal.tenant))?;
    }
    Ok(context)
}

/// [`admit`] for a request whose handler reads the context from its extensions.
pub(crate) fn admit_request(app: &App, request: Request, scopes: &[Scope]) -> Result<Request, Error> {
    let (mut parts, body) = request.into_parts();
    admit(app, &parts.headers, &mut parts.extensions, scopes)?;
    Ok(Request::from_parts(parts, body))
}

/// Middleware of the OpenAI-compatible routes that only tell something, which are not in the contracts: whoever may embed may look up
/// models.
pub(crate) async fn admit_lookup(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (parts, body) = admit_request(&app, request, &[Scope::Embed, Scope::Read])?.into_parts();
    let body = body::read_json(&parts.headers, body, app.max_body_bytes, &app.tasks).await?;
    Ok(next.run(Request::from_parts(parts, body.into())).await)
}

/// The context of a request that has been let in.
pub(crate) fn context(extensions: &Extensions) -> Result<&CallContext, Error> {
    extensions.get().ok_or_else(|| Error::internal("the call has not passed authentication"))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Error> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(|text| text.parse().ok()).filter(|_| values.next().is_none());
    key.map(|key| Some(IdempotencyKey(key))).ok_or_else(|| {
        let message = "Idempotency-Key must be one value of 1 to 255 printable ASCII characters";
        Error::invalid("Idempotency-Key", message)
    })
}
