//! The configured database, or a private one.

use std::path::PathBuf;

use embermesh_config::{Config, Secret};
use embermesh_private_postgres::{Options, PrivatePostgres, StopError};
use embermesh_process::BoxError;
use secrecy::ExposeSecret;

use crate::{backups::place::archiving, tools};

/// What has to be stopped at the end.
pub(super) struct Database(Option<PrivatePostgres>);

impl Database {
    /// Starts a private PostgreSQL in the data folder when no database is configured, and configures it.
    pub async fn prepare(config: &mut Config, install_dir: Option<PathBuf>) -> Result<Self, BoxError> {
        if config.database.connection_url().is_some() {
            return Ok(Self(None));
        }
        let dir = config.data_dir.clone().unwrap_or_else(crate::data_dir::default);
        let options = Options {
            install_dir,
            candidates: tools::candidates("postgres"),
            settings: archiving(config)?,
            ..Options::new(dir.join("postgres"))
        };
        let server = PrivatePostgres::start(options).await?;
        tracing::info!(adopted = server.is_adopted(), logs = %server.log_dir().display(), "private PostgreSQL runs");
        config.database.url = Some(Secret::new(server.connection_url().expose_secret()));
        Ok(Self(Some(server)))
    }

    /// Stops the private one.
    pub async fn stop(self) -> Result<(), StopError> {
        match self.0 {
            Some(server) => server.stop().await,
            None => Ok(()),
        }
    }
}
