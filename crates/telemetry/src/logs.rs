//! Log output and levels, by the component names of the operations guide.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
};

use serde::{Deserialize, Serialize};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::SubscriberExt,
    reload,
    util::{SubscriberInitExt, TryInitError},
};

/// What the log shows and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// error, warn, info, debug or trace. The last two are of Embermesh's own parts; libraries stay at info.
    pub level: String,
    /// Levels of components, such as `embedding.router: debug`.
    pub components: BTreeMap<String, String>,
    /// For people or for programs.
    pub format: Format,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), components: BTreeMap::new(), format: Format::Pretty }
    }
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level.
    #[error("logging: '{0}' is not a level, choose from error, warn, info, debug, trace")]
    Level(String),
    /// Not a component.
    #[error("logging.components: '{0}' is not a component; there are {1}")]
    Component(String, String),
    /// Something else logs already.
    #[error("logging was started before: {0}")]
    Started(#[from] TryInitError),
    /// The process is about to end.
    #[error("logging: the levels cannot be changed any more: {0}")]
    Reload(#[from] reload::Error),
}

/// The guide's component names and the modules behind them.
const COMPONENTS: [(&str, &[&str]); 17] = [
    ("embedding.gateway", &["embermesh_gateway"]),
    ("embedding.router", &["embermesh_provider_router"]),
    ("embedding.provider", &["embermesh_providers"]),
    ("embedding.provider.openai", &["embermesh_providers::openai"]),
    ("embedding.provider.azure_openai", &["embermesh_providers::azure"]),
    ("embedding.provider.bedrock", &["embermesh_providers::bedrock"]),
    ("embedding.provider.vertex", &["embermesh_providers::vertex", "embermesh_providers::google_token"]),
    ("embedding.provider.gemini", &["embermesh_providers::gemini"]),
    ("embedding.provider.voyage", &["embermesh_providers::voyage"]),
    ("embedding.provider.cohere", &["embermesh_providers::cohere"]),
    ("embedding.provider.local", &["embermesh_providers::local"]),
    (
        "embedding.circuit_breaker",
        &["embermesh_provider_router::verdict", "embermesh_provider_router::orders"],
    ),
    ("embedding.ledger", &["embermesh_cost_ledger"]),
    ("embedding.store", &["embermesh_vector_store"]),
    ("embedding.cache", &["embermesh_cache"]),
    ("embedding.admin", &["embermesh_admin"]),
    ("embedding.transport", &["embermesh_transport"]),
];

/// The levels of a running process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogLevels {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What the configuration says.
    configured: LogSettings,
}

impl LogLevels {
    /// Shows what is configured, with another `level` if one is given and with the levels of `components` over the configured ones.
    /// Components that this release does not know are left out.
    ///
    /// # Errors
    /// When something is not a level; then everything stays as it is.
    pub fn set(&self, level: Option<&str>, components: &BTreeMap<String, String>) -> Result<(), LogError> {
        let mut settings = self.configured.clone();
        if let Some(level) = level {
            level.clone_into(&mut settings.level);
        }
        let known = components.iter().filter(|(name, _)| is_component(name));
        settings.components.extend(known.map(|(name, level)| (name.clone(), level.clone())));
        self.filter.reload(filter(&settings)?)?;
        Ok(())
    }
}

/// Sends this process's logs to standard error.
pub fn start_logs(settings: &LogSettings) -> Result<LogLevels, LogError> {
    let (filter, handle) = reload::Layer::new(filter(settings)?);
    let lines =
        tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal()).with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Pretty => lines.with_target(false).compact().boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    Ok(LogLevels { filter: handle, configured: settings.clone() })
}

/// What a level may be.
pub const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// The components that levels can be set for.
pub fn log_components() -> impl Iterator<Item = &'static str> {
    COMPONENTS.iter().map(|(component, _)| *component)
}

fn is_component(name: &str) -> bool {
    log_components().any(|component| component == name)
}

fn filter(settings: &LogSettings) -> Result<EnvFilter, LogError> {
    let own = level(&settings.level)?;
    // what libraries say at these levels is what passes through them: headers, statements, frames
    let others = if matches!(own, "debug" | "trace") { "info" } else { own };
    let mut directives = vec![others.to_owned(), format!("embermesh={own}")];
    for (name, wanted) in &settings.components {
        let known = COMPONENTS.iter().find(|(component, _)| component == name);
        let (_, modules) = known.ok_or_else(|| {
            LogError::Component(name.clone(), log_components().collect::<Vec<_>>().join(", "))
        })?;
        let wanted = level(wanted)?;
        directives.extend(modules.iter().map(|module| format!("{module}={wanted}")));
    }
    EnvFilter::try_new(directives.join(",")).map_err(|_| LogError::Level(settings.level.clone()))
}

fn level(name: &str) -> Result<&str, LogError> {
    if LOG_LEVELS.contains(&name) { Ok(name) } else { Err(LogError::Level(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guides_components_load() {
        let names = ["embedding.router", "embedding.provider.openai", "embedding.circuit_breaker"];
        let components = names.iter().map(|name| ((*name).to_owned(), "debug".to_owned())).collect();
        let filter = filter(&LogSettings { components, ..LogSettings::default() }).unwrap().to_string();
        assert!(filter.contains("embermesh_providers::openai=debug"), "{filter}");
    }

    #[test]
    fn libraries_are_no_louder_than_info() {
        for (level, expected) in [
            ("trace", ["embermesh=trace", "info"]),
            ("info", ["embermesh=info", "info"]),
            ("error", ["embermesh=error", "error"]),
        ] {
            let settings = LogSettings { level: level.to_owned(), ..LogSettings::default() };
            let filter = filter(&settings).unwrap().to_string();
            let mut directives: Vec<&str> = filter.split(',').collect();
            directives.sort_unstable();
            assert_eq!(directives, expected);
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        assert!(filter(&LogSettings { level: "loud".to_owned(), ..LogSettings::default() }).is_err());
        let components = [("embedding.rooter".to_owned(), "debug".to_owned())].into();
        let error = filter(&LogSettings { components, ..LogSettings::default() }).unwrap_err();
        assert!(error.to_string().contains("embedding.router"), "{error}");
    }
}
