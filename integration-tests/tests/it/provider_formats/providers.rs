//! The providers of the table: what the simulator insists on, what the configuration says, and the limits that their documentation has.

use embermesh_testing::sim::{Api, AwsKeys, Deployment, DeploymentSpec, GoogleSpec, ModelSpec, Simulator};
use serde_json::Value;

use crate::{
    running::Running,
    simulated::{ADA, LARGE, QUIET, SMALL},
};

/// An entry of `embedding.providers`.
pub struct Provider {
    pub name: &'static str,
    pub api: Api,
    /// Catalog ids; empty: all.
    models: &'static [&'static str],
    /// Azure's name of the deployment of a model, where it has one of its own.
    names: &'static [(&'static str, &'static str)],
}

const AZURE_NAME: (&str, &str) = (SMALL, "prod-embeddings");

const OPENAI: Provider = Provider { name: "openai", api: Api::OpenAi, models: &[], names: &[] };
const BEDROCK: Provider = Provider { name: "bedrock", api: Api::Bedrock, models: &[], names: &[] };
const VERTEX: Provider = Provider { name: "vertex", api: Api::Vertex, models: &[], names: &[] };
const VOYAGE: Provider = Provider { name: "voyage", api: Api::Voyage, models: &[], names: &[] };
const AZURE: Provider =
    Provider { name: "azure", api: Api::AzureOpenAi, models: &[SMALL], names: &[AZURE_NAME] };
const AZURE_V1: Provider =
    Provider { name: "azure-v1", api: Api::AzureOpenAi, models: &[LARGE, ADA], names: &[] };
const GEMINI: Provider = Provider { name: "gemini", api: Api::Gemini, models: &[], names: &[] };
const COHERE: Provider = Provider { name: "cohere", api: Api::Cohere, models: &[], names: &[] };

impl Provider {
    /// Whether a catalog entry is served here.
    pub fn serves(&self, model: &Value) -> bool {
        let kinds = model["provider_kinds"].as_array().unwrap();
        let named = self.models.is_empty() || self.models.iter().any(|id| model["id"] == *id);
        named && kinds.iter().any(|kind| *kind == self.api.as_str())
    }

    /// What the provider calls it.
    pub fn name_of(&self, model: &Value) -> String {
        let id = model["id"].as_str().unwrap();
        let own = self.names.iter().find(|(of, _)| *of == id).map(|(_, name)| *name);
        own.or(model["provider_names"][self.api.as_str()].as_str()).unwrap_or(id).to_owned()
    }

    /// Most texts of one call, as the API's documentation says.
    pub fn texts_per_call(&self, spec: &ModelSpec) -> usize {
        match self.api {
            Api::OpenAi | Api::AzureOpenAi => 2048,
            Api::Bedrock if spec.name.starts_with("amazon.") => 1,
            Api::Bedrock | Api::Cohere => 96,
            Api::Vertex if spec.name == "gemini-embedding-001" => 1,
            Api::Vertex if spec.name.starts_with("textembedding-gecko") => 5,
            Api::Vertex => 250,
            Api::Gemini => 100,
            Api::Voyage => 1000,
        }
    }

    fn deployment(&self) -> DeploymentSpec {
        let mut spec =
            DeploymentSpec { api_key: Some(KEY.to_owned()), ..DeploymentSpec::of(self.api, self.name) };
        match self.api {
            Api::AzureOpenAi => {
                spec.models.retain(|model| self.models.contains(&model.name.as_str()));
                for model in &mut spec.models {
                    if let Some((_, name)) = self.names.iter().find(|(of, _)| *of == model.name) {
                        model.name = (*name).to_owned();
                    }
                }
            }
            Api::Bedrock => spec.aws = Some(aws()),
            Api::Vertex => spec.google = Some(GoogleSpec::new(PROJECT, REGION)),
            _ => {}
        }
        spec
    }

    fn entry(&self, deployment: &Deployment) -> String {
        let (name, kind, url) = (self.name, self.api.as_str(), deployment.base_url());
        let mut options = format!("kind: {kind}, base_url: '{url}', timeout: 10s");
        match self.api {
            Api::Bedrock => {
                let AwsKeys { access_key_id, secret_access_key, region, .. } = aws();
                options.push_str(&format!(", region: {region}, access_key_id: {access_key_id}, secret_access_key: {secret_access_key}"));
            }
            Api::Vertex => {
                options.push_str(&format!(
                    ", region: {REGION}, project: {PROJECT}, metadata_url: '{}'",
                    deployment.origin()
                ));
            }
            Api::AzureOpenAi if name == AZURE_V1.name => {
                options = options.replace(&url, &format!("{url}/openai/v1"));
                options.push_str(&format!(", api_key: {KEY}"));
            }
            Api::AzureOpenAi => options.push_str(&format!(", api_key: {KEY}, api_version: '2024-10-21'")),
            _ => options.push_str(&format!(", api_key: {KEY}")),
        }
        if !self.models.is_empty() {
            options.push_str(&format!(", models: [{}]", self.models.join(", ")));
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|(of, name)| format!("{of}: {name}")).collect();
            options.push_str(&format!(", model_names: {{{}}}", names.join(", ")));
        }
        format!("{name}: {{{options}}}")
    }
}

const KEY: &str = "key-for-tests";
const PROJECT: &str = "simulated-project";
const REGION: &str = "europe-west4";

fn aws() -> AwsKeys {
    AwsKeys {
        access_key_id: "AKIASIMULATED".to_owned(),
        secret_access_key: "secret-for-tests".to_owned(),
        session_token: None,
        region: "eu-central-1".to_owned(),
    }
}

/// Models that the product must know, by entry and the provider's own name.
pub fn is_owed(name: &str) -> bool {
    !matches!(name, "gemini gemini-embedding-2") && !name.contains("voyage") && !name.contains("-light-")
}

async fn system(providers: Vec<Provider>) -> (Simulator, Running, Vec<Provider>) {
    let specs: Vec<DeploymentSpec> = providers.iter().map(Provider::deployment).collect();
    let simulator = Simulator::start(&specs).await.unwrap();
    let entries: Vec<String> = providers
        .iter()
        .zip(simulator.deployments())
        .map(|(provider, deployment)| provider.entry(deployment))
        .collect();
    let running = Running::one(&crate::simulated::yaml(&entries, &[QUIET])).await;
    (simulator, running, providers)
}

pub async fn first_system() -> (Simulator, Running, Vec<Provider>) {
    system(vec![OPENAI, BEDROCK, VERTEX, VOYAGE]).await
}

/// Other ways to the same models as the first, so that each request has one way only.
pub async fn second_system() -> (Simulator, Running, Vec<Provider>) {
    system(vec![AZURE, AZURE_V1, GEMINI, COHERE]).await
}
