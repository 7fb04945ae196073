//! A Vertex AI provider against a simulated project, both on one clock that tests move.

use std::{path::PathBuf, sync::Arc, time::Duration};

use embermesh_config::ProviderKind;
use embermesh_providers::{Connector, Provider, ProviderAnswer, ProviderError, Surroundings};
use embermesh_testing::sim::{Api, DeploymentSpec, GoogleSpec, GoogleTokens, Simulator};
use embermesh_types::{Clock, ManualClock};
use serde_json::{Value, json};

use crate::google::Row;

pub const TOKEN: &str = "/token";
pub const PREDICT: &str = ":predict";

pub struct World {
    pub sim: Simulator,
    pub provider: Arc<dyn Provider>,
    pub key_file: PathBuf,
    clock: ManualClock,
    _dir: tempfile::TempDir,
}

impl World {
    /// With the key file of the project's service account.
    pub async fn start() -> Self {
        Self::of(|sim, key_file| json!({"base_url": sim, "credentials_file": key_file})).await
    }

    /// With tokens of the simulator for an API that is somewhere else.
    pub async fn at(base_url: &str) -> Self {
        Self::of(|_, key_file| json!({"base_url": base_url, "credentials_file": key_file})).await
    }

    /// With a metadata server.
    pub async fn on_google_cloud() -> Self {
        Self::of(|sim, _| json!({"base_url": sim, "metadata_url": sim})).await
    }

    async fn of(entry: impl FnOnce(&str, &PathBuf) -> Value) -> Self {
        let google = Some(GoogleSpec::new("acme-prod", "europe-west4"));
        let spec = DeploymentSpec { google, ..DeploymentSpec::of(Api::Vertex, "vertex") };
        let sim = Simulator::start(&[spec]).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let key_file = dir.path().join("key.json");
        std::fs::write(&key_file, sim.deployments()[0].google_key_file()).unwrap();
        let mut entry = entry(&sim.deployments()[0].base_url(), &key_file);
        entry["project"] = json!("acme-prod");
        entry["region"] = json!("europe-west4");
        let clock = ManualClock::new(Clock::system().now());
        let surroundings = Surroundings { clock: clock.clock(), ..Surroundings::default() };
        let connector = Connector::new(None).unwrap().within(surroundings);
        let provider =
            connector.connect(ProviderKind::Vertex, &serde_json::from_value(entry).unwrap()).unwrap();
        Self { sim, provider, key_file, clock, _dir: dir }
    }

    pub fn google(&self) -> &GoogleTokens {
        self.sim.deployments()[0].google()
    }

    /// Moves the provider's and the project's clock.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.google().advance(by);
    }

    pub async fn embed(&self) -> Result<ProviderAnswer, ProviderError> {
        self.provider.embed(Row::of("text-embedding-005", 768).call()).await
    }

    /// Answered calls whose path ends like that.
    pub fn calls(&self, path: &str) -> usize {
        let calls = self.sim.calls();
        calls.iter().filter(|call| call.path.ends_with(path)).count()
    }

    /// Calls, a second apart, until that is so.
    pub async fn embed_until(&self, so: impl Fn(&Self) -> bool) {
        for _ in 0..100 {
            self.embed().await.unwrap();
            if so(self) {
                return;
            }
            self.advance(Duration::from_secs(1));
        }
        panic!("not so after a hundred calls");
    }
}
