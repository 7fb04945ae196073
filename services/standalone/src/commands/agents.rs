//! `embermesh agents`: what agents may use and spend, as it is, as it was, and as it would work out.

mod configuration;
mod fields;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use configuration::body;
use embermesh_types::AgentId;
use serde::Serialize;

use super::{
    ask::{Ask, sent, untouched},
    block_on, output,
    query::escaped,
};
use crate::client::{Client, Failure, Patience};

const AGENTS: &str = "/api/v1/embeddings/agents";

#[derive(Debug, Args)]
pub(crate) struct AgentsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The agents that have a configuration of their own; all others run on that of the agent `default`
    List(ListArguments),
    /// The configuration of an agent
    Get(OneArguments),
    /// Change an agent's configuration, or make one: given fields replace, absent ones stay
    Put(PutArguments),
    /// Every configuration that an agent ever had, newest first
    History(HistoryArguments),
    /// Put an earlier configuration in force again, as a new version
    Rollback(RollbackArguments),
    /// Remove the configuration of an agent, which then runs on that of the agent `default`; history, rows and costs stay
    Delete(OneArguments),
    /// The models that serve an agent, and the space that its vectors lie in
    Models(ModelsArguments),
    /// Where a text of an agent would go now, and why: every candidate with its score and price
    Explain(ExplainArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    page: PageArguments,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct OneArguments {
    agent: AgentId,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct PutArguments {
    agent: AgentId,
    /// A JSON object, a file that holds one, or - for standard input; what `get --json` prints can be edited and given back
    #[arg(required_unless_present = "clear")]
    configuration: Option<String>,
    /// Take a field out before the given ones are put in, such as cache or constraints.max_cost_per_day
    #[arg(long, value_name = "FIELD")]
    clear: Vec<String>,
    /// Change nothing when the current version is another
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct HistoryArguments {
    agent: AgentId,
    #[command(flatten)]
    page: PageArguments,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct RollbackArguments {
    agent: AgentId,
    /// The version whose configuration is wanted; default: the one before the current, after a deletion the last one
    #[arg(long, value_name = "VERSION")]
    to: Option<i64>,
    /// Change nothing when the current version is another
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct ModelsArguments {
    agent: AgentId,
    /// Task type, such as general_qa (default), code_analysis, multilingual or research
    #[arg(long, value_name = "TYPE")]
    task_type: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct ExplainArguments {
    agent: AgentId,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args, Serialize)]
struct Question {
    /// Task type, such as general_qa (default), code_analysis, multilingual or research
    #[arg(long, value_name = "TYPE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<String>,
    /// Catalog model; default: the agent's own
    #[arg(long, value_name = "MODEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// Length of the vectors
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    /// Instead of the agent's strategy: smart, balanced, quality, speed or cost
    #[arg(long = "strategy", value_name = "STRATEGY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_strategy: Option<String>,
    /// Tokens of the text; default: 1000
    #[arg(long = "tokens", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_estimate: Option<u64>,
}

#[derive(Debug, Args)]
struct PageArguments {
    /// Most to show; default: 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    page_size: Option<u32>,
    /// Go on after an earlier page, which ended with this
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
}

impl PageArguments {
    fn query(&self) -> String {
        let size = self.page_size.map(|size| size.to_string());
        query(&[("page_size", size.as_deref()), ("page_token", self.page_token.as_deref())])
    }
}

impl Command {
    const fn ask(&self) -> &Ask {
        match self {
            Self::List(ListArguments { ask, .. })
            | Self::Get(OneArguments { ask, .. })
            | Self::Put(PutArguments { ask, .. })
            | Self::History(HistoryArguments { ask, .. })
            | Self::Rollback(RollbackArguments { ask, .. })
            | Self::Delete(OneArguments { ask, .. })
            | Self::Models(ModelsArguments { ask, .. })
            | Self::Explain(ExplainArguments { ask, .. }) => ask,
        }
    }

    /// Sent again, a rollback to the version before would take itself back, and a deletion would be told that there is nothing.
    const fn patience(&self) -> Patience {
        match self {
            Self::Rollback(RollbackArguments { to: None, .. }) | Self::Delete(_) => Patience::ONCE,
            _ => Patience::SHORT,
        }
    }
}

/// Asks and prints.
pub(crate) fn run(arguments: &AgentsArguments) -> Result<ExitCode, Failure> {
    let command = &arguments.command;
    let client = command.ask().client(command.patience())?;
    output::print(&block_on(answer(&client, command))?);
    Ok(ExitCode::SUCCESS)
}

async fn answer(client: &Client, command: &Command) -> Result<String, Failure> {
    let ask = command.ask();
    match command {
        Command::List(ListArguments { page, .. }) => {
            ask.told(&client.get(&format!("{AGENTS}{}", page.query())).await?, show::agents)
        }
        Command::Get(OneArguments { agent, .. }) => {
            ask.told(&client.get(&format!("{AGENTS}/{agent}")).await?, show::fields)
        }
        Command::Put(put) => {
            let body = body(put.configuration.as_deref(), &put.clear, put.if_version)?;
            ask.told(&client.put(&format!("{AGENTS}/{}", put.agent), body).await?, show::fields)
        }
        Command::History(HistoryArguments { agent, page, .. }) => {
            ask.told(&client.get(&format!("{AGENTS}/{agent}/history{}", page.query())).await?, show::history)
        }
        Command::Rollback(RollbackArguments { agent, to, if_version, .. }) => {
            let wanted = Rollback { to_version: *to, version: *if_version };
            ask.told(&client.post(&format!("{AGENTS}/{agent}/rollback"), sent(&wanted)?).await?, show::fields)
        }
        Command::Delete(OneArguments { agent, .. }) => {
            let body = client.delete(&format!("{AGENTS}/{agent}")).await?;
            if ask.json { untouched(&body) } else { Ok(show::deleted(agent)) }
        }
        Command::Models(ModelsArguments { agent, task_type, .. }) => {
            let query = query(&[("task_type", task_type.as_deref())]);
            ask.told(&client.get(&format!("{AGENTS}/{agent}/models{query}")).await?, show::fields)
        }
        Command::Explain(ExplainArguments { agent, question, .. }) => {
            let body = client.post(&format!("{AGENTS}/{agent}/explain"), sent(question)?).await?;
            ask.told(&body, show::explanation)
        }
    }
}

#[derive(Serialize)]
struct Rollback {
    #[serde(skip_serializing_if = "Option::is_none")]
    to_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
}

fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some(format!("{name}={}", escaped((*value)?))));
    match given.collect::<Vec<_>>().join("&") {
        none if none.is_empty() => none,
        given => format!("?{given}"),
    }
}

#[cfg(test)]
mod tests;
