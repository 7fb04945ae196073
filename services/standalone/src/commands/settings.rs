//! `embermesh settings`: what is turned at run time, over what the configuration file says.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    ask::{Ask, sent},
    block_on, output,
    table::table,
};
use crate::client::{Client, Failure, Patience};
const SETTINGS: &str = "/api/v1/admin/settings";
/// Names of components hold points themselves.
const COMPONENTS: &str = "logging.components.";

#[derive(Debug, Args)]
pub(crate) struct SettingsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every setting in force, and whether it comes from the configuration file or was turned here
    Show(ShowArguments),
    /// Turn settings; in force on every process within a second, without a restart
    Set(SetArguments),
    /// Go back to what the configuration file says
    Clear(ClearArguments),
}

#[derive(Debug, Args)]
struct ShowArguments {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct SetArguments {
    /// Such as logging.level=debug, logging.components.embedding.router=debug, cache.emergency=true or
    /// circuit_breaker.failure_threshold=10
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = assignment)]
    settings: Vec<(String, Value)>,
    /// Change nothing when the current version is another
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct ClearArguments {
    /// Names as `show` prints them, or a group such as logging, cache or circuit_breaker
    #[arg(required = true, value_name = "NAME")]
    settings: Vec<String>,
    /// Change nothing when the current version is another
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Deserialize)]
struct InForce {
    #[serde(default)]
    sources: BTreeMap<String, String>,
    version: i64,
    #[serde(flatten)]
    groups: Map<String, Value>,
}

impl InForce {
    fn value(&self, name: &str) -> Option<&Value> {
        let mut parts = path(name).into_iter();
        let group = self.groups.get(parts.next()?)?;
        parts.try_fold(group, |place, part| place.get(part))
    }
}

/// `NAME=VALUE`; a number or a truth value is one, everything else is text.
fn assignment(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let parts = path(name).len();
    if name.split('.').any(str::is_empty) || !(2..=3).contains(&parts) {
        return Err("expected a name such as cache.ttl before the =".to_owned());
    }
    let read =
        serde_json::from_str(value).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
    Ok((name.to_owned(), read.unwrap_or_else(|| value.into())))
}

/// The fields that a name leads through.
fn path(name: &str) -> Vec<&str> {
    match name.strip_prefix(COMPONENTS) {
        Some(component) => vec!["logging", "components", component],
        None => name.split('.').collect(),
    }
}

/// Asks and prints.
pub(crate) fn run(arguments: &SettingsArguments) -> Result<ExitCode, Failure> {
    let (ask, version) = match &arguments.command {
        Command::Show(ShowArguments { ask }) => (ask, &None),
        Command::Set(SetArguments { ask, if_version, .. })
        | Command::Clear(ClearArguments { ask, if_version, .. }) => (ask, if_version),
    };
    // a change that names its version would be a conflict with itself when the answer to it was lost
    let client = ask.client(if version.is_some() { Patience::ONCE } else { Patience::SHORT })?;
    output::print(&block_on(answer(&client, &arguments.command))?);
    Ok(ExitCode::SUCCESS)
}

async fn answer(client: &Client, command: &Command) -> Result<String, Failure> {
    let (ask, body) = match command {
        Command::Show(ShowArguments { ask }) => (ask, client.get(SETTINGS).await?),
        Command::Set(SetArguments { settings, if_version, ask }) => {
            (ask, change(client, nested(settings), *if_version).await?)
        }
        Command::Clear(ClearArguments { settings, if_version, ask }) => {
            (ask, change(client, json!({"clear": settings}), *if_version).await?)
        }
    };
    ask.told(&body, show)
}

async fn change(client: &Client, mut body: Value, version: Option<i64>) -> Result<bytes::Bytes, Failure> {
    if let Some(version) = version {
        body["version"] = version.into();
    }
    client.patch(SETTINGS, sent(&body)?).await
}

fn nested(settings: &[(String, Value)]) -> Value {
    let mut body = json!({});
    for (name, value) in settings {
        let mut place = &mut body;
        for part in path(name) {
            place = &mut place[part];
        }
        place.clone_from(value);
    }
    body
}

fn show(in_force: &InForce) -> String {
    let rows: Vec<Vec<String>> = in_force
        .sources
        .iter()
        .map(|(name, source)| {
            let text = match in_force.value(name) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            };
            vec![name.clone(), text, source.clone()]
        })
        .collect();
    format!("{}version {}\n", table(3, &["setting", "value", "from"], &rows), in_force.version)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::client::test_server::{json as answering, with_server};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        settings: SettingsArguments,
    }

    fn in_force() -> Value {
        json!({
            "logging": {"level": "info", "components": {"embedding.router": "debug"}},
            "cache": {"ttl": "15m", "emergency": false},
            "circuit_breaker": {"failure_threshold": 9},
            "sources": {
                "logging.level": "file", "logging.components.embedding.router": "api", "cache.ttl": "file",
                "cache.emergency": "file", "circuit_breaker.failure_threshold": "api",
            },
            "version": 3, "changed_by": "k", "changed_at": "2026-11-22T12:00:00Z",
        })
    }

    async fn said(line: &[&str]) -> (String, String, Value) {
        let line = Line::parse_from([&["x"], line].concat());
        let work = async |client, log| (super::answer(&client, &line.settings.command).await.unwrap(), log);
        let (text, log) = with_server(Patience::SHORT, |_, _| answering(200, &in_force()), work).await;
        let log = log.lock().unwrap();
        (text, log[0].path.clone(), log[0].body.clone())
    }

    #[tokio::test]
    async fn every_setting_is_shown_with_where_it_comes_from() {
        let (text, path, _) = said(&["show"]).await;
        assert_eq!(path, SETTINGS);
        let line = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
            line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line("logging.components.embedding.router"), "debug api");
        assert_eq!(line("circuit_breaker.failure_threshold"), "9 api");
        assert_eq!(
            (line("cache.emergency"), line("cache.ttl")),
            ("false file".to_owned(), "15m file".to_owned())
        );
        assert!(text.ends_with("version 3\n"), "{text}");
    }

    #[tokio::test]
    async fn what_is_turned_is_sent_as_the_api_has_it() {
        let line = [
            "set",
            "logging.components.embedding.router=debug",
            "cache.emergency=true",
            "cache.ttl=1h",
            "circuit_breaker.failure_threshold=9",
            "--if-version",
            "2",
        ];
        let (_, path, body) = said(&line).await;
        assert_eq!(path, SETTINGS);
        let expected = json!({
            "logging": {"components": {"embedding.router": "debug"}}, "cache": {"emergency": true, "ttl": "1h"},
            "circuit_breaker": {"failure_threshold": 9}, "version": 2,
        });
        assert_eq!(body, expected);
        let (_, _, body) = said(&["clear", "cache", "logging.level"]).await;
        assert_eq!(body, json!({"clear": ["cache", "logging.level"]}));
    }

    #[test]
    fn what_is_no_setting_is_not_sent() {
        for line in
            [&["set"][..], &["set", "cache.ttl"], &["set", "cache=1"], &["set", ".a=1"], &["clear"], &[]]
        {
            assert!(Line::try_parse_from([&["x"], line].concat()).is_err(), "{line:?}");
        }
    }
}
