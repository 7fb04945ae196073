//! `embermesh cache`: fill and empty the cache, and see how far that is.

mod bar;
mod job;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use embermesh_types::AgentId;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use self::{bar::Bar, job::Job};
use super::{
    ask::{Ask, read, sent, untouched},
    block_on, output,
};
use crate::client::{Client, Failure, Patience};

/// Between two questions about a job.
const EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(crate) struct CacheArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put the vectors of stored rows into Redis, so that their texts are not paid for again
    Warm(WarmArguments),
    /// Serve nothing any more that was kept before
    Clear(ClearArguments),
    /// Show how far a job is
    Status(StatusArguments),
}

#[derive(Debug, Args)]
struct WarmArguments {
    #[command(flatten)]
    what: Warm,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args, Serialize)]
struct Warm {
    /// Only rows of this agent
    #[arg(long, value_name = "AGENT")]
    #[serde(rename = "agent_id", skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    /// Only rows of this space
    #[arg(long, value_name = "SPACE")]
    #[serde(rename = "space_id", skip_serializing_if = "Option::is_none")]
    space: Option<String>,
    /// Which rows come first
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<By>,
    /// Rows of each agent and space [default: 1000]
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    #[serde(rename = "rows_per_agent", skip_serializing_if = "Option::is_none")]
    rows: Option<u32>,
    /// Another tenant, by its id; for the operator
    #[arg(long, value_name = "TENANT")]
    #[serde(rename = "tenant_id", skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum By {
    Recent,
    MostUsed,
}

#[derive(Debug, Args)]
struct ClearArguments {
    #[command(flatten)]
    what: Clear,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args, Serialize)]
struct Clear {
    /// Only what this agent is served
    #[arg(long, value_name = "AGENT")]
    #[serde(rename = "agent_id", skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    /// Only vectors of this space
    #[arg(long, value_name = "SPACE")]
    #[serde(rename = "space_id", skip_serializing_if = "Option::is_none")]
    space: Option<String>,
    /// Another tenant, by its id; for the operator
    #[arg(long, value_name = "TENANT")]
    #[serde(rename = "tenant_id", skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// Of every tenant; for the operator
    #[arg(long, conflicts_with_all = ["agent", "tenant"])]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all_tenants: bool,
}

#[derive(Debug, Args)]
struct How {
    /// Print the job's id and do not wait for its end
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct StatusArguments {
    /// Id of the job
    #[arg(value_name = "JOB", value_parser = id)]
    job: String,
    /// Wait for its end
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Deserialize)]
struct Started {
    job_id: String,
}

/// An id goes into a path.
fn id(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    fits.then(|| text.to_owned()).ok_or_else(|| "a job's id is a UUID".to_owned())
}

/// Asks and prints; 1 when the job failed.
pub(crate) fn run(arguments: &CacheArguments) -> Result<ExitCode, Failure> {
    let ask = match &arguments.command {
        Command::Warm(WarmArguments { how, .. }) | Command::Clear(ClearArguments { how, .. }) => &how.ask,
        Command::Status(status) => &status.ask,
    };
    let client = ask.client(Patience::SHORT)?;
    let (text, failed) = block_on(answer(&client, &arguments.command))?;
    output::print(&text);
    Ok(ExitCode::from(u8::from(failed)))
}

/// What to print, and whether the job failed.
async fn answer(client: &Client, command: &Command) -> Result<(String, bool), Failure> {
    match command {
        Command::Warm(warm) => start(client, "warm", sent(&warm.what)?, &warm.how).await,
        Command::Clear(clear) => start(client, "clear", sent(&clear.what)?, &clear.how).await,
        Command::Status(status) => follow(client, &status.job, status.wait, status.ask.json).await,
    }
}

async fn start(client: &Client, name: &str, body: Vec<u8>, how: &How) -> Result<(String, bool), Failure> {
    let body = client.post(&format!("/api/v1/admin/cache/{name}"), body).await?;
    let started: Started = read(&body)?;
    if how.no_wait {
        return Ok(if how.ask.json {
            (untouched(&body)?, false)
        } else {
            (format!("{}\n", started.job_id), false)
        });
    }
    follow(client, &started.job_id, true, how.ask.json).await
}

