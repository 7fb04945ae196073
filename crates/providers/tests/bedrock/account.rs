//! A simulated AWS account and a provider for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use embermesh_config::{Provider as Entry, ProviderKind, Secret};
use embermesh_providers::{
    CatalogModel, Connector, Failure, InputType, Provider, ProviderAnswer, ProviderCall, ProviderError,
};
use embermesh_testing::sim::{Api, AwsKeys, Call, Deployment, DeploymentSpec, Simulator};

pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn keys() -> AwsKeys {
    AwsKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: SECRET.to_owned(),
        session_token: None,
        region: "eu-west-1".to_owned(),
    }
}

pub struct Account {
    pub sim: Simulator,
}

impl Account {
    pub async fn open() -> Self {
        Self::with(keys()).await
    }

    pub async fn with(keys: AwsKeys) -> Self {
        let spec = DeploymentSpec { aws: Some(keys), ..DeploymentSpec::of(Api::Bedrock, "bedrock") };
        Self { sim: Simulator::start(&[spec]).await.unwrap() }
    }

    pub fn deployment(&self) -> &Deployment {
        &self.sim.deployments()[0]
    }

    /// The account's own keys.
    pub fn entry(&self) -> Entry {
        entry(&self.deployment().base_url())
    }

    pub fn provider(&self) -> Arc<dyn Provider> {
        connect(&self.entry())
    }

    /// Calls that wanted vectors.
    pub fn invocations(&self) -> Vec<Call> {
        self.sim.calls().into_iter().filter(|call| call.path.ends_with("/invoke")).collect()
    }
}

pub fn entry(base_url: &str) -> Entry {
    Entry {
        base_url: Some(base_url.to_owned()),
        region: Some("eu-west-1".to_owned()),
        access_key_id: Some("AKIDEXAMPLE".to_owned()),
        secret_access_key: Some(Secret::new(SECRET)),
        ..Entry::default()
    }
}

pub fn connect(entry: &Entry) -> Arc<dyn Provider> {
    Connector::new(None).unwrap().connect(ProviderKind::Bedrock, entry).unwrap()
}

/// The model as a catalog knows it.
pub fn model(id: &str, native: u32, distinguishes: bool) -> Arc<CatalogModel> {
    Arc::new(CatalogModel {
        id: id.to_owned(),
        native_dimensions: native,
        distinguishes_input_type: distinguishes,
        ..CatalogModel::default()
    })
}

pub fn titan_v2() -> Arc<CatalogModel> {
    model("amazon.titan-embed-text-v2:0", 1024, false)
}

pub fn texts(count: usize) -> Vec<Arc<str>> {
    (0..count).map(|number| format!("text number {number}").into()).collect()
}

static ATTEMPTS: AtomicU32 = AtomicU32::new(0);

/// A call for native vectors of documents, under the catalog's own name.
pub fn call(model: &Arc<CatalogModel>, texts: Vec<Arc<str>>) -> ProviderCall {
    let number = ATTEMPTS.fetch_add(1, Ordering::Relaxed);
    ProviderCall {
        attempt: format!("00000000-0000-7000-8000-{number:012x}").parse().unwrap(),
        name: model.id.as_str().into(),
        texts,
        dimensions: model.native_dimensions,
        input_type: InputType::Document,
        timeout: PATIENCE,
        model: Arc::clone(model),
    }
}

/// One call of one text to Titan v2.
pub async fn ask(provider: &Arc<dyn Provider>) -> Result<ProviderAnswer, ProviderError> {
    provider.embed(call(&titan_v2(), texts(1))).await
}

pub async fn failure(provider: &Arc<dyn Provider>) -> Failure {
    ask(provider).await.unwrap_err().failure
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}
