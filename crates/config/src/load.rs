//! Puts the layers together: file, well-known variables, `EMBERMESH__…`.

use std::path::{Path, PathBuf};

use embermesh_pii::PiiConfig;
use embermesh_telemetry::{LogSettings, TraceSettings};
use figment::{
    Figment, Profile,
    providers::{Format, Yaml},
    value::{Dict, Map, Value},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Backup, Database, Embedding, ProviderKind, Redis, Server, Services,
    environment::well_known,
    expand::{Unset, expand},
};

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "embermesh.yaml";
/// Names the layer of well-known variables in messages.
const ENVIRONMENT: &str = "the environment";

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
    /// Traces.
    pub tracing: TraceSettings,
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
    Value(#[from] Described),
    /// A value that is read but makes no sense.
    #[error("configuration: {key}: {problem}")]
    Senseless {
        /// Where it stands.
        key: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
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
            let mut value: Value =
                Figment::from(Yaml::file_exact(path)).extract().map_err(Described::from)?;
            expand(&mut value, source.variable)?;
            figment = figment.merge(Layer(path.display().to_string(), value.into_dict().unwrap_or_default()));
        }
        figment = figment.merge(Layer(ENVIRONMENT.to_owned(), well_known(source.variable)));
        for layer in source
            .overrides
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| overriding(name, value))
        {
            figment = figment.merge(layer);
        }
        if let Some(environment) = (source.variable)("ENVIRONMENT").filter(|e| !e.is_empty()) {
            figment = figment.merge(("environment", environment));
        }
        let config: Self = figment.extract().map_err(Described::from)?;
        config.check()?;
        if config.is_production() && config.database.connection_url().is_none() {
            return Err(ConfigError::Production(
                "set DATABASE_URL or DATABASE_HOST; a private database is for trials",
            ));
        }
        Ok(config)
    }

    /// Refuses what can be read but cannot be meant.
    fn check(&self) -> Result<(), ConfigError> {
        let senseless = |key: &str, problem: &str| {
            Err(ConfigError::Senseless { key: key.to_owned(), problem: problem.to_owned() })
        };
        let strategies = ["smart", "balanced", "quality", "speed", "cost"];
        if !strategies.contains(&self.embedding.router.selection_strategy.as_str()) {
            return senseless(
                "embedding.router.selection_strategy",
                "choose from smart, balanced, quality, speed, cost",
            );
        }
        let breaker = self.embedding.circuit_breaker;
        if breaker.failure_threshold == 0 || breaker.success_threshold == 0 {
            return senseless("embedding.circuit_breaker", "thresholds are 1 or more");
        }
        for (name, provider) in &self.embedding.providers {
            let authority =
                provider.base_url.as_deref().and_then(|url| url.split("://").nth(1)?.split('/').next());
            if authority.is_some_and(|authority| authority.contains('@')) {
                let key = format!("embedding.providers.{name}.base_url");
                return senseless(&key, "holds a credential; put it in api_key, where it stays hidden");
            }
        }
        if let Err(bad) = self.embedding.security.egress(ProviderKind::Local) {
            return senseless("embedding.security.provider_hosts", &bad.to_string());
        }
        if let Some((key, problem)) = self.backup.mistake() {
            return senseless(key, problem);
        }
        match self.environment.as_deref() {
            None | Some("production" | "staging" | "development" | "test") => Ok(()),
            Some(_) => senseless("ENVIRONMENT", "choose from production, staging, development, test"),
        }
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
        let figment = Figment::from(Layer("the configuration".to_owned(), settings.clone()));
        figment.extract().map_err(|error| ConfigError::Value(Described::from(error.with_path(section))))
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
    figment::util::nest(&path, value).into_dict().map(|dict| Layer(name.to_owned(), dict))
}

/// What is wrong with a key or value: where it stands in the file's own words, not in the parser's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Described(String);

impl From<figment::Error> for Described {
    fn from(errors: figment::Error) -> Self {
        let one = |error: figment::Error| {
            let path = error.path.join(".");
            let place = if path.is_empty() { String::new() } else { format!("{path}: ") };
            let from = error.metadata.as_ref().map(|m| format!(" (in {})", m.name)).unwrap_or_default();
            format!("{place}{}{from}", error.kind)
        };
        Self(errors.into_iter().map(one).collect::<Vec<_>>().join("; "))
    }
}

/// Settings as a figment layer, named for messages.
struct Layer(String, Dict);

impl figment::Provider for Layer {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.0.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok([(Profile::Default, self.1.clone())].into())
    }
}

#[cfg(test)]
mod tests;
