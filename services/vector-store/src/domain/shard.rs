//! Which shard a tenant's rows belong to.

use embermesh_types::TenantId;

/// In every primary key, so that tenants can be moved to other servers by shard. All rows of a tenant are in one.
pub(crate) type ShardKey = i16;

/// One of 16, from the random end of the tenant's id. Numbers from 1,000 up are kept for tenants with a server of their own.
pub(crate) fn of(tenant: TenantId) -> ShardKey {
    i16::from(tenant.uuid().as_bytes()[15] & 0xf)
}
