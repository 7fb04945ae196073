//! Which providers there are: those of the configuration file, which can be switched, and those that came over the API.

mod show;

use std::{collections::BTreeMap, fs, io::Read, path::PathBuf};

use clap::{Args, Subcommand};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    client::{Client, Failure, Patience},
    commands::{
        ask::{Ask, read, sent, untouched},
        query::escaped,
    },
};

const PROVIDERS: &str = "/api/v1/admin/providers";
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Every provider, of the configuration file and of the API
    List(ListArguments),
    /// One provider; its credential is never shown
    Show(OneArguments),
    /// Make a provider, or change one of the API: given options replace, absent ones stay
    Set(Box<SetArguments>),
    /// Switch a provider on, also one of the configuration file
    Enable(OneArguments),
    /// Switch a provider off; calls under way end, no other begins
    Disable(OneArguments),
    /// Remove a provider of the API with its credential; one of the configuration file is what the file says again
    Remove(OneArguments),
}

#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
pub(super) struct OneArguments {
    /// Name of a provider entry
    provider: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
pub(super) struct SetArguments {
    /// Name of a provider entry
    provider: String,
    #[command(flatten)]
    fields: Fields,
    /// A file with the API key, the AWS secret access key or the service account's key file, by the provider's kind; - for standard
    /// input. Needed again when the provider's address changes
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// AWS: a file with the session token that belongs to a temporary access key
    #[arg(long, value_name = "FILE", requires = "credential_file")]
    session_token_file: Option<PathBuf>,
    /// Change nothing when the current version is another
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    #[command(flatten)]
    ask: Ask,
}

/// What is no secret. An empty text takes an option away.
#[derive(Debug, Args, Serialize)]
struct Fields {
    /// openai, azure_openai, bedrock, vertex, gemini, voyage or cohere; default: the name
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// Where the provider is, when not at its own place
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    /// Catalog models that it serves, separated by commas; default: all of its kind
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
    /// The provider's own name of a model
    #[arg(long = "model-name", value_name = "MODEL=NAME", value_parser = pair)]
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    model_names: Vec<(String, String)>,
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    /// Azure: of the deployment URLs
    #[arg(long, value_name = "VERSION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    api_version: Option<String>,
    /// Vertex
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// AWS
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    /// AWS: the role to take on
    #[arg(long, value_name = "ARN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    assume_role_arn: Option<String>,
    /// AWS: what the role's owner demands
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<String>,
    /// AWS: where roles are taken on, when not at AWS itself
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    sts_url: Option<String>,
    /// How long a call may take, such as 30s
    #[arg(long, value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<String>,
    #[command(flatten)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_limit: Option<RateLimit>,
}

#[derive(Debug, Args, Serialize)]
#[group(multiple = true)]
struct RateLimit {
    /// Calls a minute that the provider allows
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<u32>,
    /// Tokens a minute that the provider allows
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<u64>,
}

/// The body of a request to make a provider or to change one.
#[derive(Serialize)]
struct Wanted<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(flatten)]
    fields: &'a Fields,
    /// By the name of its field.
    #[serde(flatten)]
    credential: BTreeMap<&'static str, String>,
}

/// The one thing that an entry of the file can be told.
#[derive(Serialize)]
struct Switched {
    enabled: bool,
}

/// What is needed of a provider that is there.
#[derive(Deserialize)]
struct Present {
    kind: String,
}

impl Command {
    pub(super) const fn ask(&self) -> &Ask {
        match self {
            Self::List(ListArguments { ask })
            | Self::Show(OneArguments { ask, .. })
            | Self::Enable(OneArguments { ask, .. })
            | Self::Disable(OneArguments { ask, .. })
            | Self::Remove(OneArguments { ask, .. }) => ask,
            Self::Set(arguments) => &arguments.ask,
        }
    }

    /// Sent again, a removal would be told that there is nothing, and a new provider that it is there.
    pub(super) const fn patience(&self) -> Patience {
        match self {
            Self::Remove(_) | Self::Set(_) => Patience::ONCE,
            _ => Patience::SHORT,
        }
    }
}

pub(super) async fn answer(client: &Client, command: &Command) -> Result<String, Failure> {
    let ask = command.ask();
    let path = |provider: &str| format!("{PROVIDERS}/{}", escaped(provider));
    match command {
        Command::List(_) => ask.told(&client.get(PROVIDERS).await?, show::list),
        Command::Show(one) => ask.told(&client.get(&path(&one.provider)).await?, show::one),
        Command::Set(set) => ask.told(&self::set(client, set).await?, show::one),
        Command::Enable(one) | Command::Disable(one) => {
            let body = sent(&Switched { enabled: matches!(command, Command::Enable(_)) })?;
            ask.told(&client.put(&path(&one.provider), body).await?, show::one)
        }
        Command::Remove(one) => {
            let body = client.delete(&path(&one.provider)).await?;
            if ask.json { untouched(&body) } else { Ok(show::removed(&one.provider)) }
        }
    }
}

async fn set(client: &Client, set: &SetArguments) -> Result<bytes::Bytes, Failure> {
    let path = format!("{PROVIDERS}/{}", escaped(&set.provider));
    let present: Option<Present> = match client.get(&path).await {
        Ok(body) => Some(read(&body)?),
        Err(Failure::Refused(refusal)) if refusal.status == StatusCode::NOT_FOUND => None,
        Err(failure) => return Err(failure),
    };
    if present.is_none() && set.if_version.is_some() {
        return Err(Failure::Usage("there is no such provider, so it has no version".to_owned()));
    }
    let known = present.as_ref().map(|present| present.kind.as_str());
    let kind = set.fields.kind.as_deref().filter(|kind| !kind.is_empty()).or(known).unwrap_or(&set.provider);
    let wanted = Wanted {
        name: present.is_none().then_some(set.provider.as_str()),
        version: set.if_version,
        fields: &set.fields,
        credential: credential(kind, set)?,
    };
    let body = sent(&wanted)?;
    if present.is_some() { client.put(&path, body).await } else { client.post(PROVIDERS, body).await }
}

/// Never an argument: arguments are in the process list and in the shell's history.
fn credential(kind: &str, set: &SetArguments) -> Result<BTreeMap<&'static str, String>, Failure> {
    let main = match kind {
        "bedrock" => "secret_access_key",
        "vertex" => "service_account_key",
        _ => "api_key",
    };
    let files = [(main, &set.credential_file), ("session_token", &set.session_token_file)];
    let given = files.into_iter().filter_map(|(field, path)| Some((field, path.as_ref()?)));
    given.map(|(field, path)| Ok((field, secret(path)?))).collect()
}

fn secret(path: &PathBuf) -> Result<String, Failure> {
    let mut text = String::new();
    let from = if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(drop)
    } else {
        fs::read_to_string(path).map(|read| text = read)
    };
    from.map_err(|error| {
        Failure::Usage(format!("cannot read the credential from {}: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Failure::Usage(format!("there is no credential in {}", path.display()))),
        secret => Ok(secret.to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (model, name) = text.split_once('=').ok_or("expected MODEL=NAME")?;
    Ok((model.to_owned(), name.to_owned()))
}

fn as_map<S: serde::Serializer>(pairs: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(model, name)| (model, name)))
}

#[cfg(test)]
mod tests;
