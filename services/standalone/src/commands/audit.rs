//! `embermesh audit`: who changed what, and whether the record of it is whole.

mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{
    ask::{Ask, read},
    block_on, output,
    query::escaped,
};
use crate::client::{Client, Failure, Patience};

const RECORDS: &str = "/api/v1/admin/audit";

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Changes of the configuration, newest first
    List(ListArguments),
    /// Recompute the chain of records and hold it against its signed anchors
    Verify(Ask),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Beginning, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End, which is not part of it
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// One kind of change alone, such as agent.put or key.revoke
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// What was changed: an agent, the id of a key or of a budget, a model, a deployment
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on after an earlier list, which has printed this
    #[arg(long, value_name = "TOKEN")]
    page_token: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Deserialize)]
struct Records {
    #[serde(default)]
    records: Vec<Record>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Record {
    number: i64,
    changed_at: String,
    changed_by: String,
    action: String,
    subject: String,
    details: serde_json::Value,
}

#[derive(Debug, Deserialize)]
struct Verified {
    intact: bool,
    records: u64,
    anchors: u64,
    #[serde(default)]
    faults: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    number: i64,
    what: String,
}

/// Asks and prints.
pub(crate) fn run(arguments: &AuditArguments) -> Result<ExitCode, Failure> {
    let (Command::List(ListArguments { ask, .. }) | Command::Verify(ask)) = &arguments.command;
    let client = ask.client(Patience::SHORT)?;
    let (text, code) = block_on(answer(&client, &arguments.command))?;
    output::print(&text);
    Ok(ExitCode::from(code))
}

/// What is printed, and the exit code.
async fn answer(client: &Client, command: &Command) -> Result<(String, u8), Failure> {
    match command {
        Command::List(list) => {
            let body = client.get(&path_of(list)).await?;
            Ok((list.ask.told(&body, show::records)?, 0))
        }
        Command::Verify(ask) => {
            let body = client.post(&format!("{RECORDS}/verify"), b"{}".to_vec()).await?;
            let code = u8::from(!read::<Verified>(&body)?.intact);
            Ok((ask.told(&body, show::verified)?, code))
        }
    }
}

fn path_of(list: &ListArguments) -> String {
    let mut path = format!("{RECORDS}?page_size={}", list.limit);
    let ListArguments { from, to, action, subject, page_token, .. } = list;
    let parameters =
        [("from", from), ("to", to), ("action", action), ("subject", subject), ("page_token", page_token)];
    for (name, value) in parameters {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::test_server::{Log, json as answering, with_server};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        audit: AuditArguments,
    }

    async fn said(line: &[&str], body: Value) -> ((String, u8), Log) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (super::answer(&client, &line.audit.command).await.unwrap(), log);
        with_server(Patience::SHORT, |_, _| answering(200, &body), work).await
    }

    #[tokio::test]
    async fn a_list_is_asked_for_as_it_was_typed() {
        let body = json!({"records": [], "next_page_token": null});
        let line =
            ["list", "--action", "key.revoke", "--subject", "a&b", "--from", "2026-11-01T00:00:00+01:00"];
        let ((text, code), log) =
            said(&[&line[..], &["--limit", "7", "--json"]].concat(), body.clone()).await;
        assert_eq!((text, code), (format!("{body}\n"), 0));
        let log = log.lock().unwrap();
        assert_eq!(log[0].path, RECORDS);
        let asked = "page_size=7&from=2026-11-01T00:00:00%2B01:00&action=key.revoke&subject=a%26b";
        assert_eq!(log[0].query, asked);
    }

    #[tokio::test]
    async fn a_chain_that_is_not_intact_is_an_exit_code_whoever_reads() {
        let whole = json!({"intact": true, "records": 5, "anchors": 2, "faults": []});
        let broken = json!({"intact": false, "records": 5, "anchors": 2,
            "faults": [{"number": 3, "what": "the record does not follow the one before it"}]});
        for (line, body, code) in [
            (&["verify"][..], &whole, 0),
            (&["verify", "--json"], &whole, 0),
            (&["verify"], &broken, 1),
            (&["verify", "--json"], &broken, 1),
        ] {
            let ((text, got), log) = said(line, body.clone()).await;
            assert_eq!(got, code, "{text}");
            let log = log.lock().unwrap();
            assert_eq!((log[0].path.as_str(), &log[0].body), ("/api/v1/admin/audit/verify", &json!({})));
        }
    }
}
