//! Between the messages of the stream and the snapshot. Whatever arrives is checked before anybody relies on it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use embermesh_auth::{KeyHash, Principal, Scopes};
use embermesh_proto::{
    internal::v1::{
        AgentEntry, BudgetEntry, ConfigEntry, ConfigUpdate, KeyEntry, Pin, PolicyEntry, SealedProvider,
        TenantEntry, config_entry::Value,
    },
    v1,
};
use embermesh_types::{AgentId, KeyId, SpaceId, TenantId};

use crate::{
    BreakerOrder, CacheClear, KeyRecord, Pinned, RunSettings, Snapshot, SpaceReference, provider_entry,
};

/// Why an entry cannot be used. Names the part, never its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadEntry(pub(crate) &'static str);

/// The identity of an entry.
enum Identity<'a> {
    ApiKey(KeyId),
    Agent(TenantId, AgentId),
    Model(&'a str),
    Pin(TenantId, AgentId, &'a str),
    Reference(SpaceId),
    Breaker(&'a str),
    Budget(TenantId, &'a str),
    Settings,
    Tenant(TenantId),
    Policy(TenantId),
    Provider(&'a str),
    CacheClear(CacheClear),
}

/// The state after `update`, or `None` when it is older than what is held. A bad entry changes nothing: what was known of it
/// stays, even through a snapshot.
pub(crate) fn apply(held: &Snapshot, update: ConfigUpdate) -> Option<Snapshot> {
    if !update.snapshot && update.version <= held.version {
        return None;
    }
    if update.snapshot && update.version < held.version {
        // the database was restored from a backup, or the disk copy is another installation's
        tracing::warn!(held = held.version, version = update.version, "configuration went back in version");
    }
    let mut next = if update.snapshot { Snapshot::default() } else { held.clone() };
    next.version = update.version;
    for entry in update.entries {
        if let Err(error) = apply_entry(&mut next, held, entry) {
            tracing::error!(%error, version = update.version, "skipped a bad entry of the configuration");
        }
    }
    Some(next)
}

fn apply_entry(next: &mut Snapshot, held: &Snapshot, entry: ConfigEntry) -> Result<(), BadEntry> {
    let value = entry.value.ok_or(BadEntry("an entry without a value"))?;
    let key = identity_of(&value)?;
    if entry.removed {
        remove(next, &key);
        return Ok(());
    }
    put(next, &value).inspect_err(|_| keep(next, held, &key))
}

fn identity_of(value: &Value) -> Result<Identity<'_>, BadEntry> {
    let tenant = |text: &str| text.parse::<TenantId>().map_err(|_| BadEntry("a malformed tenant_id"));
    let agent = |text: &str| text.parse::<AgentId>().map_err(|_| BadEntry("a malformed agent_id"));
    Ok(match value {
        Value::Key(entry) => Identity::ApiKey(entry.id.parse().map_err(|_| BadEntry("a malformed key id"))?),
        Value::Agent(entry) => {
            let id = entry.agent.as_ref().map_or("", |agent| agent.agent_id.as_str());
            Identity::Agent(tenant(&entry.tenant_id)?, agent(id)?)
        }
        Value::Model(model) if model.id.is_empty() => return Err(BadEntry("a model without an id")),
        Value::Model(model) => Identity::Model(&model.id),
        Value::Pin(pin) => Identity::Pin(tenant(&pin.tenant_id)?, agent(&pin.agent_id)?, &pin.task_type),
        Value::Reference(reference) => Identity::Reference(
            reference.space_id.parse().map_err(|_| BadEntry("a reference of a malformed space"))?,
        ),
        Value::Breaker(order) if order.deployment.is_empty() => {
            return Err(BadEntry("a breaker order without a deployment"));
        }
        Value::Breaker(order) => Identity::Breaker(&order.deployment),
        Value::Budget(entry) => {
            let id = entry.budget.as_ref().map_or("", |budget| budget.id.as_str());
            if id.is_empty() {
                return Err(BadEntry("a budget without an id"));
            }
            Identity::Budget(tenant(&entry.tenant_id)?, id)
        }
        Value::Settings(_) => Identity::Settings,
        Value::Tenant(entry) => Identity::Tenant(tenant(&entry.tenant_id)?),
        Value::Policy(entry) => Identity::Policy(tenant(&entry.tenant_id)?),
        Value::Provider(provider) => Identity::Provider(provider_entry::name(provider)?),
        Value::CacheClear(clear) => Identity::CacheClear(CacheClear::read(clear)?),
    })
}

fn remove(next: &mut Snapshot, key: &Identity<'_>) {
    match key {
        Identity::ApiKey(id) => next.remove_key(id),
        Identity::Agent(tenant, agent) => next.remove_agent(*tenant, agent),
        Identity::Model(id) => next.remove_model(id),
        Identity::Pin(tenant, agent, task_type) => next.remove_pin(*tenant, agent, task_type),
        Identity::Reference(space) => next.remove_reference(space),
        Identity::Breaker(deployment) => next.remove_breaker_order(deployment),
        Identity::Budget(tenant, id) => next.remove_budget(*tenant, id),
        Identity::Settings => next.put_settings(None),
        Identity::Tenant(id) => next.remove_tenant(*id),
        Identity::Policy(tenant) => next.remove_pii_policy(*tenant),
        Identity::Provider(name) => next.remove_provider(name),
        Identity::CacheClear(clear) => next.remove_cache_clear(clear),
    }
}

fn put(next: &mut Snapshot, value: &Value) -> Result<(), BadEntry> {
    match (value, identity_of(value)?) {
        (Value::Key(entry), Identity::ApiKey(id)) => next.put_key(key_record(id, entry)?),
        (Value::Agent(entry), Identity::Agent(tenant, id)) => {
            let agent = entry.agent.clone().ok_or(BadEntry("an agent without a configuration"))?;
            next.put_agent(tenant, id, Arc::new(agent));
        }
        (Value::Model(model), _) => {
            if !(1..=SpaceId::MAX_DIMENSIONS).contains(&model.native_dimensions) || model.family.is_empty() {
                return Err(BadEntry("a model without a family or dimensions"));
            }
            next.put_model(Arc::new(model.clone()));
        }
        (Value::Pin(pin), Identity::Pin(tenant, agent, task_type)) => {
            let space = pin.space_id.parse().map_err(|_| BadEntry("a pin to a malformed space"))?;
            next.put_pin(tenant, agent, task_type.to_owned(), Pinned { space, model: pin.model.clone() });
        }
        (Value::Reference(reference), Identity::Reference(space)) => {
            let read = SpaceReference::read(&space, reference)?;
            next.put_reference(space, Arc::new(read));
        }
        (Value::Breaker(order), Identity::Breaker(deployment)) => {
            next.put_breaker_order(deployment, BreakerOrder::read(order)?);
        }
        (Value::Budget(entry), Identity::Budget(tenant, _)) => {
            let budget = entry.budget.clone().ok_or(BadEntry("a budget without its limit"))?;
            check_budget(&budget)?;
            next.put_budget(tenant, Arc::new(budget));
        }
        (Value::Settings(entry), _) => next.put_settings(Some(Arc::new(RunSettings::read(entry)?))),
        (Value::Tenant(entry), Identity::Tenant(id)) => next.put_tenant(id, Arc::new(entry.clone())),
        (Value::Policy(entry), Identity::Policy(tenant)) => {
            let policy = entry.pii.clone().ok_or(BadEntry("a policy without its content"))?;
            next.put_pii_policy(tenant, Arc::new(policy));
        }
        (Value::Provider(provider), Identity::Provider(name)) => {
            provider_entry::check(provider)?;
            next.put_provider(name, Arc::new(provider.clone()));
        }
        (Value::CacheClear(order), Identity::CacheClear(clear)) => next.put_cache_clear(clear, order.number),
        _ => return Err(BadEntry("an entry that is not what its key says")),
    }
    Ok(())
}

/// A budget that cannot be obeyed must not pass for one: nobody would be limited by it.
fn check_budget(budget: &v1::BudgetRule) -> Result<(), BadEntry> {
    if budget.limit_nano_usd < 0 {
        return Err(BadEntry("a budget with a limit below 0"));
    }
    if !matches!(budget.scope.as_str(), "tenant" | "agent" | "key" | "provider") {
        return Err(BadEntry("a budget of an unknown scope"));
    }
    if (budget.scope == "tenant") != budget.subject.is_empty() {
        return Err(BadEntry("a budget of nobody"));
    }
    if !matches!(budget.period.as_str(), "day" | "month" | "request") {
        return Err(BadEntry("a budget of an unknown period"));
    }
    Ok(())
}

fn keep(next: &mut Snapshot, held: &Snapshot, key: &Identity<'_>) {
    match key {
        Identity::ApiKey(id) => {
            if let Some(record) = held.key(id) {
                next.put_key(record.clone());
            }
        }
        Identity::Agent(tenant, id) => {
            if let Some(agent) = held.registered_agent(*tenant, id) {
                next.put_agent(*tenant, id.clone(), Arc::clone(agent));
            }
        }
        Identity::Model(id) => {
            if let Some(model) = held.model(id) {
                next.put_model(Arc::clone(model));
            }
        }
        Identity::Pin(tenant, agent, task_type) => {
            if let Some(pin) = held.pin(*tenant, agent, task_type) {
                next.put_pin(*tenant, agent.clone(), (*task_type).to_owned(), pin.clone());
            }
        }
        Identity::Reference(space) => {
            if let Some(reference) = held.reference(space) {
                next.put_reference(space.clone(), Arc::clone(reference));
            }
        }
        Identity::Breaker(deployment) => {
            if let Some(order) = held.breaker_order(deployment) {
                next.put_breaker_order(deployment, order);
            }
        }
        Identity::Budget(tenant, id) => {
            if let Some(budget) = held.budgets(*tenant).find(|budget| budget.id == *id) {
                next.put_budget(*tenant, Arc::clone(budget));
            }
        }
        Identity::Settings => next.put_settings(held.settings().cloned()),
        Identity::Tenant(id) => {
            if let Some(entry) = held.tenant(*id) {
                next.put_tenant(*id, Arc::clone(entry));
            }
        }
        Identity::Policy(tenant) => {
            if let Some(policy) = held.pii_policy(*tenant) {
                next.put_pii_policy(*tenant, Arc::clone(policy));
            }
        }
        Identity::Provider(name) => {
            if let Some(provider) = held.provider(name) {
                next.put_provider(name, Arc::clone(provider));
            }
        }
        Identity::CacheClear(clear) => {
            if let Some(number) = held.cache_clear(clear) {
                next.put_cache_clear(clear.clone(), number);
            }
        }
    }
}

fn key_record(id: KeyId, entry: &KeyEntry) -> Result<KeyRecord, BadEntry> {
    let tenant = entry.tenant_id.parse().map_err(|_| BadEntry("a key with a malformed tenant_id"))?;
    let agent = match entry.agent_id.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| BadEntry("a key with a malformed agent_id"))?),
    };
    let scopes = Scopes::parse(entry.scopes.iter().map(String::as_str));
    let scopes = scopes.map_err(|_| BadEntry("a key with an unknown scope"))?;
    let expires_at = match &entry.expires_at {
        None => None,
        Some(time) => Some(system_time(time).ok_or(BadEntry("a key with a malformed expires_at"))?),
    };
    Ok(KeyRecord {
        hash: KeyHash::from_slice(&entry.hash).map_err(|_| BadEntry("a key with a malformed hash"))?,
        principal: Principal { tenant, key: id, agent, scopes },
        expires_at,
        revoked: entry.revoked,
        rotation_due: entry.rotation_due,
    })
}

