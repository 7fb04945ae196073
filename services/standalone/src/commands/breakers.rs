//! `embermesh breakers`: orders about circuit breakers, obeyed by every router.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use embermesh_types::AgentId;
use serde::{Deserialize, Serialize};

use super::{
    ask::{Ask, read, sent},
    block_on, output,
    output::printable,
};
use crate::client::{Client, Failure, Patience};

#[derive(Debug, Args)]
pub(crate) struct BreakersArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Close breakers and forget their failures; all of them, unless some are named
    Reset(Order),
    /// Send nothing to the named deployments until they are reset
    ForceOpen(Order),
    /// Send to the named deployments whatever happens, until they are reset
    ForceClose(Order),
}

#[derive(Debug, Args)]
struct Order {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    ask: Ask,
}

/// Which deployments are meant.
#[derive(Debug, Args, Serialize)]
struct Which {
    /// All of a provider entry, or of a kind
    #[arg(long, value_name = "PROVIDER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    /// One, written provider/model
    #[arg(long, value_name = "DEPLOYMENT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<String>,
    /// Those that serve an agent
    #[arg(long, value_name = "AGENT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
}

#[derive(Deserialize)]
struct Ordered {
    #[serde(default, alias = "forced")]
    reset: Vec<String>,
}

/// Orders and prints.
pub(crate) fn run(arguments: &BreakersArguments) -> Result<ExitCode, Failure> {
    let (Command::Reset(order) | Command::ForceOpen(order) | Command::ForceClose(order)) = &arguments.command;
    let client = order.ask.client(Patience::SHORT)?;
    output::print(&block_on(answer(&client, &arguments.command))?);
    Ok(ExitCode::SUCCESS)
}

async fn answer(client: &Client, command: &Command) -> Result<String, Failure> {
    let (name, done, order) = match command {
        Command::Reset(order) => ("reset", "reset", order),
        Command::ForceOpen(order) => ("force-open", "forced open", order),
        Command::ForceClose(order) => ("force-close", "forced closed", order),
    };
    let body = client.post(&format!("/api/v1/admin/circuit-breaker/{name}"), sent(&order.which)?).await?;
    if order.ask.json {
        return super::ask::untouched(&body);
    }
    let Ordered { reset } = read(&body)?;
    if reset.is_empty() {
        return Ok(format!("nothing was {done}: no deployment is meant by that\n"));
    }
    Ok(reset.iter().map(|deployment| format!("{done}: {}\n", printable(deployment))).collect())
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
        breakers: BreakersArguments,
    }

    async fn said(line: &[&str], body: Value) -> (String, String, Value) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (super::answer(&client, &line.breakers.command).await.unwrap(), log);
        let (text, log) = with_server(Patience::SHORT, |_, _| answering(200, &body), work).await;
        let log = log.lock().unwrap();
        (text, log[0].path.clone(), log[0].body.clone())
    }

    #[tokio::test]
    async fn an_order_names_what_is_meant_and_says_what_was_done() {
        let path = |name: &str| format!("/api/v1/admin/circuit-breaker/{name}");
        let answer = json!({"reset": ["a/small", "b/small"]});
        let got = said(&["reset"], answer).await;
        assert_eq!(got, ("reset: a/small\nreset: b/small\n".to_owned(), path("reset"), json!({})));
        let line = ["force-open", "--deployment", "a/small", "--agent", "docs"];
        let got = said(&line, json!({"forced": ["a/small"]})).await;
        let asked = json!({"deployment": "a/small", "agent": "docs"});
        assert_eq!(got, ("forced open: a/small\n".to_owned(), path("force-open"), asked));
        let got = said(&["force-close", "--provider", "b", "--json"], json!({"forced": []})).await;
        assert_eq!(got, ("{\"forced\":[]}\n".to_owned(), path("force-close"), json!({"provider": "b"})));
        let (text, ..) = said(&["reset", "--agent", "docs"], json!({"reset": []})).await;
        assert!(text.starts_with("nothing was reset"), "{text}");
    }
}
