//! `embermesh costs`: what was spent, where budgets stand, and whether the books balance.

mod answers;
mod show;

use std::process::ExitCode;

use answers::{BooksVerified, BudgetStates, CostReport, CostsByAgent};
use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{
    ask::{Ask, as_it_came, read},
    block_on, output,
    query::escaped,
};
use crate::client::{Client, Failure, Patience};

#[derive(Debug, Args)]
pub(crate) struct CostsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What was spent in a time, by agent, model, provider, day, hour or key
    Report(ReportArguments),
    /// What each agent spent in the last 24 hours, dearest first, and what is left of its day
    ByAgent(Ask),
    /// Where every budget of a day or a month stands, fullest first
    Budgets(Ask),
    /// Recompute all balances and costs from the journal, and show what does not agree
    Verify(Ask),
}

#[derive(Debug, Args)]
struct ReportArguments {
    /// Beginning, such as 2026-11-01T00:00:00Z; default: 24 hours before the end
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End, which is not part of it; default: now
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// What the rows are
    #[arg(long, value_name = "BY", default_value = "agent",
        value_parser = PossibleValuesParser::new(["agent", "model", "provider", "day", "hour", "key"]))]
    group_by: String,
    /// Print CSV, exact to the nano-dollar
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    ask: Ask,
}

/// Asks and prints.
pub(crate) fn run(arguments: &CostsArguments) -> Result<ExitCode, Failure> {
    let command = &arguments.command;
    let (Command::Report(ReportArguments { ask, .. })
    | Command::ByAgent(ask)
    | Command::Budgets(ask)
    | Command::Verify(ask)) = command;
    let client = ask.client(Patience::SHORT)?;
    let Said { text, code } = block_on(answer(&client, command))?;
    output::print(&text);
    Ok(ExitCode::from(code))
}

/// What is printed, and the exit code.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    text: String,
    code: u8,
}

async fn answer(client: &Client, command: &Command) -> Result<Said, Failure> {
    let text = match command {
        Command::Report(report) => {
            let body = client.get(&path_of(report)).await?;
            if report.csv {
                as_it_came(&body)?
            } else {
                report.ask.told::<CostReport>(&body, show::report)?
            }
        }
        Command::ByAgent(ask) => {
            let body = client.get("/api/v1/metrics/costs/by-agent").await?;
            ask.told::<CostsByAgent>(&body, show::by_agent)?
        }
        Command::Budgets(ask) => {
            let body = client.get("/api/v1/reports/budgets").await?;
            ask.told::<BudgetStates>(&body, show::budgets)?
        }
        Command::Verify(ask) => {
            let body = client.post("/api/v1/reports/costs/verify", b"{}".to_vec()).await?;
            let code = u8::from(!read::<BooksVerified>(&body)?.differences.is_empty());
            return Ok(Said { text: ask.told::<BooksVerified>(&body, show::verified)?, code });
        }
    };
    Ok(Said { text, code: 0 })
}

fn path_of(report: &ReportArguments) -> String {
    let mut path = format!("/api/v1/reports/costs?group_by={}", report.group_by);
    for (name, value) in [("from", &report.from), ("to", &report.to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    if report.csv {
        path.push_str("&format=csv");
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
        costs: CostsArguments,
    }

    async fn said(line: &[&str], body: Value) -> (Said, Log) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (super::answer(&client, &line.costs.command).await.unwrap(), log);
        with_server(Patience::SHORT, |_, _| answering(200, &body), work).await
    }

    #[tokio::test]
    async fn a_report_is_asked_for_as_it_was_typed_and_passed_on_untouched() {
        let body = json!({"rows": [], "total_cost_usd": 0.000000001});
        let line = ["report", "--from", "2026-11-01T00:00:00+01:00", "--group-by", "model", "--json"];
        let (said, log) = said(&line, body.clone()).await;
        assert_eq!(said, Said { text: format!("{body}\n"), code: 0 });
        let log = log.lock().unwrap();
        assert_eq!(log[0].path, "/api/v1/reports/costs");
        assert_eq!(log[0].query, "group_by=model&from=2026-11-01T00:00:00%2B01:00");
    }

    #[tokio::test]
    async fn csv_is_the_servers() {
        let (said, log) = said(&["report", "--csv"], json!("agent,cost_usd")).await;
        assert_eq!(said.text, "\"agent,cost_usd\"");
        assert_eq!(log.lock().unwrap()[0].query, "group_by=agent&format=csv");
    }

    #[tokio::test]
    async fn books_that_do_not_balance_are_an_exit_code_whoever_reads() {
        let counts = json!({"attempts": 5, "charges": 6, "balances": 8, "leases": 1, "differences": []});
        let mut wrong = counts.clone();
        wrong["differences"] = json!([{"what": "balance.spent", "subject": "tenant day 2026-11-22", "recorded": "5", "recomputed": "7"}]);
        for (line, body, code) in [
            (&["verify"][..], &counts, 0),
            (&["verify", "--json"], &counts, 0),
            (&["verify"], &wrong, 1),
            (&["verify", "--json"], &wrong, 1),
        ] {
            let (said, log) = said(line, body.clone()).await;
            assert_eq!(said.code, code, "{said:?}");
            let log = log.lock().unwrap();
            assert_eq!((log[0].path.as_str(), &log[0].body), ("/api/v1/reports/costs/verify", &json!({})));
        }
    }
}
