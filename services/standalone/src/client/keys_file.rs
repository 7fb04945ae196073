//! What `embermesh up` leaves in its data folder for the other commands.

use std::{fs, io::ErrorKind};

use embermesh_standalone::data_dir;
use secrecy::SecretString;
use serde::Deserialize;

use super::Failure;
use crate::cli::DataArguments;

/// The first keys of a server of one's own.
#[derive(Debug, Deserialize)]
pub(crate) struct KeysFile {
    pub url: String,
    pub admin_key: SecretString,
    pub agent_key: SecretString,
}

impl KeysFile {
    /// Reads the file of a data folder; `None` when there is none.
    pub fn read(data: &DataArguments) -> Result<Option<Self>, Failure> {
        let dir =
            data.data_dir.clone().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(data_dir::default);
        let path = dir.join("keys.json");
        let unusable =
            |why: &dyn std::fmt::Display| Failure::Usage(format!("cannot read {}: {why}", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| unusable(&error))
    }
}
