//! The calls of the API. Not configuration: no version, no stream, no audit chain.

use std::time::SystemTime;

use embermesh_postgres::DbError;
use embermesh_types::{NanoUsd, TenantId};
use uuid::Uuid;

use super::Store;

/// Calls of one tenant, in columns.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) keys: Vec<String>,
    pub(crate) users: Vec<String>,
    pub(crate) methods: Vec<String>,
    pub(crate) endpoints: Vec<String>,
    pub(crate) statuses: Vec<i16>,
    /// Nano-USD.
    pub(crate) costs: Vec<i64>,
    pub(crate) times: Vec<SystemTime>,
}

impl Calls {
    pub(crate) fn push(&mut self, call: Call) {
        self.keys.push(call.key);
        self.users.push(call.user);
        self.methods.push(call.method);
        self.endpoints.push(call.endpoint);
        self.statuses.push(call.status);
        self.costs.push(call.cost.0);
        self.times.push(call.at);
    }
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: String,
    pub(crate) user: String,
    pub(crate) method: String,
    pub(crate) endpoint: String,
    pub(crate) status: i16,
    pub(crate) cost: NanoUsd,
    pub(crate) at: SystemTime,
}

/// A batch of a gateway's journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) session: Uuid,
    pub(crate) number: i64,
}

impl Store {
    /// Keeps a tenant's calls of a batch, unless they are kept already; returns how many rows were written. There must be partitions
    /// for them.
    pub(crate) async fn keep_calls(
        &self,
        tenant: TenantId,
        place: Place,
        share: f32,
        calls: &Calls,
        now: SystemTime,
    ) -> Result<u64, DbError> {
        let sql = "WITH new AS (
                 INSERT INTO api_request_journals AS j (tenant_id, session_id, last_batch, kept_at) VALUES ($1::uuid, $2::uuid, $3::bigint, $4::timestamptz)
                 ON CONFLICT (tenant_id, session_id)
                     DO UPDATE SET last_batch = excluded.last_batch, kept_at = excluded.kept_at
                     WHERE j.last_batch < excluded.last_batch
                 RETURNING 1
             )
             INSERT INTO api_requests (tenant_id, api_key_id, user_id, method, endpoint, status, cost_usd, created_at, share)
             SELECT $1::uuid, c.key, c.who, c.method, c.endpoint, c.status, c.nano_usd * 0.000000001::numeric, c.at, $12::real
             FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], $10::bigint[], $11::timestamptz[])
                 AS c (key, who, method, endpoint, status, nano_usd, at)
             WHERE EXISTS (SELECT FROM new)";
        let Place { session, number } = place;
        let Calls { keys, users, methods, endpoints, statuses, costs, times } = calls;
        self.tenant(tenant)
            .execute(
                sql,
                &[
                    &tenant.uuid(),
                    &session,
                    &number,
                    &now,
                    keys,
                    users,
                    methods,
                    endpoints,
                    statuses,
                    costs,
                    times,
                    &share,
                ],
            )
            .await
    }

    /// Makes the monthly partitions from `first` to `last` that are missing; returns how many.
    pub(crate) async fn make_request_partitions(
        &self,
        first: SystemTime,
        last: SystemTime,
    ) -> Result<i32, DbError> {
        let sql = "SELECT make_request_partitions($1, $2)";
        let rows = self.database.system().execute_returning(sql, &[&first, &last]).await?;
        rows.first().map_or(Err(DbError::RowCount(0)), |row| Ok(row.try_get(0)?))
    }

    /// Drops the months that end before `before`; returns how many.
    pub(crate) async fn drop_request_partitions(&self, before: SystemTime) -> Result<i32, DbError> {
        let sql = "SELECT drop_request_partitions($1)";
        let rows = self.database.system().execute_returning(sql, &[&before]).await?;
        rows.first().map_or(Err(DbError::RowCount(0)), |row| Ok(row.try_get(0)?))
    }
}
