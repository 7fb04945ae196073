//! What the configuration stream reads: everything, or what changed since a version. Of all tenants.

use std::{collections::BTreeSet, time::SystemTime};

use embermesh_postgres::{DbError, Row, Transaction};
use embermesh_proto::{
    internal::v1::{
        AgentEntry, BreakerOrder, BudgetEntry, CacheClear, ConfigEntry, KeyEntry, Pin, PolicyEntry,
        Reference, SealedProvider, Section, SettingsEntry, TenantEntry, config_entry::Value,
    },
    v1::{Agent, BudgetRule, CatalogModel, ProviderEntry},
};
use uuid::Uuid;

use super::{
    Store, agents, breakers, budgets, cache_clears, model_row, pii_policies, pins, providers, references,
    settings, tenants, timestamp,
};

/// An entry and the section that it is of.
pub(crate) type Entry = (Section, ConfigEntry);

/// Reads a row of one of the statements below.
type Read = fn(&Row) -> Result<Value, DbError>;

const KEYS: &str =
    "SELECT id, tenant_id, hash, scopes, agent_id, expires_at, revoked_at IS NOT NULL AS revoked,
    rotation_due_at IS NOT NULL AS rotation_due FROM api_keys";
const AGENTS: &str = "SELECT tenant_id, agent_id, version, config::text, created_at, updated_at FROM agents";
const PINS: &str = "SELECT tenant_id, agent_id, task_type, space_id, model FROM pins";

impl Store {
    /// The version of the last change.
    pub(crate) async fn version(&self) -> Result<i64, DbError> {
        Ok(self.all_tenants().query_one("SELECT version FROM change_counter", &[]).await?.try_get(0)?)
    }

    /// The state of `sections` at one instant. Revoked keys are left out: nobody accepts a key that it does not know.
    pub(crate) async fn snapshot(&self, sections: &[Section]) -> Result<(i64, Vec<Entry>), DbError> {
        let all = self.all_tenants().begin().await?;
        let version = all.query_one("SELECT version FROM change_counter", &[]).await?.try_get(0)?;
        let mut entries = Vec::new();
        for section in sections {
            let (sql, read): (_, Read) = match section {
                Section::Keys => (format!("{KEYS} WHERE revoked_at IS NULL"), key),
                Section::Agents => (AGENTS.to_owned(), agent),
                Section::Catalog => (format!("{} WHERE {}", model_row::SELECT, model_row::IN_USE), model),
                Section::Pins => (PINS.to_owned(), pin),
                Section::References => (references::IN_FORCE.to_owned(), reference),
                Section::Breakers => (breakers::SELECT.to_owned(), breaker),
                Section::Budgets => (format!("SELECT tenant_id, {} FROM budgets", budgets::COLUMNS), budget),
                Section::Settings => (settings::SELECT.to_owned(), settings),
                Section::Tenants => (tenants::EVERY.to_owned(), tenant),
                Section::Policies => (pii_policies::SELECT.to_owned(), policy),
                Section::Providers => (providers::SELECT.to_owned(), provider),
                Section::CacheClears => (cache_clears::SELECT.to_owned(), cache_clear),
                Section::Unspecified => continue,
            };
            for row in all.query(&sql, &[]).await? {
                entries.push((*section, put(read(&row)?)));
            }
        }
        all.rollback().await?;
        Ok((version, entries))
    }

    /// Every entry that changed after `version`, as it is now, and the version that this brings a reader to. `None` when nothing
    /// changed.
    pub(crate) async fn changes_after(&self, version: i64) -> Result<Option<(i64, Vec<Entry>)>, DbError> {
        let sql = "SELECT version, section, key FROM changes WHERE version > $1";
        let now = self.all_tenants().begin().await?;
        let rows = now.query(sql, &[&version]).await?;
        let mut reached = version;
        let mut changed: BTreeSet<(i16, Vec<String>)> = BTreeSet::new();
        for row in rows {
            reached = reached.max(row.try_get("version")?);
            changed.insert((row.try_get("section")?, row.try_get("key")?));
        }
        let mut entries = Vec::with_capacity(changed.len());
        for (section, key) in &changed {
            let section = Section::try_from(i32::from(*section)).unwrap_or_default();
            match entry(&now, section, key).await? {
                Some(entry) => entries.push((section, entry)),
                None => tracing::error!(
                    section = section.as_str_name(),
                    "a recorded change is of an unknown form"
                ),
            }
        }
        now.rollback().await?;
        Ok((reached > version).then_some((reached, entries)))
    }
}

