//! `/_sim/…`: the call log, the faults and the conditions, for tests in other processes.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::calls::Call;
use super::conditions::Conditions;
use super::faults::Injection;
use super::payload::Payload;
use super::{Deployment, SimError, World};

/// `PUT /_sim/faults`. What is left out stays as it is; what is there replaces all there was.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFaults {
    /// Whose; absent means the deployment on whose port the request came in.
    deployment: Option<String>,
    faults: Option<Vec<Injection>>,
    conditions: Option<Conditions>,
}

#[derive(Serialize)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Serialize)]
struct State<'a> {
    deployment: &'a str,
    faults: Vec<Injection>,
    conditions: Conditions,
    refused_by_limits: u64,
}

impl<'a> State<'a> {
    fn of(deployment: &'a Deployment) -> Self {
        Self {
            deployment: deployment.name(),
            faults: deployment.pending_faults(),
            conditions: (*deployment.conditions()).clone(),
            refused_by_limits: deployment.refused_by_limits(),
        }
    }
}

#[derive(Serialize)]
struct ControlError {
    error: String,
}

/// Answers `action`, the path after `/_sim/`, on the port of deployment `index` or on a port of its own.
pub(super) async fn answer(
    world: &World,
    index: Option<usize>,
    action: &str,
    request: Request<Incoming>,
) -> Response<Payload> {
    let here = index.and_then(|index| world.deployments.get(index));
    match (request.method(), action) {
        (&Method::GET, "calls") => ok(&Calls { calls: world.calls.all() }),
        (&Method::DELETE, "calls") => {
            world.calls.clear();
            nothing()
        }
        (&Method::GET, "faults") => ok(&world.deployments.iter().map(State::of).collect::<Vec<_>>()),
        (&Method::PUT, "faults") => set_faults(world, here, request.into_body()).await,
        (&Method::GET, "google-key") => match here {
            Some(here) => json(StatusCode::OK, here.google_key_file().into_bytes()),
            None => refuse(StatusCode::NOT_FOUND, "ask on the deployment's own port".to_owned()),
        },
        _ => no_such_action(),
    }
}

async fn set_faults(world: &World, here: Option<&Deployment>, body: Incoming) -> Response<Payload> {
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let wanted: SetFaults = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    if wanted.faults.is_none() && wanted.conditions.is_none() {
        return refuse(StatusCode::BAD_REQUEST, "give faults, conditions or both".to_owned());
    }
    let deployment = match (&wanted.deployment, here) {
        (Some(name), _) => world.deployment(name),
        (None, Some(here)) => Ok(here),
        (None, None) => Err(SimError::UnnamedDeployment),
    };
    let deployment = match deployment {
        Ok(deployment) => deployment,
        Err(error) => return refuse(StatusCode::NOT_FOUND, error.to_string()),
    };
    if let Some(faults) = wanted.faults {
        deployment.inject(faults);
    }
    if let Some(conditions) = wanted.conditions {
        deployment.set_conditions(conditions);
        // not over the very connection that goes down with it
        if here.is_none_or(|here| here.name() != deployment.name()) {
            deployment.settled().await;
        }
    }
    nothing()
}

pub(super) fn no_such_action() -> Response<Payload> {
    refuse(
        StatusCode::NOT_FOUND,
        "no such action; there is GET and DELETE /_sim/calls, GET and PUT /_sim/faults, GET /_sim/google-key"
            .to_owned(),
    )
}

fn ok(body: &impl Serialize) -> Response<Payload> {
    match serde_json::to_vec(body) {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn nothing() -> Response<Payload> {
    json(StatusCode::NO_CONTENT, Vec::new())
}

fn refuse(status: StatusCode, error: String) -> Response<Payload> {
    json(status, serde_json::to_vec(&ControlError { error }).unwrap_or_default())
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Payload> {
    let mut answer = Response::new(Payload::whole(body.into()));
    *answer.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(http::header::CONTENT_TYPE, json);
    answer
}
