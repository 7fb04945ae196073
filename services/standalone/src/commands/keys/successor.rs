//! `embermesh keys successor`: whoever holds a key takes the next one.

use clap::Args;

use super::{OutArguments, Said, answers::RotatedKey, secrets::SecretsFile, show};
use crate::{
    cli::ServerArguments,
    client::{Client, Failure},
    commands::ask::{read, untouched},
};

const SUCCESSOR: &str = "/api/v1/keys/self/successor";

#[derive(Debug, Args)]
pub(super) struct SuccessorArguments {
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    out: OutArguments,
    #[command(flatten)]
    pub(super) server: ServerArguments,
}

/// Takes the successor of the client's key.
pub(super) async fn run(client: &Client, arguments: &SuccessorArguments) -> Result<Said, Failure> {
    let mut file = arguments.out.out.as_deref().map(SecretsFile::create).transpose()?;
    let body = match client.post(SUCCESSOR, b"{}".to_vec()).await {
        Ok(body) => body,
        Err(failure) => {
            if let Some(file) = file {
                file.discard();
            }
            return Err(failure);
        }
    };
    if arguments.json {
        return untouched(&body).map(Said::from);
    }
    let mut taken: RotatedKey = read(&body)?;
    let failure = match file.as_mut().map(|file| file.keep(&body)) {
        None => None,
        Some(Ok(())) => {
            taken.key.clear();
            None
        }
        // shown after all: it is nowhere else
        Some(Err(failure)) => Some(failure),
    };
    Ok(Said { text: show::rotated(&[taken]), failure })
}
