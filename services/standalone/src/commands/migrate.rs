//! `embermesh migrate`: move stored rows into another embedding space, and watch it happen.

mod answers;
mod bar;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use embermesh_types::{AgentId, NanoUsd};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use self::{
    answers::{Estimate, Failures, List, Migration, show_estimate, show_failures, show_list},
    bar::Bar,
};
use super::{
    ask::{Ask, read, sent, untouched},
    block_on, output,
};
use crate::client::{Client, Failure, Patience};

const PATH: &str = "/api/v1/migrations";
/// Between two questions about a migration.
const EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct MigrateArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tell what a migration would embed, cost and take; nothing is begun
    Estimate(EstimateArguments),
    /// Begin to copy rows into the space of another model; searches stay as they are until the cut-over
    Start(StartArguments),
    /// Show the migrations of the tenant, newest first
    List(AskArguments),
    /// Show how far a migration is
    Show(OneArguments),
    /// Show the rows that could not be embedded, and why
    Failures(OneArguments),
    /// Follow a migration until it is ready, paused or over
    Watch(OneArguments),
    /// Stop for now
    Pause(OneArguments),
    /// Go on, with another budget or pace where they are given
    Resume(ResumeArguments),
    /// Move the agents' pins into the new space
    CutOver(CutOverArguments),
    /// Take everything back, and delete the copies
    RollBack(WaitArguments),
    /// Delete the old vectors of the rows that have new ones; cannot be undone
    Finish(WaitArguments),
}

#[derive(Debug, Args)]
struct EstimateArguments {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    ask: Ask,
}

/// Which rows, where to, and how fast.
#[derive(Debug, Args, Serialize)]
struct What {
    /// Model to move to, by its id in the catalog
    #[arg(long, value_name = "MODEL")]
    to_model: String,
    /// Length of the new vectors [default: what the model gives]
    #[arg(long, value_name = "LENGTH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    to_dimensions: Option<u32>,
    /// Only rows of this agent [default: every agent of the tenant]
    #[arg(long, value_name = "AGENT")]
    #[serde(rename = "agent_id", skip_serializing_if = "Option::is_none")]
    agent: Option<AgentId>,
    /// Space that the rows lie in [default: the only other one that holds any]
    #[arg(long, value_name = "SPACE")]
    #[serde(rename = "from_space_id", skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pace: Pace,
}

#[derive(Debug, Args, Serialize)]
struct Pace {
    /// Calls of the migration in a minute
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    /// Tokens of the migration in a minute
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u64>,
}

