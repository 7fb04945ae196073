//! One state of the configuration, immutable once published.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use embermesh_auth::{KeyHash, Principal};
use embermesh_proto::{
    internal::v1::{SealedProvider, TenantEntry},
    v1,
};
use embermesh_types::{AgentId, KeyId, SpaceId, TenantId};

use crate::{BreakerOrder, CacheClear, RunSettings, SpaceReference, cache_clear::CacheClears};

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
    /// Whether it is old enough for whoever holds it to take its successor.
    pub rotation_due: bool,
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

/// Made once, because every request of an agent without a configuration asks for it.
static DEFAULT_AGENT: LazyLock<AgentId> = LazyLock::new(AgentId::default);

/// The configuration at one version. Cloning shares everything; a change copies only the map that it touches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Grows with every change; 0 before anything is known.
    pub version: i64,
    keys: Arc<BTreeMap<KeyId, Arc<KeyRecord>>>,
    agents: OfTenant<AgentId, Arc<v1::Agent>>,
    models: Arc<BTreeMap<String, Arc<v1::CatalogModel>>>,
    pins: OfTenant<AgentId, Arc<BTreeMap<String, Pinned>>>,
    references: Arc<HashMap<SpaceId, Arc<SpaceReference>>>,
    breaker_orders: Arc<BTreeMap<String, BreakerOrder>>,
    budgets: HashMap<TenantId, Arc<BTreeMap<String, Arc<v1::BudgetRule>>>>,
    settings: Option<Arc<RunSettings>>,
    pub(crate) tenants: Arc<HashMap<TenantId, Arc<TenantEntry>>>,
    pub(crate) pii_policies: Arc<HashMap<TenantId, Arc<v1::PiiPolicy>>>,
    providers: Arc<BTreeMap<String, Arc<SealedProvider>>>,
    cache_clears: Arc<CacheClears>,
}

impl Snapshot {
    /// The key with this id.
    pub fn key(&self, id: &KeyId) -> Option<&KeyRecord> {
        self.keys.get(id).map(AsRef::as_ref)
    }

    /// The key with this id or, where there is none, the next one of another id. The way to it is the same for both, so that how long
    /// the look takes does not tell them apart; whoever asks has to compare hashes, which are of the id, too. `None` without any key.
    pub fn key_or_neighbour(&self, id: &KeyId) -> Option<&KeyRecord> {
        let at_or_after = self.keys.range(id..).next();
        at_or_after.or_else(|| self.keys.first_key_value()).map(|(_, record)| record.as_ref())
    }

    /// The configuration that an agent runs on: its own, else that of the tenant's agent [`AgentId::DEFAULT`]. One is taken as a
    /// whole, nothing is merged; the `agent_id` in it says whose it is. Rates and budgets in it are of each agent by itself.
    pub fn agent(&self, tenant: TenantId, agent: &AgentId) -> Option<&Arc<v1::Agent>> {
        let agents = self.agents.get(&tenant)?;
        agents.get(agent).or_else(|| agents.get(&*DEFAULT_AGENT))
    }

    /// The agent's own configuration; most agents have none.
    pub fn registered_agent(&self, tenant: TenantId, agent: &AgentId) -> Option<&Arc<v1::Agent>> {
        self.agents.get(&tenant)?.get(agent)
    }

