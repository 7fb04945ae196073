//! The running system, from outside.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use embermesh_types::Clock;
use serde::Deserialize;

use super::finding::Finding;
use crate::{
    client::{Client, Failure},
    commands::ask::read,
};

/// Days and months begin by the clock, and keys end by it.
pub(super) const MOST_SKEW: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Ready {
    #[serde(default)]
    conditions: BTreeMap<String, bool>,
    #[serde(default)]
    configuration: BTreeMap<String, Configuration>,
}

/// What one part of the process knows of the configuration.
#[derive(Deserialize)]
struct Configuration {
    version: i64,
    source: String,
    live: bool,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    providers: BTreeMap<String, Provider>,
    timestamp: String,
}

#[derive(Deserialize)]
struct Provider {
    status: String,
    error: Option<String>,
}

pub(super) async fn examine(client: &Client) -> Vec<Finding> {
    let mut findings = match client.get("/health/ready").await {
        Ok(body) => ready(&body),
        Err(failure @ Failure::Unreachable { .. }) => {
            let advice = "start it, or set EMBERMESH_URL";
            return vec![Finding::broken("server", &failure.to_string(), advice)];
        }
        Err(failure) => {
            vec![Finding::broken("server", &failure.to_string(), "see the logs of what is not ready")]
        }
    };
    findings.extend(client.get("/version").await.ok().as_deref().and_then(version));
    match client.get("/api/v1/embeddings/providers/health").await {
        Ok(body) => match read::<Health>(&body) {
            Ok(health) => {
                findings.push(Finding::well("key", "it is good"));
                findings.push(clock(&health.timestamp, Clock::system().now()));
                findings.extend(health.providers.iter().map(|(name, health)| provider(name, health)));
            }
            Err(failure) => findings.push(Finding::broken("providers", &failure.to_string(), "report this")),
        },
        Err(failure @ Failure::NotAuthorised(_)) => {
            let advice = "set EMBERMESH_ADMIN_KEY to a key of this server";
            findings.push(Finding::broken("key", &failure.to_string(), advice));
        }
        Err(failure) => {
            findings.push(Finding::broken(
                "providers",
                &failure.to_string(),
                "see the log of provider-router",
            ));
        }
    }
    findings
}

fn ready(body: &[u8]) -> Vec<Finding> {
    match read::<Ready>(body) {
        Ok(ready) => {
            let names: Vec<&str> = ready.conditions.keys().map(String::as_str).collect();
            let server = Finding::well("server", &format!("ready: {}", names.join(", ")));
            let parts = ready.configuration.iter().map(|(part, known)| configuration(part, known));
            std::iter::once(server).chain(parts).collect()
        }
        Err(failure) => {
            vec![Finding::broken("server", &failure.to_string(), "is there something else at this URL?")]
        }
    }
}

fn configuration(part: &str, known: &Configuration) -> Finding {
    let what = format!("configuration of {part}");
    let Configuration { version, source, live } = known;
    if *live {
        return Finding::well(&what, &format!("version {version}, live"));
    }
    let found = format!("version {version} from {source}, and admin is silent");
    Finding::ailing(
        &what,
        &found,
        "see admin and its database: until then no change and no revocation arrives",
    )
}

/// Nothing is said when the server tells no version to this machine.
fn version(body: &[u8]) -> Option<Finding> {
    let Version { version } = read(body).ok()?;
    let own = env!("CARGO_PKG_VERSION");
    Some(if version == own {
        Finding::well("version", &version)
    } else {
        let found = format!("the server is {version}, this command {own}");
        Finding::ailing("version", &found, "use the command of the server's release")
    })
}

fn clock(server: &str, here: SystemTime) -> Finding {
    let Ok(server) = humantime::parse_rfc3339_weak(server) else {
        return Finding::broken("clock", &format!("the server says {server}"), "report this");
    };
    let skew = here.duration_since(server).or_else(|_| server.duration_since(here)).unwrap_or_default();
    if skew <= MOST_SKEW {
        return Finding::well("clock", "the server's and this machine's agree");
    }
    let found = format!("the server's is {} s off this machine's", skew.as_secs());
    Finding::ailing("clock", &found, "run a time service on both: budgets and keys end by the clock")
}

fn provider(name: &str, health: &Provider) -> Finding {
    let what = format!("provider {name}");
    let error = health.error.as_deref().map_or_else(String::new, |error| format!(": {error}"));
    let found = format!("{}{error}", health.status);
    match health.status.as_str() {
        "healthy" => Finding::well(&what, &found),
        "degraded" => Finding::ailing(&what, &found, "`embermesh providers check` calls each deployment"),
        _ => Finding::broken(&what, &found, "`embermesh providers check` calls each deployment"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{
        Patience,
        test_server::{json as answering, with_server},
    };

    async fn said(status: u16, body: Value) -> String {
        let work = async |client, _| super::super::show(&examine(&client).await);
        with_server(Patience::SHORT, |_, _| answering(status, &body), work).await
    }

    #[tokio::test]
    async fn a_sound_system_is_said_to_be_sound() {
        let now = humantime::format_rfc3339(Clock::system().now()).to_string();
        let configuration = json!({"gateway": {"version": 7, "source": "admin", "live": true}});
        let body = json!({"conditions": {"ledger database": true}, "configuration": configuration, "version": env!("CARGO_PKG_VERSION"),
            "providers": {"local": {"status": "healthy"}}, "timestamp": now});
        let said = said(200, body).await;
        assert!(said.lines().all(|line| line.starts_with("ok ")), "{said}");
        assert!(
            said.contains("ready: ledger database")
                && said.contains("configuration of gateway: version 7, live")
                && said.contains("provider local: healthy"),
            "{said}"
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_with_what_to_do() {
        let configuration = json!({"gateway": {"version": 7, "source": "disk", "live": false}});
        let body = json!({"configuration": configuration, "version": "0.0.1", "timestamp": "2020-01-01T00:00:00Z", "providers": {
            "a": {"status": "unhealthy", "error": "401"}, "b": {"status": "degraded"}}});
        let said = said(200, body).await;
        for line in [
            "warn    version: the server is 0.0.1",
            "warn    clock: ",
            "warn    configuration of gateway: version 7 from disk",
            "BROKEN  provider a: unhealthy: 401",
            "warn    provider b: degraded",
        ] {
            assert!(said.contains(line), "{said}");
        }
    }

    #[tokio::test]
    async fn a_key_of_another_server_is_told_from_a_server_that_is_away() {
        let refusal = json!({"error": {"code": "unauthenticated", "message": "no valid API key"}});
        assert!(said(401, refusal).await.contains("BROKEN  key: "));
    }
}