#[derive(Debug, Args)]
struct StartArguments {
    #[command(flatten)]
    start: Start,
    /// Follow it until it is ready or paused
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args, Serialize)]
struct Start {
    #[command(flatten)]
    #[serde(flatten)]
    what: What,
    /// Pause before a batch that could make the migration cost more than this, in USD
    #[arg(long, value_name = "USD", value_parser = usd)]
    #[serde(rename = "budget_usd", skip_serializing_if = "Option::is_none")]
    budget: Option<Money>,
    /// What to do with a text over the new model's limit
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    on_too_long: Option<OnTooLong>,
    /// Least share of nearest neighbours that both spaces must agree on before the cut-over, 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    #[serde(skip_serializing_if = "Option::is_none")]
    min_overlap: Option<f64>,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
enum OnTooLong {
    Error,
    Truncate,
}

#[derive(Debug, Args)]
struct AskArguments {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct OneArguments {
    /// Id of the migration
    #[arg(value_name = "MIGRATION", value_parser = id)]
    migration: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct ResumeArguments {
    #[command(flatten)]
    one: OneArguments,
    #[command(flatten)]
    change: Resume,
}

#[derive(Debug, Args, Serialize)]
struct Resume {
    /// What the migration may cost in all, in USD
    #[arg(long, value_name = "USD", value_parser = usd)]
    #[serde(rename = "budget_usd", skip_serializing_if = "Option::is_none")]
    budget: Option<Money>,
    #[command(flatten)]
    #[serde(flatten)]
    pace: Pace,
}

#[derive(Debug, Args)]
struct CutOverArguments {
    #[command(flatten)]
    end: WaitArguments,
    /// Whatever the parity, and without the rows that failed
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct WaitArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Do not wait until it is done
    #[arg(long)]
    no_wait: bool,
}

/// An amount that is sent by its digits.
#[derive(Debug, Clone)]
struct Money(Box<RawValue>);

impl Serialize for Money {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

fn usd(text: &str) -> Result<Money, String> {
    let amount: NanoUsd = text.parse().map_err(|error| format!("{error}"))?;
    if amount < NanoUsd::ZERO {
        return Err("an amount must not be negative".to_owned());
    }
    RawValue::from_string(amount.to_string()).map(Money).map_err(|error| error.to_string())
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "a share is a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("a share is a number from 0 to 1".to_owned()) }
}

/// An id goes into a path.
fn id(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    fits.then(|| text.to_owned()).ok_or_else(|| "a migration's id is a UUID".to_owned())
}

impl Command {
    fn ask(&self) -> &Ask {
        match self {
            Self::Estimate(EstimateArguments { ask, .. })
            | Self::Start(StartArguments { ask, .. })
            | Self::List(AskArguments { ask }) => ask,
            Self::Show(one) | Self::Failures(one) | Self::Watch(one) | Self::Pause(one) => &one.ask,
            Self::Resume(resume) => &resume.one.ask,
            Self::CutOver(cut_over) => &cut_over.end.one.ask,
            Self::RollBack(end) | Self::Finish(end) => &end.one.ask,
        }
    }
}

/// Asks and prints; 1 when the migration stands still where it should not.
pub(crate) fn run(arguments: &MigrateArguments) -> Result<ExitCode, Failure> {
    let client = arguments.command.ask().client(Patience::SHORT)?;
    let (text, stuck) = block_on(answer(&client, &arguments.command))?;
    output::print(&text);
    Ok(ExitCode::from(u8::from(stuck)))
}

/// What to print, and whether the migration stands still where it should not.
async fn answer(client: &Client, command: &Command) -> Result<(String, bool), Failure> {
    let json = command.ask().json;
    match command {
        Command::Estimate(estimate) => {
            let body = client.post(&format!("{PATH}/estimate"), sent(&estimate.what)?).await?;
            Ok((estimate.ask.told::<Estimate>(&body, show_estimate)?, false))
        }
        Command::Start(StartArguments { start, wait, ask }) => {
            let body = client.post(PATH, sent(start)?).await?;
            let started: Migration = read(&body)?;
            if *wait {
                return follow(client, started.id(), json, Migration::rests).await;
            }
            Ok((ask.told::<Migration>(&body, Migration::to_string)?, false))
        }
        Command::List(AskArguments { ask }) => {
            let body = client.get(PATH).await?;
            Ok((ask.told::<List>(&body, show_list)?, false))
        }
        Command::Show(one) => {
            let body = client.get(&format!("{PATH}/{}", one.migration)).await?;
            Ok((one.ask.told::<Migration>(&body, Migration::to_string)?, false))
        }
        Command::Failures(one) => {
            let body = client.get(&format!("{PATH}/{}/failures?page_size=1000", one.migration)).await?;
            Ok((one.ask.told::<Failures>(&body, show_failures)?, false))
        }
        Command::Watch(one) => follow(client, &one.migration, json, Migration::rests).await,
        Command::Pause(one) => change(client, one, "pause", b"{}".to_vec()).await,
        Command::Resume(resume) => change(client, &resume.one, "resume", sent(&resume.change)?).await,
        Command::CutOver(CutOverArguments { end, force }) => {
            let body = if *force { br#"{"force":true}"#.to_vec() } else { b"{}".to_vec() };
            end_of(client, end, "cut-over", body).await
        }
        Command::RollBack(end) => end_of(client, end, "roll-back", b"{}".to_vec()).await,
        Command::Finish(end) => end_of(client, end, "finish", b"{}".to_vec()).await,
    }
}

async fn change(
    client: &Client,
    one: &OneArguments,
    what: &str,
    body: Vec<u8>,
) -> Result<(String, bool), Failure> {
    let body = client.post(&format!("{PATH}/{}/{what}", one.migration), body).await?;
    Ok((one.ask.told::<Migration>(&body, Migration::to_string)?, false))
}

/// Asks for a change that takes a while, and waits for it.
async fn end_of(
    client: &Client,
    end: &WaitArguments,
    what: &str,
    body: Vec<u8>,
) -> Result<(String, bool), Failure> {
    let changed = change(client, &end.one, what, body).await?;
    if end.no_wait {
        return Ok(changed);
    }
    follow(client, &end.one.migration, end.one.ask.json, Migration::is_done).await
}

async fn follow(
    client: &Client,
    id: &str,
    json: bool,
    done: fn(&Migration) -> bool,
) -> Result<(String, bool), Failure> {
    let mut bar = None;
    loop {
        let body = client.get(&format!("{PATH}/{id}")).await?;
        let migration: Migration = read(&body)?;
        if done(&migration) || migration.is_paused() {
            drop(bar);
            let text = if json { untouched(&body)? } else { migration.to_string() };
            return Ok((text, migration.is_paused()));
        }
        bar.get_or_insert_with(Bar::new).show(&migration);
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests;
