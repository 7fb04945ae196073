//! The catalog that comes with each release, and how it reaches a database that holds an earlier one.
//!
//! At every start, before anything is served:
//! - a model whose id the database does not know is added;
//! - a model that a release put there is brought to what this release says, if the row still is what was put there. The row keeps
//!   that beside itself (`shipped`, with the release in `shipped_in`), so that a change made in the database is noticed and stays.
//!   What makes the space (family, revision, native length, input types) never changes: vectors may be stored in it;
//! - a release never undoes a later one, so that old and new replicas may restart in any order during an update;
//! - a model that an operator added under an id which is shipped later stays the operator's, prices included;
//! - missing prices are added, but not for a provider that an operator has priced (at its kind, or at all kinds at once): who has
//!   negotiated a price must not be billed the public one after an update.

use std::{collections::HashMap, time::SystemTime};

use embermesh_postgres::DbError;
use embermesh_proto::{
    internal::v1::Section,
    v1::{CatalogModel, Price},
};
use embermesh_types::TenantId;
use serde_json::json;

use super::{
    Store,
    change::{Change, OwnRecord},
    model_row::{Present, SELECT, insert_shipped_price, model_of, put_model, shipped_of},
};
use crate::domain::{
    model::completed,
    shipped::{Held, Release, Verdict, judge},
};

const CATALOG: &str = include_str!("../../catalog/models.json");

/// The models that this release ships.
pub(crate) fn seed() -> Result<Vec<CatalogModel>, serde_json::Error> {
    let models: Vec<CatalogModel> = serde_json::from_str(CATALOG)?;
    Ok(models.into_iter().map(completed).collect())
}

impl Store {
    /// Brings the database to what `release` ships as `models`. Returns how many models that changed.
    pub(crate) async fn ship(
        &self,
        models: &[CatalogModel],
        release: Release,
        now: SystemTime,
    ) -> Result<u64, DbError> {
        let tenant = TenantId::SYSTEM;
        let change = Change::begin(self.tenant(tenant)).await?;
        let held = held(&change, models).await?;
        let mut changed = Vec::new();
        for model in models {
            if ship_one(&change, model, held.get(&model.id), release, now).await? > 0 {
                change.touch(Section::Catalog, None, &[&model.id]).await?;
                changed.push(model.id.as_str());
            }
        }
        if !changed.is_empty() {
            let (action, subject) = ("catalog.ship", release.to_string());
            let details = json!({"models": changed});
            change.record_own(&OwnRecord { tenant, at: now, action, subject: &subject, details }).await?;
            change.commit().await?;
            tracing::info!(%release, models = changed.len(), "brought the catalog up to date");
        }
        Ok(changed.len() as u64)
    }
}

async fn held(change: &Change, models: &[CatalogModel]) -> Result<HashMap<String, Held>, DbError> {
    let ids: Vec<&str> = models.iter().map(|model| model.id.as_str()).collect();
    let rows = change.query(&format!("{SELECT} WHERE id = ANY ($1)"), &[&ids]).await?;
    let read = |row| {
        let model = model_of(row)?;
        Ok((model.id.clone(), Held { model, shipped: shipped_of(row)? }))
    };
    rows.iter().map(read).collect()
}

/// Returns how many rows that changed.
async fn ship_one(
    change: &Change,
    model: &CatalogModel,
    held: Option<&Held>,
    release: Release,
    now: SystemTime,
) -> Result<u64, DbError> {
    let id = model.id.as_str();
    let mut changed = match held.map(|held| judge(held, model, release)) {
        None => put_model(change, model, Some(release), Present::Keep, now).await?,
        Some(Verdict::Renew) => put_model(change, model, Some(release), Present::Renew, now).await?,
        Some(Verdict::Current) => 0,
        Some(Verdict::Theirs) => return Ok(0),
        Some(Verdict::Touched) => {
            tracing::info!(model = id, %release, "a model was changed in the database and is not renewed");
            0
        }
        Some(Verdict::OtherSpace) => {
            tracing::error!(model = id, %release, "the catalog names another space for a model, which stays as it is");
            return Ok(0);
        }
    };
    let known = held.map_or(&[][..], |held| &held.model.prices);
    for price in model.prices.iter().filter(|price| !known.iter().any(|held| same(held, price))) {
        changed += insert_shipped_price(change, id, price, now).await?;
    }
    Ok(changed)
}

fn same(one: &Price, other: &Price) -> bool {
    (&one.provider, &one.effective_from) == (&other.provider, &other.effective_from)
}

#[cfg(test)]
mod tests;
