//! When keys were last used. Not configuration: no version, no stream, no audit.

use std::{collections::BTreeMap, time::SystemTime};

use embermesh_postgres::DbError;
use embermesh_types::{KeyId, TenantId};

use super::Store;

impl Store {
    /// Notes when keys of a tenant were last used, none later than `now`. A note moves forward only, and by a minute or more, so a
    /// row is written once a minute at most, however many gateways report it. Returns the number of rows written.
    pub(crate) async fn note_use(
        &self,
        tenant: TenantId,
        used: &BTreeMap<KeyId, SystemTime>,
        now: SystemTime,
    ) -> Result<u64, DbError> {
        let (ids, times): (Vec<&str>, Vec<SystemTime>) =
            used.iter().map(|(id, at)| (id.as_str(), (*at).min(now))).unzip();
        // locked in one order, because two gateways may report the same keys at once
        let sql = "WITH due AS (
                 SELECT k.id, u.at
                 FROM api_keys k JOIN unnest($1::text[], $2::timestamptz[]) AS u (id, at) ON u.id = k.id
                 WHERE k.last_used_at IS NULL OR u.at >= k.last_used_at + interval '1 minute'
                 ORDER BY k.id FOR UPDATE OF k
             )
             UPDATE api_keys SET last_used_at = due.at FROM due WHERE api_keys.id = due.id";
        self.tenant(tenant).execute(sql, &[&ids, &times]).await
    }
}
