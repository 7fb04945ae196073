//! Changes of configuration: one at a time over all replicas, each with the next version and a record in the audit chain.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use embermesh_postgres::{DbError, Row, Session, Transaction, together, types::ToSql};
use embermesh_proto::internal::v1::Section;
use embermesh_types::{AgentId, KeyId, TenantId};
use futures::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use uuid::Uuid;

use super::audit;
use crate::domain::{
    audit_record::{AuditRecord, BEGINNING, micros},
    chain::Stored,
};

/// What a change has made.
#[derive(Debug)]
pub(crate) struct Changed<T> {
    pub(crate) made: T,
    /// The version from which on the stream holds it.
    pub(crate) version: i64,
}

/// What the audit chain is told of a change.
#[derive(Debug)]
pub(crate) struct NewRecord<'a> {
    pub(crate) tenant: TenantId,
    /// The key that made the change.
    pub(crate) by: &'a KeyId,
    pub(crate) at: SystemTime,
    /// Such as `agent.put`.
    pub(crate) action: &'static str,
    /// What was changed.
    pub(crate) subject: &'a str,
    /// An object. Never a secret, a text or a vector.
    pub(crate) details: Value,
}

/// Whose change it is, and when. Of what belongs to no tenant the record is in the chain of whoever changed it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Author<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) by: &'a KeyId,
    pub(crate) at: SystemTime,
}

impl<'a> Author<'a> {
    /// What the author did.
    pub(crate) const fn did(self, action: &'static str, subject: &'a str, details: Value) -> NewRecord<'a> {
        NewRecord { tenant: self.tenant, by: self.by, at: self.at, action, subject, details }
    }
}

/// What the system did by itself, for a tenant or, under [`TenantId::SYSTEM`], for everybody.
#[derive(Debug)]
pub(crate) struct OwnRecord<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) at: SystemTime,
    pub(crate) action: &'static str,
    pub(crate) subject: &'a str,
    pub(crate) details: Value,
}

/// An open change. It holds the lock on the version counter, so it sees no other change begin or end until it is committed;
/// dropping it undoes everything.
#[must_use = "a change that is not committed is undone"]
pub(crate) struct Change {
    transaction: Transaction,
    version: i64,
    /// Written all at once, right before the commit: the lock is held for fewer round trips.
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    touched: Vec<Touched>,
    records: Vec<Stored>,
}

/// An entry that the stream has to read again.
#[derive(Debug)]
struct Touched {
    section: i16,
    tenant: Option<Uuid>,
    key: Vec<String>,
}

impl Change {
    /// Waits for its turn.
    pub(crate) async fn begin(session: Session<'_>) -> Result<Self, DbError> {
        let transaction = session.begin().await?;
        let counter = "UPDATE change_counter SET version = version + 1 RETURNING version";
        let version = transaction.query_one(counter, &[]).await?.try_get(0)?;
        Ok(Self { transaction, version, pending: Mutex::default() })
    }

    /// Goes on with the rows of another tenant. What is recorded and touched goes to the tenants that it names all the same.
    pub(crate) async fn turn_to(&self, tenant: TenantId) -> Result<(), DbError> {
        self.turn_to_uuid(tenant.uuid()).await
    }

    async fn turn_to_uuid(&self, tenant: Uuid) -> Result<(), DbError> {
        let sql = "SELECT set_config('app.tenant', $1, true)";
        self.transaction.query_one(sql, &[&tenant.to_string()]).await.map(drop)
    }

    /// The version that it will have.
    pub(crate) const fn version(&self) -> i64 {
        self.version
    }

    /// Adds a record to the audit chain of `entry.tenant`, which must be the tenant of the session, unless that sees every tenant. A
    /// change without a record is not committed.
    pub(crate) async fn record(&self, entry: &NewRecord<'_>) -> Result<(), DbError> {
        let NewRecord { tenant, by, at, action, subject, details } = entry;
        self.append(*tenant, by.as_str(), *at, (action, subject), details).await
    }

