//! What every command of an operator asks alike: which server, and whether a person or a program reads the answer.

use std::fmt::Display;

use clap::Args;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    cli::OperatorArguments,
    client::{Client, Connection, Failure, Patience},
};

#[derive(Debug, Args)]
pub(crate) struct Ask {
    /// Print the server's answer as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: OperatorArguments,
}

impl Ask {
    /// A client with the operator's key.
    pub fn client(&self, patience: Patience) -> Result<Client, Failure> {
        Client::new(&Connection::find_for_operator(&self.server)?, patience)
    }

    /// The text for people, or the server's own answer.
    pub fn told<T: DeserializeOwned>(&self, body: &[u8], show: fn(&T) -> String) -> Result<String, Failure> {
        if self.json { untouched(body) } else { Ok(show(&read(body)?)) }
    }
}

/// An answer of a known form.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| garbled(&error))
}

/// JSON as it came, so that no number passes through a float, on lines of its own.
pub(super) fn untouched(body: &[u8]) -> Result<String, Failure> {
    Ok(format!("{}\n", as_it_came(body)?.trim_end()))
}

/// Exactly what came.
pub(super) fn as_it_came(body: &[u8]) -> Result<String, Failure> {
    std::str::from_utf8(body).map(str::to_owned).map_err(|error| garbled(&error))
}

/// The body of a request.
pub(super) fn sent(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::Usage(error.to_string()))
}

fn garbled(error: &dyn Display) -> Failure {
    Failure::Garbled(error.to_string())
}
