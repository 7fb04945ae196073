//! The rows of leases: locked by everybody who changes them, in one order.

use std::{collections::BTreeSet, time::SystemTime};

use embermesh_escrow::{Account, Path, Quota, Scope};
use embermesh_postgres::{DbError, Row, Transaction, together, types::ToSql};
use embermesh_types::TenantId;
use uuid::Uuid;

use super::{
    Store,
    rows::{parsed, unreadable},
};
use crate::domain::{
    books::Kept,
    ids::{LeaseId, SessionId},
    lease::{Lease, LeaseState},
};

/// A lease that is to be returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CalledBack {
    pub(crate) tenant: TenantId,
    pub(crate) lease: LeaseId,
}

/// Locks those of the leases that the books hold, and what is not closed of the sessions', until the transaction ends.
pub(crate) async fn lock(
    transaction: &Transaction,
    tenant: TenantId,
    asked: &BTreeSet<LeaseId>,
    sessions: &[SessionId],
) -> Result<Vec<Lease>, DbError> {
    let mut ids: BTreeSet<Uuid> = asked.iter().map(|id| id.uuid()).collect();
    if !sessions.is_empty() {
        let sql = "SELECT lease_id FROM leases WHERE tenant_id = $1 AND session_id = ANY ($2) AND state <> 'closed'";
        let sessions: Vec<Uuid> = sessions.iter().map(|session| session.uuid()).collect();
        let rows = transaction.query(sql, &[&tenant.uuid(), &sessions]).await?;
        for row in &rows {
            ids.insert(row.try_get(0)?);
        }
    }
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT l.* FROM unnest($2::uuid[]) AS asked (lease_id),
        LATERAL (SELECT lease_id, session_id, agent_id, key_id, provider, quota, day, granted, spent, under_way, returned, state,
                        closing, told, recovered
                 FROM leases WHERE tenant_id = $1 AND lease_id = asked.lease_id FOR UPDATE) AS l";
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let rows = transaction.query(sql, &[&tenant.uuid(), &ids]).await?;
    rows.iter().map(lease).collect()
}

/// Writes the new ones and the changes.
pub(crate) async fn write(
    transaction: &Transaction,
    tenant: TenantId,
    leases: &[Kept],
    now: SystemTime,
) -> Result<(), DbError> {
    let (new, changed): (Vec<_>, Vec<_>) = leases.iter().partition(|kept| kept.before.is_none());
    insert(transaction, tenant, &new, now).await?;
    update(transaction, tenant, &changed).await
}

async fn insert(
    transaction: &Transaction,
    tenant: TenantId,
    new: &[&Kept],
    now: SystemTime,
) -> Result<(), DbError> {
    if new.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO leases (tenant_id, lease_id, session_id, agent_id, key_id, provider, quota, day, granted, spent, state,
            closing, under_way, granted_at)
        SELECT $1, l.*, $12::timestamptz
        FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::bigint[], $10::bigint[],
            $11::text[], $13::boolean[], $14::bigint[]) AS l";
    let of = |column: fn(&Path) -> Option<&str>| -> Vec<Option<&str>> {
        new.iter().map(|kept| column(&kept.now.path)).collect()
    };
    let ids: Vec<Uuid> = new.iter().map(|kept| kept.now.id.uuid()).collect();
    let sessions: Vec<Uuid> = new.iter().map(|kept| kept.now.session.uuid()).collect();
    let days: Vec<_> = new.iter().map(|kept| kept.now.day).collect();
    let granted: Vec<i64> = new.iter().map(|kept| kept.now.granted).collect();
    let spent: Vec<i64> = new.iter().map(|kept| kept.now.spent).collect();
    let states: Vec<&str> = new.iter().map(|kept| kept.now.state.as_str()).collect();
    let under_way: Vec<i64> = new.iter().map(|kept| kept.now.under_way).collect();
    let closing: Vec<bool> = new.iter().map(|kept| kept.now.closing).collect();
    let written = transaction
        .execute(
            sql,
            &[
                &tenant.uuid(),
                &ids,
                &sessions,
                &of(|path| if let Path::Money { agent, .. } = path { Some(agent.as_str()) } else { None }),
                &of(|path| if let Path::Money { key, .. } = path { Some(key.as_str()) } else { None }),
                &of(|path| if let Path::Money { provider, .. } = path { Some(provider) } else { None }),
                &of(|path| if let Path::Quota(quota) = path { Some(quota.as_str()) } else { None }),
                &days,
                &granted,
                &spent,
                &states,
                &now,
                &closing,
                &under_way,
            ],
        )
        .await?;
    super::batch::all(written, new.len())
}

