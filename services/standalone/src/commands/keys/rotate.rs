//! `embermesh keys rotate`: one key after the other; the first failure ends it, and what was made until then is told.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use clap::Args;
use embermesh_types::KeyId;

use super::{
    KEYS, OutArguments, Said,
    answers::{Key, RotatedKey, State, time},
    secrets::SecretsFile,
    show,
};
use crate::{
    client::{Client, Failure},
    commands::ask::{Ask, read, sent, untouched},
};

#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// Ids of the keys
    #[arg(required_unless_present = "older_than", conflicts_with = "older_than")]
    ids: Vec<KeyId>,
    /// Every live key that was made so long ago, such as 30d, but for the one that this command uses
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// How long the keys themselves go on working, from 0s to 7d; default: 24h
    #[arg(long, value_name = "TIME")]
    overlap: Option<String>,
    /// Say which keys would be rotated, and rotate none
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    out: OutArguments,
    #[command(flatten)]
    pub(super) ask: Ask,
}

/// Rotates what is asked for, at `now`, with the key whose id is `own`.
pub(super) async fn run(
    client: &Client,
    arguments: &RotateArguments,
    own: &str,
    now: SystemTime,
) -> Result<Said, Failure> {
    let ids: Vec<String> = match arguments.older_than {
        None => {
            // one that is named twice is meant once, and the key that this command uses must not end before the others
            let mut seen = BTreeSet::new();
            let mut ids: Vec<String> = arguments.ids.iter().map(ToString::to_string).collect();
            ids.retain(|id| seen.insert(id.clone()));
            ids.sort_by_key(|id| id == own);
            ids
        }
        Some(age) => {
            let (keys, _) = super::all(client).await?;
            let due = keys.iter().filter(|key| is_due(key, age, now) && key.id != own);
            due.map(|key| key.id.clone()).collect()
        }
    };
    if ids.is_empty() {
        return Ok("no key is due\n".to_owned().into());
    }
    if arguments.dry_run {
        return Ok(ids.iter().map(|id| format!("would rotate: {id}\n")).collect::<String>().into());
    }
    each(client, arguments, &ids).await
}

fn is_due(key: &Key, age: Duration, now: SystemTime) -> bool {
    let old =
        time(&key.created_at).and_then(|made| now.duration_since(made).ok()).is_some_and(|is| is >= age);
    old && matches!(key.state(now), State::Live | State::Due)
}

async fn each(client: &Client, arguments: &RotateArguments, ids: &[String]) -> Result<Said, Failure> {
    let mut file = arguments.out.out.as_deref().map(SecretsFile::create).transpose()?;
    let (mut rotated, mut said) = (Vec::new(), Said::default());
    let body = match &arguments.overlap {
        Some(overlap) => sent(&serde_json::json!({"overlap": overlap}))?,
        None => b"{}".to_vec(),
    };
    for id in ids {
        let answer = match client.post(&format!("{KEYS}/{id}/rotate"), body.clone()).await {
            Ok(answer) => answer,
            Err(failure) => {
                if let Failure::Unreachable { .. } = failure {
                    said.text.push_str(&show::unknown(id));
                }
                said.failure = Some(failure);
                break;
            }
        };
        if arguments.ask.json {
            said.text.push_str(&untouched(&answer)?);
            continue;
        }
        let mut made: RotatedKey = read(&answer)?;
        match file.as_mut().map(|file| file.keep(&answer)) {
            None => {}
            Some(Ok(())) => made.key.clear(),
            // shown after all: it is nowhere else
            Some(Err(failure)) => said.failure = Some(failure),
        }
        rotated.push(made);
        if said.failure.is_some() {
            break;
        }
    }
    if let Some(file) = file.filter(|_| rotated.is_empty()) {
        file.discard();
    }
    said.text.insert_str(0, &show::rotated(&rotated));
    Ok(said)
}
