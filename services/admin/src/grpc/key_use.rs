//! `KeyUse`.

use std::{collections::BTreeMap, time::SystemTime};

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    ReportKeyUseReply, ReportKeyUseRequest, UsedKey, key_use_server::KeyUse,
};
use embermesh_types::{KeyId, TenantId};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::store::failed;

/// Gateways send less at a time.
const MOST_KEYS: usize = 10_000;

#[tonic::async_trait]
impl KeyUse for Handler {
    async fn report(
        &self,
        request: Request<ReportKeyUseRequest>,
    ) -> Result<Response<ReportKeyUseReply>, Status> {
        let keys = request.into_inner().keys;
        if keys.len() > MOST_KEYS {
            return Err(Error::invalid("keys", format!("at most {MOST_KEYS} at a time")).into());
        }
        let now = self.0.clock.now();
        for (tenant, used) in by_tenant(keys) {
            self.0.store.note_use(tenant, &used, now).await.map_err(failed)?;
        }
        Ok(Response::new(ReportKeyUseReply {}))
    }
}

/// The last use of each key. What cannot be a key is passed over, like a key that is unknown.
fn by_tenant(keys: Vec<UsedKey>) -> BTreeMap<TenantId, BTreeMap<KeyId, SystemTime>> {
    let mut tenants: BTreeMap<TenantId, BTreeMap<KeyId, SystemTime>> = BTreeMap::new();
    for UsedKey { tenant_id, key_id, last_used_at } in keys {
        let at = last_used_at.and_then(|time| SystemTime::try_from(time).ok());
        let (Ok(tenant), Ok(key), Some(at)) = (tenant_id.parse(), key_id.parse(), at) else { continue };
        let last = tenants.entry(tenant).or_default().entry(key).or_insert(at);
        *last = at.max(*last);
    }
    tenants
}