/// A statement for each, which a join would not be faster than.
async fn update(transaction: &Transaction, tenant: TenantId, changed: &[&Kept]) -> Result<(), DbError> {
    let sql =
        "UPDATE leases SET spent = $3, under_way = $4, returned = $5, state = $6, closing = $7, told = $8
               WHERE tenant_id = $1 AND lease_id = $2";
    let tenant = tenant.uuid();
    let update = async |lease: &Lease| {
        let (id, state) = (lease.id.uuid(), lease.state.as_str());
        let Lease { spent, under_way, returned, closing, told, .. } = lease;
        let parameters: [&(dyn ToSql + Sync); 8] =
            [&tenant, &id, spent, under_way, returned, &state, closing, told];
        super::batch::all(transaction.execute(sql, &parameters).await?, 1)
    };
    together(changed.iter().map(|kept| update(&kept.now))).await.map(drop)
}

impl Store {
    /// Marks every open lease that counts in one of a tenant's accounts as called back.
    pub(crate) async fn call_back(&self, tenant: TenantId, accounts: &[Account]) -> Result<(), DbError> {
        let sql = "UPDATE leases SET called_back = true
            WHERE tenant_id = $1 AND state <> 'closed' AND state = 'open' AND NOT called_back
              AND ($2 AND quota IS NULL OR agent_id = ANY ($3) OR key_id = ANY ($4) OR provider = ANY ($5) OR quota = ANY ($6))";
        let of = |scope: Scope| -> Vec<&str> {
            let own = accounts.iter().filter(|account| account.scope == scope);
            own.map(|account| account.subject.as_str()).collect()
        };
        let all = !of(Scope::Tenant).is_empty();
        let quotas: Vec<&str> = accounts
            .iter()
            .filter_map(
                |account| if let Scope::Quota(quota) = account.scope { Some(quota.as_str()) } else { None },
            )
            .collect();
        let parameters: [&(dyn ToSql + Sync); 6] =
            [&tenant.uuid(), &all, &of(Scope::Agent), &of(Scope::Key), &of(Scope::Provider), &quotas];
        self.database.tenant(tenant.uuid()).execute(sql, &parameters).await.map(drop)
    }

    /// Every lease of a session that is called back and not closed.
    pub(crate) async fn called_back(&self, session: SessionId) -> Result<Vec<CalledBack>, DbError> {
        let sql = "SELECT tenant_id, lease_id FROM leases WHERE session_id = $1 AND state <> 'closed' AND called_back";
        let all = self.database.system().with("app.all_tenants", "on");
        let rows = all.query(sql, &[&session.uuid()]).await?;
        rows.iter()
            .map(|row| {
                Ok(CalledBack {
                    tenant: TenantId::new(row.try_get("tenant_id")?),
                    lease: LeaseId::new(row.try_get("lease_id")?),
                })
            })
            .collect()
    }
}

fn lease(row: &Row) -> Result<Lease, DbError> {
    let state: &str = row.try_get("state")?;
    let path = match row.try_get::<_, Option<&str>>("quota")? {
        Some(quota) => Path::Quota(Quota::parse(quota).ok_or_else(|| unreadable("quota"))?),
        None => Path::Money {
            agent: parsed(row, "agent_id")?,
            key: parsed(row, "key_id")?,
            provider: row.try_get("provider")?,
        },
    };
    Ok(Lease {
        id: LeaseId::new(row.try_get("lease_id")?),
        session: SessionId::new(row.try_get("session_id")?),
        path,
        day: row.try_get("day")?,
        granted: row.try_get("granted")?,
        spent: row.try_get("spent")?,
        under_way: row.try_get("under_way")?,
        returned: row.try_get("returned")?,
        state: LeaseState::parse(state).ok_or_else(|| unreadable("state"))?,
        closing: row.try_get("closing")?,
        told: row.try_get("told")?,
        recovered: row.try_get("recovered")?,
    })
}
