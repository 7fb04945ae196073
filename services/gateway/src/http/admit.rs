//! Letting a request in: whose it is, whether it may, and what travels with it.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use embermesh_auth::Scope;
use embermesh_errors::Error;
use embermesh_transport::{CallContext, read_timeout};
use embermesh_types::RequestId;
use http::{Extensions, HeaderMap, Method};

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

/// Lets a request with these headers in if its key has any of `scopes`. What travels with the call is put into `extensions` too.
pub(crate) fn admit(
    app: &App,
    headers: &HeaderMap,
    extensions: &mut Extensions,
    scopes: &[Scope],
) -> Result<CallContext, Error> {
    let principal = app.authenticator.authenticate(headers)?;
    require(&principal, scopes)?;
    let arrival = extensions
        .get::<Arrival>()
        .cloned()
        .ok_or_else(|| Error::internal("the request has not passed the edge"))?;
    if let Some(key) = idempotency_key(headers)? {
        extensions.insert(key);
    }
    let own_limit = read_timeout(headers).filter(|_| is_grpc(headers)).map(|left| Instant::now() + left);
    let deadline = own_limit.map_or(arrival.deadline, |limit| limit.min(arrival.deadline));
    let context = CallContext { principal, request_id: arrival.request_id, deadline: Some(deadline) };
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

/// Middleware of the OpenAI-compatible routes, which are not in the contracts: whoever may embed may look up models. Handlers get
/// a body that has been read within its limit.
pub(crate) async fn admit_openai(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let scopes: &[Scope] =
        if request.method() == Method::POST { &[Scope::Embed] } else { &[Scope::Embed, Scope::Read] };
    let (parts, body) = admit_request(&app, request, scopes)?.into_parts();
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
