//! Five services, of which the gateway and the store are killed, and a second gateway and store through which clients go.

use std::{collections::BTreeMap, path::Path, time::Duration};

use embermesh_private_postgres::TestDatabase;
use embermesh_testing::sim::Deployment;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tokio_postgres::NoTls;

use crate::faults::{
    FaultError,
    service::{Service, ServiceSpec, port},
};

/// Name, binary, and which store it knows.
const SERVICES: [(&str, &str, &str); 7] = [
    ("admin", "admin", "vector-store"),
    ("cost-ledger", "cost-ledger", "vector-store"),
    ("vector-store", "vector-store", "vector-store"),
    ("vector-store-2", "vector-store", "vector-store-2"),
    ("provider-router", "provider-router", "vector-store-2"),
    ("gateway", "gateway", "vector-store"),
    ("gateway-2", "gateway", "vector-store-2"),
];

/// The running system; it ends with this.
#[derive(Debug)]
pub struct System {
    services: BTreeMap<&'static str, Service>,
    database: TestDatabase,
    way: Way,
}

/// A client of the gateway that stays.
#[derive(Clone, Debug)]
pub struct Way {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl System {
    /// Starts everything in `folder`; each deployment serves the model in its place.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(
        bin: &Path,
        folder: &Path,
        deployments: &[Deployment],
        models: (&str, &str),
    ) -> Result<Self, FaultError> {
        let database = TestDatabase::create().await;
        let mut ports = BTreeMap::new();
        for (name, ..) in SERVICES {
            ports.insert(name, port()?);
        }
        let at = |name: &str| format!("http://127.0.0.1:{}", ports.get(name).copied().unwrap_or_default());
        let mut yaml =
            "logging: {level: warn}\nembedding:\n  providers:\n    local: {enabled: false}\n".to_owned();
        for (deployment, model) in deployments.iter().zip([models.0, models.1]) {
            let (name, url) = (deployment.name(), deployment.base_url());
            yaml.push_str(&format!(
                "    {name}: {{kind: openai, base_url: '{url}', api_key: sk-migration, models: [{model}]}}\n"
            ));
        }
        yaml.push_str("  router: {canary_interval: 0s}\n");
        std::fs::write(folder.join("embermesh.yaml"), yaml)?;
        let mut services = BTreeMap::new();
        for (name, binary, store) in SERVICES {
            let workers = if name == "gateway-2" { "0" } else { "2" };
            let mut environment = vec![
                ("DATABASE_URL", database.url().expose_secret().to_owned()),
                ("EMBERMESH__SERVICES__ROUTER", at("provider-router")),
                ("EMBERMESH__SERVICES__LEDGER", at("cost-ledger")),
                ("EMBERMESH__SERVICES__ADMIN", at("admin")),
                ("EMBERMESH__SERVICES__STORE", at(store)),
            ];
            if binary == "gateway" {
                environment.push(("EMBERMESH__GATEWAY__MIGRATIONS__WORKERS", workers.to_owned()));
            }
            let port = ports.get(name).copied().unwrap_or_default();
            let spec = ServiceSpec { binary, name: name.to_owned(), bin, folder, port, environment };
            services.insert(name, Service::start(spec)?);
        }
        for service in services.values_mut() {
            service.ready().await?;
        }
        let keys: Value = serde_json::from_slice(&std::fs::read(folder.join("admin/keys.json"))?)?;
        let key = keys["admin_key"].as_str().ok_or("the system wrote no such key")?.to_owned();
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { services, database, way: Way { http, url: at("gateway-2"), key } })
    }

    /// The way that clients go.
    #[must_use]
    pub fn way(&self) -> Way {
        self.way.clone()
    }

    /// Kills a process, and starts it again after a while.
    ///
    /// # Errors
    /// When it does not come back.
    pub async fn kill(&mut self, name: &str, down: Duration) -> Result<(), FaultError> {
        let service = self.services.get_mut(name).ok_or("there is no such service")?;
        service.kill().await?;
        tokio::time::sleep(down).await;
        service.start_again()?;
        service.ready().await
    }

    /// Rows that the database holds of a space.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn rows_in(&self, space: &str) -> Result<i64, FaultError> {
        let (client, connection) =
            tokio_postgres::connect(self.database.url().expose_secret(), NoTls).await?;
        let mut connections = tokio::task::JoinSet::new();
        connections.spawn(connection);
        let count = "SELECT count(*) FROM store.embeddings WHERE space_id = $1";
        Ok(client.query_one(count, &[&space]).await?.get(0))
    }
}

impl Way {
    /// # Errors
    /// When it is refused.
    pub async fn get(&self, path: &str) -> Result<Value, FaultError> {
        self.send(self.http.get(format!("{}{path}", self.url))).await
    }

    /// # Errors
    /// When it is refused.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, FaultError> {
        self.send(self.http.post(format!("{}{path}", self.url)).json(body)).await
    }

    /// # Errors
    /// When it is refused.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, FaultError> {
        self.send(self.http.put(format!("{}{path}", self.url)).json(body)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, FaultError> {
        let answer = request.header("x-api-key", &self.key).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            return Err(format!("refused: {status} {body}").into());
        }
        Ok(serde_json::from_str(&body)?)
    }
}
