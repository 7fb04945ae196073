//! The last order about each deployment's circuit breaker. Belong to no tenant: providers are the installation's.

use embermesh_postgres::{DbError, Row};
use embermesh_proto::internal::v1::{BreakerOrder, Section};
use serde_json::json;

use super::{
    Store,
    change::{Author, Change},
};
use crate::domain::breakers::Order;

/// Reads every order.
pub(crate) const SELECT: &str = "SELECT deployment, action, number FROM breaker_orders";

impl Store {
    /// Replaces what was ordered about the deployments before; returns the version that holds the order. It is the order's
    /// number too: versions grow.
    pub(crate) async fn order_breakers(&self, order: &Order, author: Author<'_>) -> Result<i64, DbError> {
        let change = Change::begin(self.tenant(author.tenant)).await?;
        let sql = "INSERT INTO breaker_orders (deployment, action, number, ordered_by, ordered_at)
                   SELECT unnest($1::text[]), $2::text, $3::bigint, $4::text, $5::timestamptz
                   ON CONFLICT (deployment) DO UPDATE SET action = excluded.action, number = excluded.number,
                       ordered_by = excluded.ordered_by, ordered_at = excluded.ordered_at";
        let deployments: Vec<&str> = order.deployments.iter().map(String::as_str).collect();
        let number = change.version();
        change.execute(sql, &[&deployments, &order.action, &number, &author.by.as_str(), &author.at]).await?;
        let action = recorded_as(&order.action);
        for deployment in deployments {
            change.touch(Section::Breakers, None, &[deployment]).await?;
            change.record(&author.did(action, deployment, json!({}))).await?;
        }
        change.commit().await
    }
}

/// What the audit chain calls an order.
fn recorded_as(action: &str) -> &'static str {
    match action {
        "force_open" => "breaker.force_open",
        "force_closed" => "breaker.force_closed",
        _ => "breaker.reset",
    }
}

/// Reads a row of [`SELECT`].
pub(crate) fn order_of(row: &Row) -> Result<BreakerOrder, DbError> {
    Ok(BreakerOrder {
        deployment: row.try_get("deployment")?,
        action: row.try_get("action")?,
        number: row.try_get("number")?,
    })
}
