//! `embermesh keys`: who may call, and the change of a key without an interruption. A secret is shown once.

mod answers;
mod rotate;
pub(super) mod secrets;
mod show;
mod successor;

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use answers::{CreatedKey, Key, Page};
use clap::{Args, Subcommand};
use embermesh_types::{AgentId, Clock, KeyId};
use rotate::RotateArguments;
use secrecy::ExposeSecret;
use secrets::SecretsFile;
use serde::Serialize;
use successor::SuccessorArguments;

use super::{
    ask::{Ask, read, sent, untouched},
    block_on, output,
    query::escaped,
};
use crate::client::{Client, Connection, Failure, Patience};

const KEYS: &str = "/api/v1/admin/keys";

#[derive(Debug, Args)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key
    Create(CreateArguments),
    /// All keys, those that do not work any more too
    List(Ask),
    /// One key
    Get(OneArguments),
    /// Change the name or the end of a key
    Update(UpdateArguments),
    /// Make successors of keys, which go on working for an overlap
    Rotate(RotateArguments),
    /// Take the successor of the key that this command uses (EMBERMESH_API_KEY), when its rotation is due
    Successor(SuccessorArguments),
    /// Withdraw keys at once and for good
    Revoke(RevokeArguments),
}

#[derive(Debug, Args)]
struct CreateArguments {
    /// What the key is for
    name: String,
    /// embed, search, read, costs or admin, several with commas; default: embed,search,read
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    scope: Vec<String>,
    /// Bind the key to one agent
    #[arg(long, value_name = "AGENT")]
    agent: Option<AgentId>,
    /// When it ends, such as 2030-01-01T00:00:00Z; default: never
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    out: OutArguments,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct OutArguments {
    /// Write what the server answers, with the secret, into a new file that only you can read, and show no secret
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct OneArguments {
    /// Id of the key
    id: KeyId,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["name", "expires_at"])]
struct UpdateArguments {
    /// Id of the key
    id: KeyId,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another end; of a key that was rotated, within the overlap
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct RevokeArguments {
    /// Ids of the keys
    #[arg(required = true)]
    ids: Vec<KeyId>,
    #[command(flatten)]
    ask: Ask,
}

impl Command {
    fn connection(&self) -> Result<Connection, Failure> {
        match self {
            Self::Create(CreateArguments { ask, .. })
            | Self::List(ask)
            | Self::Get(OneArguments { ask, .. })
            | Self::Update(UpdateArguments { ask, .. })
            | Self::Rotate(RotateArguments { ask, .. })
            | Self::Revoke(RevokeArguments { ask, .. }) => Connection::find_for_operator(&ask.server),
            // it is the holder of a key who asks
            Self::Successor(SuccessorArguments { server, .. }) => Connection::find(server),
        }
    }
}

/// What is printed, also when the work broke off: the secrets in it are nowhere else.
#[derive(Debug, Default)]
struct Said {
    text: String,
    failure: Option<Failure>,
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self { text, failure: None }
    }
}

/// Asks and prints.
pub(crate) fn run(arguments: &KeysArguments) -> Result<ExitCode, Failure> {
    let command = &arguments.command;
    let patience = match command {
        Command::Create(_) | Command::Rotate(_) | Command::Successor(_) => Patience::ONCE,
        _ => Patience::SHORT,
    };
    let connection = command.connection()?;
    let client = Client::new(&connection, patience)?;
    // the public part of the key
    let own = connection.key.expose_secret().split('_').nth(2).unwrap_or_default();
    let now = Clock::system().now();
    let Said { text, failure } = block_on(answer(&client, command, own, now))?;
    output::print(&text);
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Done at `now` with the key whose id is `own`.
async fn answer(client: &Client, command: &Command, own: &str, now: SystemTime) -> Result<Said, Failure> {
    match command {
        Command::Create(create) => make(client, create).await,
        Command::List(ask) => {
            let (keys, as_json) = all(client).await?;
            if ask.json {
                return untouched(&sent(&serde_json::json!({"keys": as_json}))?).map(Said::from);
            }
            Ok(show::keys(&keys, now).into())
        }
        Command::Get(OneArguments { id, ask }) => one(ask, &client.get(&format!("{KEYS}/{id}")).await?, now),
        Command::Update(UpdateArguments { id, name, expires_at, ask }) => {
            let update = Update { name: name.as_deref(), expires_at: expires_at.as_deref() };
            one(ask, &client.put(&format!("{KEYS}/{id}"), sent(&update)?).await?, now)
        }
        Command::Rotate(arguments) => rotate::run(client, arguments, own, now).await,
        Command::Successor(arguments) => successor::run(client, arguments).await,
        Command::Revoke(RevokeArguments { ids, ask }) => {
            let mut said = Said::default();
            for id in ids {
                match client.post(&format!("{KEYS}/{id}/revoke"), b"{}".to_vec()).await {
                    Ok(body) if ask.json => said.text.push_str(&untouched(&body)?),
                    Ok(_) => said.text.push_str(&format!("revoked: {id}\n")),
                    Err(failure) => {
                        said.failure = Some(failure);
                        break;
                    }
                }
            }
            Ok(said)
        }
    }
}

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    // an empty list is refused, an absent one has the default
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
}

#[derive(Serialize)]
struct Update<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<&'a str>,
}

async fn make(client: &Client, arguments: &CreateArguments) -> Result<Said, Failure> {
    let CreateArguments { name, scope, agent, expires_at, out, ask } = arguments;
    let mut file = out.out.as_deref().map(SecretsFile::create).transpose()?;
    let create = Create { name, scopes: scope, agent_id: agent.as_ref(), expires_at: expires_at.as_deref() };
    let body = match client.post(KEYS, sent(&create)?).await {
        Ok(body) => body,
        Err(failure) => {
            if let Some(file) = file {
                file.discard();
            }
            return Err(failure);
        }
    };
    if ask.json {
        return untouched(&body).map(Said::from);
    }
    let made: CreatedKey = read(&body)?;
    Ok(match file.as_mut().map(|file| file.keep(&body)) {
        None => show::created(&made).into(),
        Some(Ok(())) => show::kept(&made).into(),
        Some(Err(failure)) => Said { text: show::created(&made), failure: Some(failure) },
    })
}

/// Every key, and the same as the server wrote it.
async fn all(client: &Client) -> Result<(Vec<Key>, Vec<serde_json::Value>), Failure> {
    let (mut keys, mut written, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let body = client.get(&format!("{KEYS}?page_size=1000{token}")).await?;
        let page: Page<Key> = read(&body)?;
        keys.extend(page.keys);
        written.extend(read::<Page<serde_json::Value>>(&body)?.keys);
        match page.next_page_token.filter(|token| !token.is_empty()) {
            Some(next) => token = format!("&page_token={}", escaped(&next)),
            None => return Ok((keys, written)),
        }
    }
}

fn one(ask: &Ask, body: &[u8], now: SystemTime) -> Result<Said, Failure> {
    if ask.json {
        return untouched(body).map(Said::from);
    }
    Ok(show::key(&read(body)?, now).into())
}

#[cfg(test)]
mod tests;
