//! One state of the configuration, immutable once published.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use embermesh_auth::{KeyHash, Principal};
use embermesh_proto::v1;
use embermesh_types::{AgentId, KeyId, SpaceId, TenantId};

/// What is known of an API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Proves the key.
    pub hash: KeyHash,
    /// Who shows it, and what they may do.
    pub principal: Principal,
    /// When it stops working.
    pub expires_at: Option<SystemTime>,
    /// Whether it was withdrawn.
    pub revoked: bool,
}

/// The space that an agent's vectors of one task type lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The space.
    pub space: SpaceId,
    /// The catalog id of the model that was chosen.
    pub model: String,
}

type OfTenant<K, V> = HashMap<TenantId, Arc<HashMap<K, V>>>;

/// The configuration at one version. Cloning shares everything; a change copies only the map that it touches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Grows with every change; 0 before anything is known.
    pub version: i64,
    keys: Arc<HashMap<KeyId, Arc<KeyRecord>>>,
    agents: OfTenant<AgentId, Arc<v1::Agent>>,
    models: Arc<BTreeMap<String, Arc<v1::CatalogModel>>>,
    pins: OfTenant<AgentId, Arc<BTreeMap<String, Pinned>>>,
}

impl Snapshot {
    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&KeyRecord> {
        self.keys.get(id).map(AsRef::as_ref)
    }

    /// The agent's configuration; most agents have none.
    pub fn agent(&self, tenant: TenantId, agent: &AgentId) -> Option<&Arc<v1::Agent>> {
        self.agents.get(&tenant)?.get(agent)
    }

    /// A model of the catalog.
    pub fn model(&self, id: &str) -> Option<&Arc<v1::CatalogModel>> {
        self.models.get(id)
    }

    /// The catalog, in the order of the ids.
    pub fn models(&self) -> impl Iterator<Item = &Arc<v1::CatalogModel>> {
        self.models.values()
    }

    /// The space of the agent's task type, once something was embedded.
    pub fn pin(&self, tenant: TenantId, agent: &AgentId, task_type: &str) -> Option<&Pinned> {
        self.pins.get(&tenant)?.get(agent)?.get(task_type)
    }

    /// With this version.
    #[must_use]
    pub fn with_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// With a key, under the id of its principal.
    #[must_use]
    pub fn with_key(mut self, record: KeyRecord) -> Self {
        self.put_key(record);
        self
    }

    /// With an agent's configuration. One whose `agent_id` is no agent id is left out.
    #[must_use]
    pub fn with_agent(mut self, tenant: TenantId, agent: v1::Agent) -> Self {
        if let Ok(id) = agent.agent_id.parse() {
            self.put_agent(tenant, id, Arc::new(agent));
        }
        self
    }

    /// With a model.
    #[must_use]
    pub fn with_model(mut self, model: v1::CatalogModel) -> Self {
        self.put_model(Arc::new(model));
        self
    }

    /// With a pin.
    #[must_use]
    pub fn with_pin(mut self, tenant: TenantId, agent: AgentId, task_type: &str, pin: Pinned) -> Self {
        self.put_pin(tenant, agent, task_type.to_owned(), pin);
        self
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyRecord> {
        self.keys.values().map(AsRef::as_ref)
    }

    pub(crate) fn agents(&self) -> impl Iterator<Item = (TenantId, &Arc<v1::Agent>)> {
        self.agents.iter().flat_map(|(tenant, agents)| agents.values().map(|agent| (*tenant, agent)))
    }

    pub(crate) fn pins(&self) -> impl Iterator<Item = (TenantId, &AgentId, &str, &Pinned)> {
        self.pins.iter().flat_map(|(tenant, agents)| {
            agents.iter().flat_map(move |(agent, pins)| {
                pins.iter().map(move |(task_type, pin)| (*tenant, agent, task_type.as_str(), pin))
            })
        })
    }

    pub(crate) fn put_key(&mut self, record: KeyRecord) {
        Arc::make_mut(&mut self.keys).insert(record.principal.key.clone(), Arc::new(record));
    }

    pub(crate) fn remove_key(&mut self, id: &KeyId) {
        Arc::make_mut(&mut self.keys).remove(id);
    }

    pub(crate) fn put_agent(&mut self, tenant: TenantId, id: AgentId, agent: Arc<v1::Agent>) {
        Arc::make_mut(self.agents.entry(tenant).or_default()).insert(id, agent);
    }

    pub(crate) fn remove_agent(&mut self, tenant: TenantId, id: &AgentId) {
        if let Some(agents) = self.agents.get_mut(&tenant) {
            Arc::make_mut(agents).remove(id);
        }
    }

    pub(crate) fn put_model(&mut self, model: Arc<v1::CatalogModel>) {
        Arc::make_mut(&mut self.models).insert(model.id.clone(), model);
    }

    pub(crate) fn remove_model(&mut self, id: &str) {
        Arc::make_mut(&mut self.models).remove(id);
    }

    pub(crate) fn put_pin(&mut self, tenant: TenantId, agent: AgentId, task_type: String, pin: Pinned) {
        let agents = Arc::make_mut(self.pins.entry(tenant).or_default());
        Arc::make_mut(agents.entry(agent).or_default()).insert(task_type, pin);
    }

    pub(crate) fn remove_pin(&mut self, tenant: TenantId, agent: &AgentId, task_type: &str) {
        let Some(agents) = self.pins.get_mut(&tenant) else { return };
        if let Some(pins) = Arc::make_mut(agents).get_mut(agent) {
            Arc::make_mut(pins).remove(task_type);
        }
    }
}
