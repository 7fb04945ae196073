//! Deployments described in a file.

use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::api::{Api, AwsKeys};
use super::conditions::Conditions;
use super::deployment::DeploymentSpec;
use super::google::GoogleSpec;
use super::model::ModelSpec;

/// A file in YAML, or in JSON, which YAML contains.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where `/_sim/` is served besides the deployments' own ports.
    pub control: Option<SocketAddr>,
    /// What to start.
    pub deployments: Vec<DeploymentConfig>,
}

/// A deployment; what is left out is as [`DeploymentSpec::of`] has it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentConfig {
    name: String,
    #[serde(default)]
    api: Api,
    listen: Option<SocketAddr>,
    prefix: Option<String>,
    api_key: Option<String>,
    aws: Option<AwsKeys>,
    google: Option<GoogleSpec>,
    models: Option<Vec<ModelConfig>>,
    seed: Option<u64>,
    conditions: Option<Conditions>,
    record_bodies: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelConfig {
    name: String,
    dims: usize,
    family: Option<String>,
    shortenable: Option<bool>,
    #[serde(default)]
    allowed_dims: Vec<usize>,
    max_tokens: Option<usize>,
    #[serde(default)]
    asymmetric: bool,
}

/// Why a file describes no deployments.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("cannot use {path}: {source}; see --help for the form of the file")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        source: serde_yaml::Error,
    },
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or has a field too few, too many or of the wrong type.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let name = || path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: name(), source })?;
        serde_yaml::from_str(&text).map_err(|source| ConfigError::Parse { path: name(), source })
    }
}

impl From<DeploymentConfig> for DeploymentSpec {
    fn from(config: DeploymentConfig) -> Self {
        let usual = Self::of(config.api, &config.name);
        Self {
            listen: config.listen.unwrap_or(usual.listen),
            prefix: config.prefix.unwrap_or(usual.prefix),
            api_key: config.api_key,
            aws: config.aws,
            google: config.google,
            models: config
                .models
                .map_or(usual.models, |models| models.into_iter().map(ModelSpec::from).collect()),
            seed: config.seed.unwrap_or(usual.seed),
            conditions: config.conditions.unwrap_or(usual.conditions),
            record_bodies: config.record_bodies.unwrap_or(usual.record_bodies),
            name: usual.name,
            api: usual.api,
        }
    }
}

impl From<ModelConfig> for ModelSpec {
    fn from(config: ModelConfig) -> Self {
        let usual = Self::new(&config.name, config.dims, !config.allowed_dims.is_empty());
        Self {
            family: config.family.unwrap_or(usual.family),
            shortenable: config.shortenable.unwrap_or(usual.shortenable),
            max_tokens: config.max_tokens.unwrap_or(usual.max_tokens),
            allowed_dims: config.allowed_dims,
            asymmetric: config.asymmetric,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(yaml: &str) -> Result<Vec<DeploymentSpec>, serde_yaml::Error> {
        let config: Config = serde_yaml::from_str(yaml)?;
        Ok(config.deployments.into_iter().map(DeploymentSpec::from).collect())
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let specs = specs(
            "deployments:
             - {name: plain}
             - name: full
               api: voyage
               listen: 127.0.0.1:7000
               api_key: k
               models: [{name: a, dims: 8, family: f, allowed_dims: [4, 8], asymmetric: true}]
               conditions: {latency: {kind: log_normal, p50_ms: 80, p99_ms: 400}, limits: {rpm: 60}}",
        );
        let [plain, full] = specs.unwrap().try_into().unwrap();
        assert_eq!((plain.api, plain.models), (Api::OpenAi, ModelSpec::openai()));
        assert!(plain.record_bodies);
        assert_eq!((full.api, full.listen.port(), full.api_key.as_deref()), (Api::Voyage, 7000, Some("k")));
        assert_eq!((full.models[0].family.as_str(), full.models[0].shortenable), ("f", true));
        assert_eq!((full.conditions.limits.rpm, full.conditions.limits.window_ms), (Some(60), 60_000));
    }

    #[test]
    fn a_field_too_many_is_named() {
        for (yaml, field) in [
            ("deployments: [{name: a, adress: 1}]", "adress"),
            ("deployments: [{name: a, api: openal}]", "openal"),
            ("deployments: [{api: openai}]", "name"),
            ("deployments: [{name: a, models: [{name: b}]}]", "dims"),
        ] {
            let error = specs(yaml).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
