//! `embermesh tenants`: who shares this installation. For admin keys of the operator's tenant.

mod show;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use embermesh_types::TenantId;
use serde::{Deserialize, Serialize};
use show::{CreatedTenant, Tenant};

use super::{
    ask::{Ask, read, sent, untouched},
    block_on,
    keys::secrets::SecretsFile,
    output,
    query::escaped,
    quotas::{QuotaState, quotas},
};
use crate::client::{Client, Failure, Patience};

const TENANTS: &str = "/api/v1/admin/tenants";

#[derive(Debug, Args)]
pub(crate) struct TenantsArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a tenant and its first admin key
    Create(CreateArguments),
    /// All tenants, closed ones too
    List(Ask),
    /// One tenant, and where its quotas stand
    Get(OneArguments),
    /// Rename a tenant, suspend it, say which models it may use and how much it may ask for
    Update(UpdateArguments),
    /// Close a tenant for good: its keys are revoked, its rows and books stay
    Close(OneArguments),
}

#[derive(Debug, Args)]
struct CreateArguments {
    /// No other tenant's
    name: String,
    #[command(flatten)]
    models: ModelArguments,
    #[command(flatten)]
    quotas: QuotaArguments,
    /// Delete its rows after so many days; default: keep them
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    retention_days: Option<u32>,
    /// Write what the server answers, with the secret, into a new file that only you can read, and show no secret
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    out: Option<PathBuf>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
struct ModelArguments {
    /// Catalog ids of the models that it may use, several with commas; default: all
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    allow: Vec<String>,
    /// Catalog ids for agents that prefer none, best first, several with commas; default: the installation's
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    default_model: Vec<String>,
}

#[derive(Debug, Args)]
struct QuotaArguments {
    /// How much it may ask for, such as requests_per_day=1000; requests or tokens, per day or month, several with commas
    #[arg(long, value_name = "QUOTA=COUNT", value_delimiter = ',', value_parser = limit)]
    quota: Vec<(String, u64)>,
}

impl QuotaArguments {
    fn given(&self) -> BTreeMap<&str, u64> {
        self.quota.iter().map(|(name, count)| (name.as_str(), *count)).collect()
    }
}

/// The names of quotas.
const QUOTAS: [&str; 4] = ["requests_per_day", "requests_per_month", "tokens_per_day", "tokens_per_month"];

fn limit(text: &str) -> Result<(String, u64), String> {
    let (name, count) = text.split_once('=').ok_or("write it as requests_per_day=1000")?;
    if !QUOTAS.contains(&name) {
        return Err(format!("choose from {}", QUOTAS.join(", ")));
    }
    let count = count.parse().map_err(|_| "the count is a whole number".to_owned())?;
    Ok((name.to_owned(), count))
}

#[derive(Debug, Args)]
struct OneArguments {
    /// Id of the tenant
    id: TenantId,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true,
    args = ["name", "suspend", "resume", "allow", "default_model", "allow_all", "no_default_models", "quota", "no_quota",
        "no_quotas", "retention_days", "keep_rows"])]
struct UpdateArguments {
    /// Id of the tenant
    id: TenantId,
    /// Another name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Refuse its keys
    #[arg(long, conflicts_with = "resume")]
    suspend: bool,
    /// Accept its keys again
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    models: ModelArguments,
    /// Let it use every model
    #[arg(long, conflicts_with = "allow")]
    allow_all: bool,
    /// Back to the installation's default models
    #[arg(long, conflicts_with = "default_model")]
    no_default_models: bool,
    #[command(flatten)]
    quotas: QuotaArguments,
    /// Take a quota back, such as tokens_per_month; several with commas
    #[arg(long, value_name = "QUOTA", value_delimiter = ',', value_parser = PossibleValuesParser::new(QUOTAS))]
    no_quota: Vec<String>,
    /// Let it ask for as much as it likes
    #[arg(long, conflicts_with_all = ["quota", "no_quota"])]
    no_quotas: bool,
    /// Delete its rows after so many days, beginning with those that are older now
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    retention_days: Option<u32>,
    /// Keep its rows for ever
    #[arg(long, conflicts_with = "retention_days")]
    keep_rows: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_models: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    default_models: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    quotas: BTreeMap<&'a str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_days: Option<u32>,
}

#[derive(Serialize)]
struct Update<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended: Option<bool>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    allowed_models: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    default_models: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    quotas: BTreeMap<&'a str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retention_days: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clear: Vec<String>,
}

#[derive(Deserialize)]
struct QuotaStates {
    quotas: Vec<QuotaState>,
}

#[derive(Deserialize)]
struct Page<T> {
    tenants: Vec<T>,
    next_page_token: Option<String>,
}

/// What is printed, also when the work broke off: the secret in it is nowhere else.
#[derive(Debug)]
struct Said {
    text: String,
    failure: Option<Failure>,
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        Self { text, failure: None }
    }
}