/// The entry as it is now, or its removal.
async fn entry(now: &Transaction, section: Section, key: &[String]) -> Result<Option<ConfigEntry>, DbError> {
    let uuid = |text: &str| text.parse::<Uuid>().unwrap_or_default();
    let (row, read, gone): (_, Read, _) = match (section, key) {
        (Section::Keys, [id]) => (
            now.query_opt(&format!("{KEYS} WHERE id = $1"), &[id]).await?,
            self::key,
            Value::Key(KeyEntry { id: id.clone(), ..KeyEntry::default() }),
        ),
        (Section::Agents, [tenant_id, id]) => {
            let sql = format!("{AGENTS} WHERE tenant_id = $1 AND agent_id = $2");
            let agent = Agent { agent_id: id.clone(), ..Agent::default() };
            let gone = AgentEntry { tenant_id: tenant_id.clone(), agent: Some(agent) };
            (now.query_opt(&sql, &[&uuid(tenant_id), id]).await?, self::agent, Value::Agent(gone))
        }
        (Section::Catalog, [id]) => (
            now.query_opt(&format!("{} WHERE id = $1 AND {}", model_row::SELECT, model_row::IN_USE), &[id])
                .await?,
            model,
            Value::Model(CatalogModel { id: id.clone(), ..CatalogModel::default() }),
        ),
        (Section::Pins, [tenant_id, agent_id, task_type]) => {
            let sql = format!("{PINS} WHERE tenant_id = $1 AND agent_id = $2 AND task_type = $3");
            let gone = Pin {
                tenant_id: tenant_id.clone(),
                agent_id: agent_id.clone(),
                task_type: task_type.clone(),
                ..Pin::default()
            };
            (now.query_opt(&sql, &[&uuid(tenant_id), agent_id, task_type]).await?, pin, Value::Pin(gone))
        }
        (Section::References, [space_id]) => (
            now.query_opt(&format!("{} AND space_id = $1", references::IN_FORCE), &[space_id]).await?,
            reference,
            Value::Reference(Reference { space_id: space_id.clone(), ..Reference::default() }),
        ),
        (Section::Breakers, [deployment]) => (
            now.query_opt(&format!("{} WHERE deployment = $1", breakers::SELECT), &[deployment]).await?,
            breaker,
            Value::Breaker(BreakerOrder { deployment: deployment.clone(), ..BreakerOrder::default() }),
        ),
        (Section::Budgets, [tenant_id, id]) => {
            let sql = format!(
                "SELECT tenant_id, {} FROM budgets WHERE tenant_id = $1 AND id = $2",
                budgets::COLUMNS
            );
            let budget = BudgetRule { id: id.clone(), ..BudgetRule::default() };
            let gone = BudgetEntry { tenant_id: tenant_id.clone(), budget: Some(budget) };
            (now.query_opt(&sql, &[&uuid(tenant_id), &uuid(id)]).await?, self::budget, Value::Budget(gone))
        }
        (Section::Settings, []) => {
            let gone = Value::Settings(SettingsEntry::default());
            (now.query_opt(settings::SELECT, &[]).await?, self::settings, gone)
        }
        (Section::Tenants, [tenant_id]) => {
            let sql = format!("{} WHERE tenant_id = $1", tenants::EVERY);
            let gone = TenantEntry { tenant_id: tenant_id.clone(), ..TenantEntry::default() };
            (now.query_opt(&sql, &[&uuid(tenant_id)]).await?, tenant, Value::Tenant(gone))
        }
        (Section::Policies, [tenant_id]) => {
            let sql = format!("{} WHERE tenant_id = $1", pii_policies::SELECT);
            let gone = PolicyEntry { tenant_id: tenant_id.clone(), pii: None };
            (now.query_opt(&sql, &[&uuid(tenant_id)]).await?, policy, Value::Policy(gone))
        }
        (Section::Providers, [name]) => {
            let entry = ProviderEntry { name: name.clone(), ..ProviderEntry::default() };
            let gone = SealedProvider { entry: Some(entry), ..SealedProvider::default() };
            let sql = format!("{} WHERE name = $1", providers::SELECT);
            (now.query_opt(&sql, &[name]).await?, provider, Value::Provider(gone))
        }
        (Section::CacheClears, [tenant_id, agent_id, space_id]) => {
            let sql =
                format!("{} WHERE tenant_id = $1 AND agent_id = $2 AND space_id = $3", cache_clears::SELECT);
            let tenant = uuid(tenant_id);
            let gone = CacheClear {
                tenant_id: if tenant.is_nil() { String::new() } else { tenant_id.clone() },
                agent_id: agent_id.clone(),
                space_id: space_id.clone(),
                number: 0,
            };
            (now.query_opt(&sql, &[&tenant, agent_id, space_id]).await?, cache_clear, Value::CacheClear(gone))
        }
        _ => return Ok(None),
    };
    match row {
        Some(row) => read(&row).map(put).map(Some),
        None => Ok(Some(ConfigEntry { removed: true, value: Some(gone) })),
    }
}

