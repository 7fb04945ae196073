//! The only SQL of the control plane.

pub(crate) mod agents;
pub(crate) mod anchors;
pub(crate) mod api_requests;
pub(crate) mod audit;
pub(crate) mod breakers;
pub(crate) mod budgets;
pub(crate) mod cache_clears;
pub(crate) mod catalog;
pub(crate) mod change;
pub(crate) mod config;
pub(crate) mod epoch;
pub(crate) mod first_keys;
pub(crate) mod key_use;
pub(crate) mod keys;
pub(crate) mod model_change;
pub(crate) mod model_row;
pub(crate) mod pii_policies;
pub(crate) mod pins;
pub(crate) mod providers;
pub(crate) mod references;
pub(crate) mod settings;
pub(crate) mod shipped;
pub(crate) mod tenants;

use std::time::SystemTime;

use embermesh_errors::Error;
use embermesh_postgres::{Database, DbError, Migration, Session};
use embermesh_types::TenantId;

/// Every migration of the schema, in order.
pub(crate) const MIGRATIONS: [Migration; 13] = [
    Migration {
        name: "V001__control_plane",
        sql: include_str!("../../../migrations/admin/V001__control_plane.sql"),
    },
    Migration {
        name: "V002__catalog_facts_and_deployments",
        sql: include_str!("../../../migrations/admin/V002__catalog_facts_and_deployments.sql"),
    },
    Migration { name: "V003__budgets", sql: include_str!("../../../migrations/admin/V003__budgets.sql") },
    Migration { name: "V004__audit", sql: include_str!("../../../migrations/admin/V004__audit.sql") },
    Migration {
        name: "V005__key_rotation",
        sql: include_str!("../../../migrations/admin/V005__key_rotation.sql"),
    },
    Migration {
        name: "V006__tenants_and_policies",
        sql: include_str!("../../../migrations/admin/V006__tenants_and_policies.sql"),
    },
    Migration { name: "V007__providers", sql: include_str!("../../../migrations/admin/V007__providers.sql") },
    Migration { name: "V008__settings", sql: include_str!("../../../migrations/admin/V008__settings.sql") },
    Migration {
        name: "V009__api_requests_and_handovers",
        sql: include_str!("../../../migrations/admin/V009__api_requests_and_handovers.sql"),
    },
    Migration {
        name: "V010__cache_clears",
        sql: include_str!("../../../migrations/admin/V010__cache_clears.sql"),
    },
    Migration { name: "V011__quotas", sql: include_str!("../../../migrations/admin/V011__quotas.sql") },
    Migration {
        name: "V012__moved_pins",
        sql: include_str!("../../../migrations/admin/V012__moved_pins.sql"),
    },
    Migration { name: "V013__retention", sql: include_str!("../../../migrations/admin/V013__retention.sql") },
];

/// Access to the schema `admin`. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    database: Database,
}

impl Store {
    pub(crate) fn new(database: Database) -> Self {
        Self { database }
    }

    fn tenant(&self, tenant: TenantId) -> Session<'_> {
        self.database.tenant(tenant.uuid())
    }

    /// Sees the rows of every tenant at one instant and can write none of them. For the configuration stream, whose subscribers
    /// are services, for the first start, which asks whether there is any tenant, and for the operator, who manages them; never for
    /// another client's call.
    fn all_tenants(&self) -> Session<'_> {
        self.database.system().with("app.all_tenants", "on").with("transaction_isolation", "repeatable read")
    }
}

/// What a caller is told of a failure in the database; the log gets the cause.
pub(crate) fn failed(error: DbError) -> Error {
    if error.is_retryable() || matches!(error, DbError::Cancelled(_)) {
        tracing::warn!(%error, "database is not available");
        return Error::unavailable("the configuration database is not available, try again");
    }
    tracing::error!(%error, "database operation failed");
    Error::internal("the configuration database refused an operation, see the log of admin")
}

pub(crate) fn timestamp(time: SystemTime) -> Option<prost_types::Timestamp> {
    Some(time.into())
}
