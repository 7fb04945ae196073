//! The rows of leases: locked by everybody who changes them, in one order.

use std::{collections::BTreeSet, time::SystemTime};

use embermesh_escrow::{Account, Path, Scope};
use embermesh_postgres::{DbError, Row, Transaction, types::ToSql};
use embermesh_types::TenantId;
use futures::future::try_join_all;
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
        LATERAL (SELECT lease_id, session_id, agent_id, key_id, provider, day, granted, spent, under_way, returned, state, closing
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
    let sql = "INSERT INTO leases (tenant_id, lease_id, session_id, agent_id, key_id, provider, day, granted, granted_at)
        SELECT $1, l.*, $9::timestamptz
        FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::date[], $8::bigint[]) AS l";
    let of = |column: fn(&Lease) -> &str| -> Vec<&str> { new.iter().map(|kept| column(&kept.now)).collect() };
    let ids: Vec<Uuid> = new.iter().map(|kept| kept.now.id.uuid()).collect();
    let sessions: Vec<Uuid> = new.iter().map(|kept| kept.now.session.uuid()).collect();
    let days: Vec<_> = new.iter().map(|kept| kept.now.day).collect();
    let granted: Vec<i64> = new.iter().map(|kept| kept.now.granted).collect();
    let written = transaction
        .execute(
            sql,
            &[
                &tenant.uuid(),
                &ids,
                &sessions,
                &of(|lease| lease.path.agent.as_str()),
                &of(|lease| lease.path.key.as_str()),
                &of(|lease| &lease.path.provider),
                &days,
                &granted,
                &now,
            ],
        )
        .await?;
    super::batch::all(written, new.len())
}

/// A statement for each, which a join would not be faster than.
async fn update(transaction: &Transaction, tenant: TenantId, changed: &[&Kept]) -> Result<(), DbError> {
    let sql = "UPDATE leases SET spent = $3, under_way = $4, returned = $5, state = $6, closing = $7
               WHERE tenant_id = $1 AND lease_id = $2";
    let tenant = tenant.uuid();
    let update = async |lease: &Lease| {
        let (id, state) = (lease.id.uuid(), lease.state.as_str());
        let Lease { spent, under_way, returned, closing, .. } = lease;
        let parameters: [&(dyn ToSql + Sync); 7] =
            [&tenant, &id, spent, under_way, returned, &state, closing];
        super::batch::all(transaction.execute(sql, &parameters).await?, 1)
    };
    try_join_all(changed.iter().map(|kept| update(&kept.now))).await.map(drop)
}

impl Store {
    /// Marks every open lease that counts in one of a tenant's accounts as called back.
    pub(crate) async fn call_back(&self, tenant: TenantId, accounts: &[Account]) -> Result<(), DbError> {
        let sql = "UPDATE leases SET called_back = true
            WHERE tenant_id = $1 AND state <> 'closed' AND state = 'open' AND NOT called_back
              AND ($2 OR agent_id = ANY ($3) OR key_id = ANY ($4) OR provider = ANY ($5))";
        let of = |scope: Scope| -> Vec<&str> {
            let own = accounts.iter().filter(|account| account.scope == scope);
            own.map(|account| account.subject.as_str()).collect()
        };
        let all = !of(Scope::Tenant).is_empty();
        let parameters: [&(dyn ToSql + Sync); 5] =
            [&tenant.uuid(), &all, &of(Scope::Agent), &of(Scope::Key), &of(Scope::Provider)];
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
    let path = Path {
        agent: parsed(row, "agent_id")?,
        key: parsed(row, "key_id")?,
        provider: row.try_get("provider")?,
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
    })
}