    /// The agents of a tenant that have a configuration.
    pub fn agents_of(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<v1::Agent>> {
        self.agents.get(&tenant).into_iter().flat_map(|agents| agents.values())
    }

    /// Every agent that has a configuration.
    pub fn agents(&self) -> impl Iterator<Item = (TenantId, &Arc<v1::Agent>)> {
        self.agents.iter().flat_map(|(tenant, agents)| agents.values().map(|agent| (*tenant, agent)))
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

    /// What the deployments of a space are held to, once it was recorded. Spaces of a model's native length have one.
    pub fn reference(&self, space: &SpaceId) -> Option<&Arc<SpaceReference>> {
        self.references.get(space)
    }

    /// The last order about each deployment's breaker that there ever was one about, in the order of their names.
    pub fn breaker_orders(&self) -> impl Iterator<Item = (&str, &BreakerOrder)> {
        self.breaker_orders.iter().map(|(deployment, order)| (deployment.as_str(), order))
    }

    /// The budgets of a tenant, beside the limits in its agents' configurations.
    pub fn budgets(&self, tenant: TenantId) -> impl Iterator<Item = &Arc<v1::BudgetRule>> {
        self.budgets.get(&tenant).into_iter().flat_map(|budgets| budgets.values())
    }

    /// Every budget there is.
    pub fn all_budgets(&self) -> impl Iterator<Item = (TenantId, &Arc<v1::BudgetRule>)> {
        self.budgets.iter().flat_map(|(tenant, budgets)| budgets.values().map(|budget| (*tenant, budget)))
    }

    /// What operators have turned at run time; `None` when they have turned nothing yet.
    pub fn settings(&self) -> Option<&Arc<RunSettings>> {
        self.settings.as_ref()
    }

    /// The providers that came over the API, and what is switched of those in the configuration file, in the order of their names.
    pub fn providers(&self) -> impl Iterator<Item = &Arc<SealedProvider>> {
        self.providers.values()
    }

    /// Vectors that were kept with a smaller stamp than this are not served to the agent.
    pub fn cache_floor(&self, tenant: TenantId, agent: &AgentId, space: &SpaceId) -> i64 {
        self.cache_clears.floor(tenant, agent, space)
    }

    /// The last order to clear about each tenant, agent and space, with the version that it is.
    pub fn cache_clears(&self) -> impl Iterator<Item = (CacheClear, i64)> {
        self.cache_clears.iter()
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

    /// With the recorded vectors of a space.
    #[must_use]
    pub fn with_reference(mut self, space: SpaceId, reference: SpaceReference) -> Self {
        self.put_reference(space, Arc::new(reference));
        self
    }

    /// With an order about a deployment's breaker.
    #[must_use]
    pub fn with_breaker_order(mut self, deployment: &str, order: BreakerOrder) -> Self {
        self.put_breaker_order(deployment, order);
        self
    }

    /// With a budget.
    #[must_use]
    pub fn with_budget(mut self, tenant: TenantId, budget: v1::BudgetRule) -> Self {
        self.put_budget(tenant, Arc::new(budget));
        self
    }

    /// With a provider, under the name in its entry.
    #[must_use]
    pub fn with_provider(mut self, provider: SealedProvider) -> Self {
        let name = provider.entry.as_ref().map(|entry| entry.name.clone()).unwrap_or_default();
        self.put_provider(&name, Arc::new(provider));
        self
    }

    /// With an order to clear.
    #[must_use]
    pub fn with_cache_clear(mut self, clear: CacheClear, number: i64) -> Self {
        self.put_cache_clear(clear, number);
        self
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyRecord> {
        self.keys.values().map(AsRef::as_ref)
    }

    pub(crate) fn pins(&self) -> impl Iterator<Item = (TenantId, &AgentId, &str, &Pinned)> {
        self.pins.iter().flat_map(|(tenant, agents)| {
            agents.iter().flat_map(move |(agent, pins)| {
                pins.iter().map(move |(task_type, pin)| (*tenant, agent, task_type.as_str(), pin))
            })
        })
    }

    pub(crate) fn references(&self) -> impl Iterator<Item = (&SpaceId, &Arc<SpaceReference>)> {
        self.references.iter()
    }

    pub(crate) fn breaker_order(&self, deployment: &str) -> Option<BreakerOrder> {
        self.breaker_orders.get(deployment).copied()
    }

    pub(crate) fn cache_clear(&self, clear: &CacheClear) -> Option<i64> {
        self.cache_clears.get(clear)
    }

    pub(crate) fn put_cache_clear(&mut self, clear: CacheClear, number: i64) {
        Arc::make_mut(&mut self.cache_clears).put(clear, number);
    }

    pub(crate) fn remove_cache_clear(&mut self, clear: &CacheClear) {
        Arc::make_mut(&mut self.cache_clears).remove(clear);
    }

    pub(crate) fn put_settings(&mut self, settings: Option<Arc<RunSettings>>) {
        self.settings = settings;
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

    pub(crate) fn put_reference(&mut self, space: SpaceId, reference: Arc<SpaceReference>) {
        Arc::make_mut(&mut self.references).insert(space, reference);
    }

    pub(crate) fn remove_reference(&mut self, space: &SpaceId) {
        Arc::make_mut(&mut self.references).remove(space);
    }

    pub(crate) fn put_breaker_order(&mut self, deployment: &str, order: BreakerOrder) {
        Arc::make_mut(&mut self.breaker_orders).insert(deployment.to_owned(), order);
    }

    pub(crate) fn remove_breaker_order(&mut self, deployment: &str) {
        Arc::make_mut(&mut self.breaker_orders).remove(deployment);
    }

    pub(crate) fn put_budget(&mut self, tenant: TenantId, budget: Arc<v1::BudgetRule>) {
        Arc::make_mut(self.budgets.entry(tenant).or_default()).insert(budget.id.clone(), budget);
    }

    pub(crate) fn remove_budget(&mut self, tenant: TenantId, id: &str) {
        if let Some(budgets) = self.budgets.get_mut(&tenant) {
            Arc::make_mut(budgets).remove(id);
        }
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<SealedProvider>> {
        self.providers.get(name)
    }

    pub(crate) fn put_provider(&mut self, name: &str, provider: Arc<SealedProvider>) {
        Arc::make_mut(&mut self.providers).insert(name.to_owned(), provider);
    }

    pub(crate) fn remove_provider(&mut self, name: &str) {
        Arc::make_mut(&mut self.providers).remove(name);
    }
}

#[cfg(test)]
mod tests;