impl Command {
    const fn ask(&self) -> &Ask {
        match self {
            Self::Create(CreateArguments { ask, .. })
            | Self::List(ask)
            | Self::Get(OneArguments { ask, .. })
            | Self::Update(UpdateArguments { ask, .. })
            | Self::Close(OneArguments { ask, .. }) => ask,
        }
    }
}

/// Asks and prints.
pub(crate) fn run(arguments: &TenantsArguments) -> Result<ExitCode, Failure> {
    let command = &arguments.command;
    let patience = if matches!(command, Command::Create(_)) { Patience::ONCE } else { Patience::SHORT };
    let client = command.ask().client(patience)?;
    let Said { text, failure } = block_on(answer(&client, command))?;
    output::print(&text);
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

async fn answer(client: &Client, command: &Command) -> Result<Said, Failure> {
    let one = |ask: &Ask, body: &[u8]| ask.told(body, show::tenant).map(Said::from);
    match command {
        Command::Create(create) => make(client, create).await,
        Command::List(ask) => list(client, ask).await.map(Said::from),
        Command::Get(OneArguments { id, ask }) => {
            let said = one(ask, &client.get(&format!("{TENANTS}/{id}")).await?)?;
            if ask.json { Ok(said) } else { Ok(with_quotas(client, id, said).await) }
        }
        Command::Update(arguments) => {
            let body = client.put(&format!("{TENANTS}/{}", arguments.id), sent(&update(arguments))?).await?;
            one(&arguments.ask, &body)
        }
        Command::Close(OneArguments { id, ask }) => {
            one(ask, &client.delete(&format!("{TENANTS}/{id}")).await?)
        }
    }
}

/// With the use of the quotas beneath; where that cannot be had, with what was said so far.
async fn with_quotas(client: &Client, id: &TenantId, said: Said) -> Said {
    let states = client.get(&format!("{TENANTS}/{id}/quotas")).await;
    match states.and_then(|body| read::<QuotaStates>(&body)) {
        Ok(QuotaStates { quotas: states }) if states.is_empty() => said,
        Ok(QuotaStates { quotas: states }) => format!("{}\n{}", said.text, quotas(&states)).into(),
        Err(failure) => Said { failure: Some(failure), ..said },
    }
}

async fn make(client: &Client, arguments: &CreateArguments) -> Result<Said, Failure> {
    let CreateArguments { name, models, quotas, retention_days, out, ask } = arguments;
    let mut file = out.as_deref().map(SecretsFile::create).transpose()?;
    let create = Create {
        name,
        allowed_models: &models.allow,
        default_models: &models.default_model,
        quotas: quotas.given(),
        retention_days: *retention_days,
    };
    let body = match client.post(TENANTS, sent(&create)?).await {
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
    let made: CreatedTenant = read(&body)?;
    Ok(match file.as_mut().map(|file| file.keep(&body)) {
        None => show::created(&made).into(),
        Some(Ok(())) => show::kept(&made).into(),
        Some(Err(failure)) => Said { text: show::created(&made), failure: Some(failure) },
    })
}

fn update(arguments: &UpdateArguments) -> Update<'_> {
    let UpdateArguments { name, suspend, resume, models, allow_all, no_default_models, .. } = arguments;
    let UpdateArguments { quotas, no_quota, no_quotas, retention_days, keep_rows, .. } = arguments;
    let lists = [
        (*allow_all, "allowed_models"),
        (*no_default_models, "default_models"),
        (*no_quotas, "quotas"),
        (*keep_rows, "retention_days"),
    ];
    let lists = lists.into_iter().filter(|(asked, _)| *asked).map(|(_, list)| list.to_owned());
    Update {
        name: name.as_deref(),
        suspended: (*suspend || *resume).then_some(*suspend),
        allowed_models: &models.allow,
        default_models: &models.default_model,
        quotas: quotas.given(),
        retention_days: *retention_days,
        clear: lists.chain(no_quota.iter().map(|name| format!("quotas.{name}"))).collect(),
    }
}

/// Every tenant, over all pages.
async fn list(client: &Client, ask: &Ask) -> Result<String, Failure> {
    let (mut tenants, mut written, mut token) = (Vec::new(), Vec::new(), String::new());
    loop {
        let body = client.get(&format!("{TENANTS}?page_size=1000{token}")).await?;
        let page: Page<Tenant> = read(&body)?;
        tenants.extend(page.tenants);
        written.extend(read::<Page<serde_json::Value>>(&body)?.tenants);
        match page.next_page_token.filter(|token| !token.is_empty()) {
            Some(next) => token = format!("&page_token={}", escaped(&next)),
            None if ask.json => return untouched(&sent(&serde_json::json!({"tenants": written}))?),
            None => return Ok(show::tenants(&tenants)),
        }
    }
}

#[cfg(test)]
mod tests;
