//! `/_sim/…`: the call log and the faults, for tests in other processes.

use http::{Method, StatusCode, request::Parts};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};

use super::calls::Call;
use super::exchange::{Answer, json};
use super::faults::Injection;
use super::{Deployment, World};

/// `PUT /_sim/faults`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetFaults {
    /// Whose; absent means the deployment on whose port the request came in.
    deployment: Option<String>,
    faults: Vec<Injection>,
}

#[derive(Serialize)]
struct Calls {
    calls: Vec<Call>,
}

#[derive(Serialize)]
struct PendingFaults<'a> {
    deployment: &'a str,
    faults: Vec<Injection>,
}

#[derive(Serialize)]
struct ControlError {
    error: String,
}

/// Answers `action`, the path after `/_sim/`.
pub(super) async fn answer(
    world: &World,
    here: &Deployment,
    action: &str,
    head: &Parts,
    body: Incoming,
) -> Answer {
    match (&head.method, action) {
        (&Method::GET, "calls") => ok(&Calls { calls: world.calls.all() }),
        (&Method::DELETE, "calls") => {
            world.calls.clear();
            json(StatusCode::NO_CONTENT, Vec::new())
        }
        (&Method::GET, "faults") => ok(&world
            .deployments
            .iter()
            .map(|one| PendingFaults { deployment: one.name(), faults: one.pending_faults() })
            .collect::<Vec<_>>()),
        (&Method::PUT, "faults") => set_faults(world, here, body).await,
        _ => refuse(
            StatusCode::NOT_FOUND,
            "no such action; there is GET and DELETE calls, GET and PUT faults".to_owned(),
        ),
    }
}

async fn set_faults(world: &World, here: &Deployment, body: Incoming) -> Answer {
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let wanted: SetFaults = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let deployment = match wanted.deployment.map_or(Ok(here), |name| world.deployment(&name)) {
        Ok(deployment) => deployment,
        Err(error) => return refuse(StatusCode::NOT_FOUND, error.to_string()),
    };
    deployment.inject(wanted.faults);
    json(StatusCode::NO_CONTENT, Vec::new())
}

fn ok(body: &impl Serialize) -> Answer {
    match serde_json::to_vec(body) {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn refuse(status: StatusCode, error: String) -> Answer {
    json(status, serde_json::to_vec(&ControlError { error }).unwrap_or_default())
}
