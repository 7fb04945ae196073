//! The metadata server of a Google Cloud machine, as far as access tokens need it.

use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::super::Deployment;
use super::super::wire::{Refusal, Written};
use super::Grant;

/// Where the token of the machine's own service account is.
pub(in super::super) const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const FLAVOR: &str = "metadata-flavor";
/// The same token is handed out until it has this long to go.
const NEARLY_OVER: Duration = Duration::from_secs(240);

/// Hands out the machine's token.
pub(in super::super) fn answer(deployment: &Deployment, head: &Parts) -> Result<Written, Refusal> {
    let tokens = &deployment.tokens;
    if let Some(outage) = tokens.outage() {
        return Err(outage);
    }
    if head.headers.get(FLAVOR).is_none_or(|flavor| flavor != "Google") {
        let written = Written::of("text/html", b"missing Metadata-Flavor:Google header".to_vec());
        return Err(Refusal { status: StatusCode::FORBIDDEN, written });
    }
    let now = tokens.now();
    let mut grant = None;
    {
        let state = tokens.state();
        if let Some(token) = &state.machines
            && let Some(left) = state.ends.get(token).and_then(|ends| ends.duration_since(now).ok())
            && left > NEARLY_OVER
        {
            grant =
                Some(Grant { access_token: token.clone(), expires_in: left.as_secs(), token_type: "Bearer" });
        }
    }
    let grant = grant.unwrap_or_else(|| {
        let fresh = tokens.grant(deployment.token_lifetime_s());
        tokens.state().machines = Some(fresh.access_token.clone());
        fresh
    });
    Ok(Written::serialise(&grant).header(FLAVOR, "Google"))
}