fn put(value: Value) -> ConfigEntry {
    ConfigEntry { removed: false, value: Some(value) }
}

fn key(row: &Row) -> Result<Value, DbError> {
    Ok(Value::Key(KeyEntry {
        id: row.try_get("id")?,
        tenant_id: row.try_get::<_, Uuid>("tenant_id")?.to_string(),
        hash: row.try_get::<_, Vec<u8>>("hash")?.into(),
        scopes: row.try_get("scopes")?,
        agent_id: row.try_get::<_, Option<String>>("agent_id")?.unwrap_or_default(),
        expires_at: row.try_get::<_, Option<SystemTime>>("expires_at")?.and_then(timestamp),
        revoked: row.try_get("revoked")?,
        rotation_due: row.try_get("rotation_due")?,
    }))
}

fn agent(row: &Row) -> Result<Value, DbError> {
    let tenant_id = row.try_get::<_, Uuid>("tenant_id")?.to_string();
    Ok(Value::Agent(AgentEntry { tenant_id, agent: Some(agents::agent(row)?) }))
}

fn model(row: &Row) -> Result<Value, DbError> {
    model_row::model_of(row).map(Value::Model)
}

fn pin(row: &Row) -> Result<Value, DbError> {
    pins::pin_of(row).map(Value::Pin)
}

fn reference(row: &Row) -> Result<Value, DbError> {
    references::reference_of(row).map(Value::Reference)
}

fn breaker(row: &Row) -> Result<Value, DbError> {
    breakers::order_of(row).map(Value::Breaker)
}

fn cache_clear(row: &Row) -> Result<Value, DbError> {
    cache_clears::clear_of(row).map(Value::CacheClear)
}

fn settings(row: &Row) -> Result<Value, DbError> {
    settings::entry_of(row).map(Value::Settings)
}

fn budget(row: &Row) -> Result<Value, DbError> {
    let tenant_id = row.try_get::<_, Uuid>("tenant_id")?.to_string();
    Ok(Value::Budget(BudgetEntry { tenant_id, budget: Some(budgets::budget_of(row)?) }))
}

fn tenant(row: &Row) -> Result<Value, DbError> {
    tenants::entry_of(row).map(Value::Tenant)
}

fn policy(row: &Row) -> Result<Value, DbError> {
    pii_policies::entry_of(row).map(Value::Policy)
}

fn provider(row: &Row) -> Result<Value, DbError> {
    providers::provider_of(row).map(Value::Provider)
}
