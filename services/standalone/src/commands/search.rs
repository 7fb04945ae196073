//! `embermesh search`: the stored texts that answer a question best.

mod table;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use embermesh_types::AgentId;
use serde::Serialize;
use table::Answer;

use super::{block_on, output};
use crate::{
    cli::ServerArguments,
    client::{Client, Connection, Failure, Patience},
};

#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// What to look for
    #[arg(required = true, value_name = "QUERY")]
    pub query: Vec<String>,
    /// Agent whose texts are searched; default: every agent of the tenant
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<AgentId>,
    /// Most results to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Catalog model whose space is searched; default: the agent's own
    #[arg(long, value_name = "MODEL", conflicts_with = "cross_model")]
    pub model: Option<String>,
    /// Search every space that holds matching texts, and fuse what they find by rank
    #[arg(long)]
    pub cross_model: bool,
    /// Search by similarity alone, or also by the words of the query
    #[arg(long, value_name = "MODE", default_value = "vector")]
    pub mode: Mode,
    /// Task type, such as general_qa, code_analysis, multilingual or research
    #[arg(long, value_name = "TYPE")]
    pub task_type: Option<String>,
    /// Least cosine similarity, -1 to 1
    #[arg(long, value_name = "SIMILARITY", allow_negative_numbers = true, value_parser = similarity)]
    pub min_similarity: Option<f64>,
    /// Only texts that were stored with this context
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArguments,
}

/// By what texts are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Vector,
    Hybrid,
}

fn similarity(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (-1.0..=1.0).contains(value));
    value.ok_or_else(|| "a cosine similarity is -1 to 1".to_owned())
}

#[derive(Debug, Serialize)]
struct SearchRequest<'a> {
    query: String,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_similarity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

/// Searches and prints.
pub(crate) fn run(arguments: &SearchArguments) -> Result<ExitCode, Failure> {
    let connection = Connection::find(&arguments.server)?;
    let client = Client::new(&connection, Patience::SHORT)?;
    output::print(&block_on(search(&client, arguments, output::columns()))?);
    Ok(ExitCode::SUCCESS)
}

async fn search(client: &Client, arguments: &SearchArguments, columns: usize) -> Result<String, Failure> {
    let request = SearchRequest {
        query: arguments.query.join(" "),
        limit: arguments.limit,
        agent_id: arguments.agent.as_ref().map(AgentId::as_str),
        model: arguments.model.as_deref(),
        task_type: arguments.task_type.as_deref(),
        min_similarity: arguments.min_similarity,
        context_id: arguments.context.as_deref(),
        mode: Some(arguments.mode).filter(|mode| *mode != Mode::Vector),
    };
    let path = if arguments.cross_model {
        "/api/v1/embeddings/search/cross-model"
    } else {
        "/api/v1/embeddings/search"
    };
    let request = serde_json::to_vec(&request).map_err(|error| Failure::Usage(error.to_string()))?;
    let answer = client.post(path, request).await?;
    let garbled = |error: &dyn std::fmt::Display| Failure::Garbled(error.to_string());
    if arguments.json {
        // as it came: no number passes through a float
        let text = std::str::from_utf8(&answer).map_err(|error| garbled(&error))?;
        return Ok(format!("{}\n", text.trim_end()));
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|error| garbled(&error))?;
    Ok(table::render(&answer, columns))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::client::test_server::{json, with_server};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        search: SearchArguments,
    }

    #[tokio::test]
    async fn only_what_was_given_is_sent_and_json_is_passed_on_untouched() {
        let answer =
            json!({"results": [], "count": 0, "scan": "exact", "space_id": "s", "cost_usd": 0.000000001});
        let expected = format!("{answer}\n");
        with_server(
            Patience::SHORT,
            move |_, _| json(200, &answer),
            async |client, log| {
                let line =
                    Line::parse_from(["x", "--agent", "docs", "--context", "c", "--json", "two", "words"]);
                assert_eq!(search(&client, &line.search, 80).await.unwrap(), expected);
                let log = log.lock().unwrap();
                assert_eq!(log[0].path, "/api/v1/embeddings/search");
                assert_eq!(
                    log[0].body,
                    json!({"query": "two words", "limit": 5, "agent_id": "docs", "context_id": "c"})
                );
            },
        )
        .await;
    }

    #[tokio::test]
    async fn every_space_and_the_words_are_asked_on_request() {
        let answer = json!({"results": [], "count": 0, "spaces": [], "cost_usd": 0});
        with_server(
            Patience::SHORT,
            move |_, _| json(200, &answer),
            async |client, log| {
                let line = Line::parse_from(["x", "--cross-model", "--mode", "hybrid", "ERR-48213"]);
                assert_eq!(search(&client, &line.search, 80).await.unwrap(), "nothing found\n");
                let log = log.lock().unwrap();
                assert_eq!(log[0].path, "/api/v1/embeddings/search/cross-model");
                assert_eq!(log[0].body, json!({"query": "ERR-48213", "limit": 5, "mode": "hybrid"}));
            },
        )
        .await;
        for line in [["x", "--mode", "words", "a"].as_slice(), &["x", "--cross-model", "--model", "m", "a"]] {
            assert!(Line::try_parse_from(line).is_err(), "{line:?}");
        }
    }
}
