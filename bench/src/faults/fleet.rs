//! The system under test: two gateways, each with a router and a ledger of its own, over one vector-store, admin and PostgreSQL.
//!
//! A ledger for each router: so both ledgers decide about the same budgets, and a router's death and its ledger's are apart.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use embermesh_testing::sim::Deployment;
use serde_json::Value;

use super::{
    FaultError,
    database::Database,
    plan::{REPLICAS, Round, Victim},
    service::{Service, ServiceSpec, port},
};

/// The model that all requests ask for.
pub const MODEL: &str = "text-embedding-3-small";
/// What the provider bills a token, in nano-USD.
pub const PRICE_PER_TOKEN: i64 = 20;
/// After this an attempt that nobody ended counts as answered; longer than any outage of a round.
const PRESUME_AFTER_S: u64 = 15;
/// Few, so that requests of several agents wait for one another and share calls.
const CALLS_AT_ONCE: u32 = 4;

/// The running system; it ends with this.
#[derive(Debug)]
pub struct Fleet {
    services: BTreeMap<String, Service>,
    database: Database,
    folder: PathBuf,
    agent_key: String,
    admin_key: String,
}

/// A victim's return.
#[derive(Clone, Copy, Debug)]
pub struct Returned {
    /// Who.
    pub victim: Victim,
    /// From its start until it was ready.
    pub took: Duration,
    /// How often it gave up and was started once more.
    pub again: u32,
}

impl Fleet {
    /// Starts everything in `folder` from the binaries in `bin`, on these providers.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn start(bin: &Path, folder: &Path, providers: &[Deployment]) -> Result<Self, FaultError> {
        let database = Database::start(&folder.join("postgres")).await?;
        let mut ports = BTreeMap::new();
        for name in names() {
            ports.insert(name, port()?);
        }
        let at = |name: &str| format!("http://127.0.0.1:{}", ports.get(name).copied().unwrap_or_default());
        std::fs::write(folder.join("embermesh.yaml"), yaml(providers, &at("vector-store"), &at("admin")))?;
        let mut services = BTreeMap::new();
        for (name, port) in &ports {
            let (binary, number) = name.rsplit_once('_').unwrap_or((name, "1"));
            let environment = vec![
                ("DATABASE_URL", database.url().to_owned()),
                ("EMBERMESH__SERVICES__ROUTER", at(&format!("provider-router_{number}"))),
                ("EMBERMESH__SERVICES__LEDGER", at(&format!("cost-ledger_{number}"))),
            ];
            let spec = ServiceSpec { binary, name: name.clone(), bin, folder, port: *port, environment };
            services.insert(name.clone(), Service::start(spec)?);
        }
        for service in services.values_mut() {
            service.ready().await?;
        }
        let keys: Value = serde_json::from_slice(&std::fs::read(folder.join("admin/keys.json"))?)?;
        let key = |name: &str| keys[name].as_str().map(str::to_owned).ok_or("the system wrote no such key");
        let (agent_key, admin_key) = (key("agent_key")?, key("admin_key")?);
        Ok(Self { services, database, folder: folder.to_owned(), agent_key, admin_key })
    }

    /// Of the gateways.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let gateways = self.services.iter().filter(|(name, _)| name.starts_with("gateway"));
        gateways.map(|(_, service)| service.url()).collect()
    }

    /// A key that may act as any agent.
    #[must_use]
    pub fn agent_key(&self) -> &str {
        &self.agent_key
    }

    /// A key that may do anything.
    #[must_use]
    pub fn admin_key(&self) -> &str {
        &self.admin_key
    }

    /// How to connect to PostgreSQL as its owner.
    #[must_use]
    pub fn database_url(&self) -> &str {
        self.database.url()
    }

    /// Where logs and data are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Carries one round out, until everybody is back and the rest is over.
    ///
    /// # Errors
    /// When somebody does not come back, or ends by itself.
    pub async fn suffer(&mut self, round: &Round) -> Result<Vec<Returned>, FaultError> {
        let began = Instant::now();
        let mut moments: Vec<(Duration, Victim, bool)> = Vec::new();
        for kill in &round.kills {
            moments.push((kill.after, kill.victim, true));
            moments.push((kill.after + kill.down, kill.victim, false));
        }
        moments.sort_by_key(|(at, ..)| *at);
        let mut started = Vec::new();
        for (at, victim, dies) in moments {
            tokio::time::sleep_until((began + at).into()).await;
            match (victim, dies) {
                (Victim::Database, true) => self.database.kill().await?,
                (other, true) => self.service(other)?.kill().await?,
                (victim, false) => {
                    started.push((victim, Instant::now()));
                    match victim {
                        Victim::Database => self.database.start_again().await?,
                        // it may need the other one of the round, so nobody waits for it here
                        other => self.service(other)?.start_again()?,
                    }
                }
            }
        }
        let mut returned = Vec::new();
        for (victim, since) in started {
            let again = match victim {
                Victim::Database => 0,
                other => self.service(other)?.ready_under_supervision().await?,
            };
            returned.push(Returned { victim, took: since.elapsed(), again });
        }
        tokio::time::sleep(round.rest).await;
        for service in self.services.values_mut() {
            service.alive()?;
        }
        Ok(returned)
    }

    fn service(&mut self, victim: Victim) -> Result<&mut Service, FaultError> {
        let name = match victim {
            Victim::Router(n) => format!("provider-router_{}", n + 1),
            Victim::Ledger(n) => format!("cost-ledger_{}", n + 1),
            Victim::Database => "postgresql".to_owned(),
        };
        self.services.get_mut(&name).ok_or_else(|| format!("there is no service {name}").into())
    }

    /// Ends everything in good order.
    ///
    /// # Errors
    /// When PostgreSQL does not stop.
    pub async fn stop(self) -> Result<(), FaultError> {
        drop(self.services);
        self.database.stop().await
    }
}

fn names() -> Vec<String> {
    let mut names = vec!["vector-store".to_owned(), "admin".to_owned()];
    for service in ["gateway", "provider-router", "cost-ledger"] {
        names.extend((1..=REPLICAS).map(|n| format!("{service}_{n}")));
    }
    names
}

fn yaml(providers: &[Deployment], store: &str, admin: &str) -> String {
    let mut yaml = format!(
        "services: {{store: '{store}', admin: '{admin}'}}\nlogging: {{level: warn}}\n\
         ledger: {{presume_after_seconds: {PRESUME_AFTER_S}}}\nembedding:\n  \
         router: {{canary_interval: 0s, max_concurrent_calls: {CALLS_AT_ONCE}}}\n  \
         providers:\n    local: {{enabled: false}}\n"
    );
    for provider in providers {
        let (name, url) = (provider.name(), provider.base_url());
        yaml.push_str(&format!(
            "    {name}: {{kind: openai, base_url: '{url}', api_key: sk-faults, models: [{MODEL}], timeout: 5s}}\n"
        ));
    }
    yaml
}
