//! Puts the layers together: file, well-known variables, `EMBERMESH__…`.

use std::path::{Path, PathBuf};

use embermesh_pii::PiiConfig;
use embermesh_telemetry::LogSettings;
use figment::{
    Figment, Profile,
    providers::{Format, Serialized, Yaml},
    value::{Dict, Map, Value},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Backup, Database, Embedding, Redis, Server, Services,
    environment::well_known,
    expand::{Unset, expand},
};

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "embermesh.yaml";

/// Everything that is configured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where this process listens.
    pub server: Server,
    /// Where the others are.
    pub services: Services,
    /// Providers, breakers, routing, security.
    pub embedding: Embedding,
    /// PostgreSQL.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// Logs.
    pub logging: LogSettings,
    /// Personal data.
    pub pii_detection: PiiConfig,
    /// Backups.
    pub backup: Backup,
    /// The gateway's own settings.
    pub gateway: Dict,
    /// The vector store's own settings.
    pub store: Dict,
    /// The ledger's own settings.
    pub ledger: Dict,
    /// The admin service's own settings.
    pub admin: Dict,
    /// Folder for what a process keeps on disk.
    pub data_dir: Option<PathBuf>,
    /// `production` refuses to start on defaults that only suit a trial.
    pub environment: Option<String>,
}

/// Where configuration comes from.
pub struct Source<'a> {
    /// A file that must be there; absent: `embermesh.yaml` if it is.
    pub file: Option<&'a Path>,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// `EMBERMESH__…` variables, name and value.
    pub overrides: Vec<(String, String)>,
}

/// Why configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there.
    #[error("cannot read the configuration file {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A key or value is wrong.
    #[error("configuration: {0}")]
    Value(#[from] Box<figment::Error>),
    /// A variable is missing.
    #[error("configuration: {0}")]
    Unset(#[from] Unset),
    /// A service that needs a database has none.
    #[error("no database is configured, set DATABASE_URL or database.host")]
    NoDatabase,
    /// The environment is production and something only suits a trial.
    #[error("ENVIRONMENT=production: {0}")]
    Production(&'static str),
}

impl<'a> Source<'a> {
    /// The process's own environment.
    pub fn process(file: Option<&'a Path>) -> Self {
        Self { file, variable: &|name| std::env::var(name).ok(), overrides: overrides() }
    }
}

fn overrides() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| name.starts_with("EMBERMESH__")).collect()
}

impl Config {
    /// Reads and checks the whole configuration.
    pub fn load(source: &Source<'_>) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(path) = file(source)? {
            let mut value: Value = Figment::from(Yaml::file_exact(path)).extract().map_err(Box::new)?;
            expand(&mut value, source.variable)?;
            figment = figment.merge(Serialized::defaults(value));
        }
        figment = figment.merge(Layer(well_known(source.variable)));
        for layer in source.overrides.iter().filter_map(|(name, value)| overriding(name, value)) {
            figment = figment.merge(layer);
        }
        if let Some(environment) = (source.variable)("ENVIRONMENT").filter(|e| !e.is_empty()) {
            figment = figment.merge(("environment", environment));
        }
        let config: Self = figment.extract().map_err(Box::new)?;
        if config.is_production() && config.database.connection_url().is_none() {
            return Err(ConfigError::Production(
                "set DATABASE_URL or DATABASE_HOST; a private database is for trials",
            ));
        }
        Ok(config)
    }

    /// Whether the environment is `production`.
    pub fn is_production(&self) -> bool {
        self.environment.as_deref() == Some("production")
    }

    /// Where clients reach the gateway of this machine.
    pub fn public_url(&self) -> String {
        let listen = self.server.public_url.clone();
        listen.unwrap_or_else(|| {
            let port = self.server.listen.map_or(8081, |address| address.port());
            format!("http://127.0.0.1:{port}")
        })
    }

    /// A service's own settings.
    pub fn service<T: DeserializeOwned>(&self, section: &str, settings: &Dict) -> Result<T, ConfigError> {
        let figment = Figment::from(Layer(settings.clone()));
        figment.extract().map_err(|error| ConfigError::Value(Box::new(error.with_path(section))))
    }
}

fn file<'a>(source: &Source<'a>) -> Result<Option<&'a Path>, ConfigError> {
    match source.file {
        Some(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(Some(path)),
            Err(error) => Err(ConfigError::File { path: path.to_owned(), error }),
        },
        None => Ok(Some(Path::new(DEFAULT_FILE)).filter(|path| path.is_file())),
    }
}

/// `EMBERMESH__DATABASE__PORT=5433` as `{database: {port: 5433}}`.
fn overriding(name: &str, value: &str) -> Option<Layer> {
    let path = name.strip_prefix("EMBERMESH__")?.to_lowercase().replace("__", ".");
    let value: Value = value.parse().unwrap_or_else(|_| value.to_owned().into());
    figment::util::nest(&path, value).into_dict().map(Layer)
}

/// Settings as a figment layer.
struct Layer(Dict);

impl figment::Provider for Layer {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named("environment variables")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok([(Profile::Default, self.0.clone())].into())
    }
}

#[cfg(test)]
mod tests;