fn system_time(time: &prost_types::Timestamp) -> Option<SystemTime> {
    let (seconds, nanos) = (u64::try_from(time.seconds).ok()?, u32::try_from(time.nanos).ok()?);
    (nanos < 1_000_000_000).then_some(())?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// The whole state as the one message that would bring it about.
pub(crate) fn to_update(snapshot: &Snapshot) -> ConfigUpdate {
    let keys = snapshot.keys().map(|record| Value::Key(key_entry(record)));
    let agents = snapshot.agents().map(|(tenant, agent)| {
        Value::Agent(AgentEntry { tenant_id: tenant.to_string(), agent: Some(v1::Agent::clone(agent)) })
    });
    let models = snapshot.models().map(|model| Value::Model(v1::CatalogModel::clone(model)));
    let pins = snapshot.pins().map(|(tenant, agent, task_type, pin)| {
        Value::Pin(Pin {
            tenant_id: tenant.to_string(),
            agent_id: agent.to_string(),
            task_type: task_type.to_owned(),
            space_id: pin.space.to_string(),
            model: pin.model.clone(),
        })
    });
    let references = snapshot.references().map(|(space, reference)| Value::Reference(reference.write(space)));
    let orders = snapshot.breaker_orders().map(|(deployment, order)| Value::Breaker(order.write(deployment)));
    let budgets = snapshot.all_budgets().map(|(tenant, budget)| {
        let budget = Some(v1::BudgetRule::clone(budget));
        Value::Budget(BudgetEntry { tenant_id: tenant.to_string(), budget })
    });
    let settings = snapshot.settings().map(|settings| Value::Settings(settings.write()));
    let tenants = snapshot.tenants.values().map(|entry| Value::Tenant(TenantEntry::clone(entry)));
    let policies = snapshot.pii_policies.iter().map(|(tenant, policy)| {
        let pii = Some(v1::PiiPolicy::clone(policy));
        Value::Policy(PolicyEntry { tenant_id: tenant.to_string(), pii })
    });
    let providers = snapshot.providers().map(|provider| Value::Provider(SealedProvider::clone(provider)));
    let values = keys.chain(agents).chain(models).chain(pins).chain(references).chain(orders).chain(budgets);
    let clears = snapshot.cache_clears().map(|(clear, number)| Value::CacheClear(clear.write(number)));
    let values = values.chain(settings).chain(tenants).chain(policies).chain(providers).chain(clears);
    ConfigUpdate {
        version: snapshot.version,
        snapshot: true,
        entries: values.map(|value| ConfigEntry { removed: false, value: Some(value) }).collect(),
    }
}

fn key_entry(record: &KeyRecord) -> KeyEntry {
    KeyEntry {
        id: record.principal.key.to_string(),
        tenant_id: record.principal.tenant.to_string(),
        hash: record.hash.as_bytes().to_vec().into(),
        scopes: record.principal.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        agent_id: record.principal.agent.as_ref().map_or_else(String::new, ToString::to_string),
        expires_at: record.expires_at.map(prost_types::Timestamp::from),
        revoked: record.revoked,
        rotation_due: record.rotation_due,
    }
}

#[cfg(test)]
pub(crate) mod tests;