    /// Adds a record of what no key asked for.
    pub(crate) async fn record_own(&self, entry: &OwnRecord<'_>) -> Result<(), DbError> {
        let OwnRecord { tenant, at, action, subject, details } = entry;
        self.append(*tenant, AgentId::SYSTEM, *at, (action, subject), details).await
    }

    async fn append(
        &self,
        tenant: TenantId,
        by: &str,
        at: SystemTime,
        (action, subject): (&str, &str),
        details: &Value,
    ) -> Result<(), DbError> {
        if !details.is_object() {
            return Err(DbError::Protocol(format!("the details of {action} are no object")));
        }
        let mine = |stored: &&Stored| stored.record.tenant == tenant;
        let before =
            self.pending().records.iter().rev().find(mine).map(|stored| (stored.record.number, stored.hash));
        let (last, previous) = match before {
            Some((number, hash)) => (number, hash.unwrap_or(BEGINNING)),
            // no other change is under way, so nobody else can add one
            None => audit::last(&self.transaction, tenant).await?.unwrap_or((0, BEGINNING)),
        };
        let record = AuditRecord {
            tenant,
            number: last + 1,
            at_micros: micros(at),
            by: by.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            details: details.to_string(),
        };
        self.pending().records.push(Stored::after(previous, record));
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the stream to read an entry again.
    pub(crate) async fn touch(
        &self,
        section: Section,
        tenant: Option<TenantId>,
        key: &[&str],
    ) -> Result<(), DbError> {
        let section = i16::try_from(i32::from(section)).unwrap_or_default();
        let key = key.iter().map(|part| (*part).to_owned()).collect();
        self.pending().touched.push(Touched { section, tenant: tenant.map(TenantId::uuid), key });
        Ok(())
    }

    /// Writes what is pending, in one round trip for each tenant that it is of; nearly always that is one.
    async fn flush(&self) -> Result<(), DbError> {
        let Pending { touched, records } = mem::take(&mut *self.pending());
        if records.is_empty() {
            return Err(DbError::Protocol("a change that nobody recorded is not made".to_owned()));
        }
        let of_records = records.iter().map(|stored| stored.record.tenant.uuid());
        let tenants: BTreeSet<Uuid> = touched.iter().filter_map(|one| one.tenant).chain(of_records).collect();
        if tenants.len() == 1 {
            return self.write(touched.iter(), records.iter()).await;
        }
        for tenant in &tenants {
            self.turn_to_uuid(*tenant).await?;
            // what is of no tenant can be written as any; it goes with the first
            let first = tenants.first() == Some(tenant);
            let touched = touched.iter().filter(|one| one.tenant.map_or(first, |own| own == *tenant));
            self.write(touched, records.iter().filter(|stored| stored.record.tenant.uuid() == *tenant))
                .await?;
        }
        Ok(())
    }

    async fn write<'a>(
        &self,
        touched: impl Iterator<Item = &'a Touched> + Send,
        records: impl Iterator<Item = &'a Stored> + Send,
    ) -> Result<(), DbError> {
        let sql = "INSERT INTO changes (version, section, tenant_id, key) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let touches = touched.map(async |Touched { section, tenant, key }| {
            self.execute(sql, &[&self.version, section, tenant, key]).await.map(drop)
        });
        let records = records.map(|stored| audit::insert(&self.transaction, stored));
        let all: [BoxFuture<'_, _>; 2] = [together(touches).boxed(), together(records).boxed()];
        together(all).await.map(drop)
    }

    pub(crate) async fn execute(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, DbError> {
        self.transaction.execute(sql, parameters).await
    }

    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        self.transaction.query(sql, parameters).await
    }

    pub(crate) async fn query_opt(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DbError> {
        self.transaction.query_opt(sql, parameters).await
    }

    pub(crate) async fn query_one(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, DbError> {
        self.transaction.query_one(sql, parameters).await
    }

    /// Makes it last; answers its version.
    ///
    /// # Errors
    /// Also when nothing was recorded: then it is undone.
    pub(crate) async fn commit(self) -> Result<i64, DbError> {
        self.flush().await?;
        self.transaction.commit().await?;
        Ok(self.version)
    }
}

#[cfg(test)]
mod tests;
