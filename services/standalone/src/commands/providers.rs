//! `embermesh providers`: which there are, and how they are, from what calls have shown or from a call made now.

mod entries;

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{
    ask::{Ask, read},
    block_on, output,
    query::escaped,
    table::table,
};
use crate::client::{Client, Failure, Patience};

#[derive(Debug, Args)]
pub(crate) struct ProvidersArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What calls have shown so far; nothing is sent to a provider. Exit code 1 when one is unhealthy
    Health(HealthArguments),
    /// Make a small call to each deployment of a provider now; it is booked to embermesh-system. Exit code 1 when one fails
    Check(CheckArguments),
    /// Seal every credential with the newest key, which admin and all routers have. Exit code 1 when one cannot be opened
    Reseal(HealthArguments),
    #[command(flatten)]
    Entries(entries::Command),
}

#[derive(Debug, Args)]
struct HealthArguments {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// Name of a provider entry, or a kind
    provider: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Deserialize)]
struct Health {
    #[serde(default)]
    providers: BTreeMap<String, ProviderHealth>,
}

#[derive(Deserialize)]
struct ProviderHealth {
    status: String,
    circuit_breaker_state: String,
    failure_count: u32,
    latency_ms: u64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Checked {
    #[serde(default)]
    deployments: Vec<Deployment>,
}

#[derive(Deserialize)]
struct Deployment {
    name: String,
    healthy: bool,
    latency_ms: u64,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Resealed {
    key: u32,
    resealed: Vec<String>,
    shut: Vec<Shut>,
}

#[derive(Deserialize)]
struct Shut {
    provider: String,
    reason: String,
}

/// Asks and prints.
pub(crate) fn run(arguments: &ProvidersArguments) -> Result<ExitCode, Failure> {
    let (ask, patience) = match &arguments.command {
        Command::Health(HealthArguments { ask })
        | Command::Reseal(HealthArguments { ask })
        | Command::Check(CheckArguments { ask, .. }) => (ask, Patience::SHORT),
        Command::Entries(command) => (command.ask(), command.patience()),
    };
    let client = ask.client(patience)?;
    let (text, code) = block_on(answer(&client, &arguments.command))?;
    output::print(&text);
    Ok(ExitCode::from(code))
}

async fn answer(client: &Client, command: &Command) -> Result<(String, u8), Failure> {
    match command {
        Command::Health(HealthArguments { ask }) => {
            let body = client.get("/api/v1/embeddings/providers/health").await?;
            let health: Health = read(&body)?;
            let bad = health.providers.values().any(|provider| provider.status == "unhealthy");
            Ok((ask.told(&body, show_health)?, u8::from(bad)))
        }
        Command::Check(CheckArguments { provider, ask }) => {
            let path = format!("/api/v1/admin/providers/{}/health-check", escaped(provider));
            let body = client.post(&path, b"{}".to_vec()).await?;
            let checked: Checked = read(&body)?;
            let bad = checked.deployments.iter().any(|deployment| !deployment.healthy);
            Ok((ask.told(&body, show_checked)?, u8::from(bad)))
        }
        Command::Reseal(HealthArguments { ask }) => {
            let body = client.post("/api/v1/admin/provider-credentials/reseal", b"{}".to_vec()).await?;
            let resealed: Resealed = read(&body)?;
            Ok((ask.told(&body, show_resealed)?, u8::from(!resealed.shut.is_empty())))
        }
        Command::Entries(command) => Ok((entries::answer(client, command).await?, 0)),
    }
}

fn show_health(health: &Health) -> String {
    if health.providers.is_empty() {
        return "no provider is configured\n".to_owned();
    }
    let rows = health.providers.iter().map(|(name, provider)| {
        vec![
            name.clone(),
            provider.status.clone(),
            provider.circuit_breaker_state.clone(),
            provider.error.clone().unwrap_or_else(|| "-".to_owned()),
            provider.failure_count.to_string(),
            provider.latency_ms.to_string(),
        ]
    });
    let header = ["provider", "status", "breaker", "last error", "failures", "ms"];
    table(4, &header, &rows.collect::<Vec<_>>())
}

fn show_resealed(resealed: &Resealed) -> String {
    let mut text = format!("{} credentials were sealed with key {}\n", resealed.resealed.len(), resealed.key);
    if !resealed.shut.is_empty() {
        let rows: Vec<_> =
            resealed.shut.iter().map(|shut| vec![shut.provider.clone(), shut.reason.clone()]).collect();
        text.push('\n');
        text.push_str(&table(2, &["provider", "stays as it is, because"], &rows));
    }
    text
}

fn show_checked(checked: &Checked) -> String {
    let rows = checked.deployments.iter().map(|deployment| {
        vec![
            deployment.name.clone(),
            if deployment.healthy { "healthy" } else { "unhealthy" }.to_owned(),
            deployment.error.clone().unwrap_or_else(|| "-".to_owned()),
            deployment.latency_ms.to_string(),
        ]
    });
    table(3, &["deployment", "status", "error", "ms"], &rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::test_server::{json as answering, with_server};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        providers: ProvidersArguments,
    }

    async fn said(line: &[&str], body: Value) -> (String, u8, String) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (super::answer(&client, &line.providers.command).await.unwrap(), log);
        let ((text, code), log) = with_server(Patience::SHORT, |_, _| answering(200, &body), work).await;
        let path = log.lock().unwrap()[0].path.clone();
        (text, code, path)
    }

    #[tokio::test]
    async fn an_unhealthy_provider_is_an_exit_code_whoever_reads() {
        let provider = |status: &str| json!({"name": "a", "status": status, "circuit_breaker_state": "open", "failure_count": 7, "latency_ms": 12, "error": "status 500"});
        for (line, status, expected) in [
            (&["health"][..], "unhealthy", 1),
            (&["health", "--json"], "unhealthy", 1),
            (&["health"], "degraded", 0),
        ] {
            let (text, code, path) = said(line, json!({"providers": {"a": provider(status)}})).await;
            assert_eq!((code, path.as_str()), (expected, "/api/v1/embeddings/providers/health"));
            assert!(text.contains(status) && text.contains("status 500"), "{text}");
        }
        let (text, code, _) = said(&["health"], json!({})).await;
        assert_eq!((text.as_str(), code), ("no provider is configured\n", 0));
    }

    #[tokio::test]
    async fn what_cannot_be_sealed_anew_is_named_and_an_exit_code() {
        let body = json!({"key": 2, "resealed": ["a"], "shut": [{"provider": "b", "reason": "no key 1"}]});
        let (text, code, path) = said(&["reseal"], body).await;
        assert_eq!((code, path.as_str()), (1, "/api/v1/admin/provider-credentials/reseal"));
        assert!(
            text.starts_with("1 credentials were sealed with key 2") && text.contains("no key 1"),
            "{text}"
        );
        let (_, code, _) = said(&["reseal"], json!({"key": 2, "resealed": [], "shut": []})).await;
        assert_eq!(code, 0);
    }

    #[tokio::test]
    async fn a_check_names_each_deployment() {
        let body = json!({"provider": "openai", "deployments": [
            {"name": "openai/small", "healthy": true, "latency_ms": 31},
            {"name": "openai/large", "healthy": false, "latency_ms": 2, "error": "401"}]});
        let (text, code, path) = said(&["check", "my openai"], body).await;
        assert_eq!((code, path.as_str()), (1, "/api/v1/admin/providers/my%20openai/health-check"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].starts_with("openai/large  unhealthy  401"), "{text}");
    }
}