async fn follow(client: &Client, id: &str, wait: bool, json: bool) -> Result<(String, bool), Failure> {
    let mut bar = None;
    loop {
        let body = client.get(&format!("/api/v1/admin/jobs/{id}")).await?;
        let job: Job = read(&body)?;
        if job.has_ended() || !wait {
            drop(bar);
            let text = if json { untouched(&body)? } else { job.to_string() };
            return Ok((text, job.has_failed()));
        }
        bar.get_or_insert_with(Bar::new).show(&job);
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::test_server::{Asked, json as answering, with_server};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cache: CacheArguments,
    }

    fn job(state: &str, done: u64) -> Value {
        json!({
            "job_id": "0192d5a0", "kind": "cache_warm", "state": state, "done": done, "total": 20, "changed": done,
            "created_at": "2026-11-30T12:00:00Z", "started_at": null, "finished_at": null,
        })
    }

    async fn said(
        line: &[&str],
        answers: impl Fn(usize, &Asked) -> Value,
    ) -> (String, bool, Vec<(String, Value)>) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (answer(&client, &line.cache.command).await.unwrap(), log);
        let ((text, failed), log) =
            with_server(Patience::SHORT, |n, asked| answering(200, &answers(n, asked)), work).await;
        let asked =
            log.lock().unwrap().iter().map(|asked| (asked.path.clone(), asked.body.clone())).collect();
        (text, failed, asked)
    }

    #[tokio::test]
    async fn a_job_is_started_and_followed_to_its_end() {
        let answers = |n: usize, _: &Asked| match n {
            0 => json!({"job_id": "0192d5a0"}),
            1 => job("queued", 0),
            2 => job("running", 7),
            _ => job("done", 20),
        };
        let line = ["warm", "--agent", "docs", "--by", "most_used", "--rows", "20"];
        let (text, failed, asked) = said(&line, answers).await;
        assert_eq!(text, "cache_warm 0192d5a0: done, 20 of 20 rows, 20 put into redis\n");
        assert!(!failed);
        assert_eq!(asked[0].0, "/api/v1/admin/cache/warm");
        assert_eq!(asked[0].1, json!({"agent_id": "docs", "by": "most_used", "rows_per_agent": 20}));
        assert!(asked[1..].iter().all(|(path, _)| path == "/api/v1/admin/jobs/0192d5a0") && asked.len() == 4);
    }

    #[tokio::test]
    async fn a_program_gets_the_job_as_it_is_and_a_failure_is_told() {
        let failed_job = json!({"job_id": "0192d5a0", "kind": "cache_clear", "state": "failed", "done": 3, "changed": 1,
            "note": "redis is away"});
        let whole = failed_job.clone();
        let answers = move |n: usize, _: &Asked| match n {
            0 => json!({"job_id": "0192d5a0"}),
            _ => failed_job.clone(),
        };
        let (text, failed, asked) = said(&["clear", "--all-tenants", "--json"], answers).await;
        assert_eq!((text.trim_end(), failed), (whole.to_string().as_str(), true));
        assert_eq!(asked[0].1, json!({"all_tenants": true}));
        let (text, failed, _) = said(&["status", "0192d5a0"], move |_, _| whole.clone()).await;
        assert_eq!(text, "cache_clear 0192d5a0: failed, 3 entries, 1 taken out of redis; redis is away\n");
        assert!(failed);
    }

    #[tokio::test]
    async fn without_waiting_only_the_id_is_told() {
        let started = |_: usize, _: &Asked| json!({"job_id": "0192d5a0"});
        let (text, _, asked) = said(&["clear", "--no-wait"], started).await;
        assert_eq!((text.as_str(), asked.len(), &asked[0].1), ("0192d5a0\n", 1, &json!({})));
        let (text, ..) = said(&["status", "0192d5a0"], |_, _| job("running", 7)).await;
        assert_eq!(text, "cache_warm 0192d5a0: running, 7 of 20 rows, 7 put into redis\n");
        assert!(Line::try_parse_from(["x", "status", "../keys"]).is_err());
        assert!(Line::try_parse_from(["x", "clear", "--all-tenants", "--agent", "a"]).is_err());
    }
}
