//! The catalog as operators read it and add to it: models and their price versions. Shared by all tenants.

use std::collections::HashSet;

use embermesh_postgres::DbError;
use embermesh_proto::{
    internal::v1::Section,
    v1::{CatalogModel, Price},
};
use embermesh_types::NanoUsd;
use serde_json::{Value, json};

use super::{
    Store,
    change::{Author, Change, Changed, NewRecord},
    model_row::{IN_USE, Present, SELECT, insert_price, model_of, put_model},
};
use crate::domain::page::Page;

/// Names the list in page tokens.
pub(crate) const LIST: &str = "catalog";

/// What adding to the catalog came to.
pub(crate) enum Added {
    /// It is there now; the model as it stands.
    Model(Box<Changed<CatalogModel>>),
    /// There was one already.
    Duplicate,
    /// There was one, which is retired.
    Retired,
    /// The model to add to does not exist.
    NoSuchModel,
}

/// Those of `ids` that the catalog holds.
pub(super) async fn known_models(change: &Change, ids: &[&str]) -> Result<HashSet<String>, DbError> {
    // PostgreSQL refuses NUL, which no id has
    let ids: Vec<&str> = ids.iter().copied().filter(|id| !id.contains('\0')).collect();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = "SELECT id FROM models WHERE id = ANY ($1) AND retired_at IS NULL";
    change.query(sql, &[&ids]).await?.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

impl Store {
    pub(crate) async fn create_model(
        &self,
        model: &CatalogModel,
        author: Author<'_>,
    ) -> Result<Added, DbError> {
        let now = author.at;
        let change = Change::begin(self.tenant(author.tenant)).await?;
        if put_model(&change, model, None, Present::Keep, now).await? == 0 {
            let retired = "SELECT FROM models WHERE id = $1 AND retired_at IS NOT NULL";
            let retired = change.query_opt(retired, &[&model.id]).await?.is_some();
            return Ok(if retired { Added::Retired } else { Added::Duplicate });
        }
        for price in &model.prices {
            if insert_price(&change, &model.id, price, now).await? == 0 {
                return Ok(Added::Duplicate);
            }
        }
        let prices: Vec<Value> = model.prices.iter().map(terms).collect();
        let details =
            json!({"family": model.family, "provider_kinds": model.provider_kinds, "prices": prices});
        commit(change, &author.did("model.create", &model.id, details)).await
    }

    pub(crate) async fn add_price(
        &self,
        id: &str,
        price: &Price,
        author: Author<'_>,
    ) -> Result<Added, DbError> {
        let change = Change::begin(self.tenant(author.tenant)).await?;
        let held = format!("SELECT FROM models WHERE id = $1 AND {IN_USE}");
        if change.query_opt(&held, &[&id]).await?.is_none() {
            return Ok(Added::NoSuchModel);
        }
        if insert_price(&change, id, price, author.at).await? == 0 {
            return Ok(Added::Duplicate);
        }
        commit(change, &author.did("price.add", id, terms(price))).await
    }

    pub(crate) async fn model(&self, id: &str) -> Result<Option<CatalogModel>, DbError> {
        let sql = format!("{SELECT} WHERE id = $1 AND {IN_USE}");
        self.database.system().query_opt(&sql, &[&id]).await?.map(|row| model_of(&row)).transpose()
    }

    /// A page in the order of the ids, and the token of the next one.
    pub(crate) async fn models(
        &self,
        page: &Page<1>,
    ) -> Result<(Vec<CatalogModel>, Option<String>), DbError> {
        let after = page.after.as_ref().map(|[id]| id);
        let sql = format!("{SELECT} WHERE id > coalesce($1, '') AND {IN_USE} ORDER BY id LIMIT $2");
        let rows = self.database.system().query(&sql, &[&after, &page.limit()]).await?;
        let mut models = rows.iter().map(model_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut models, |model| [model.id.clone()]);
        Ok((models, next))
    }
}

async fn commit(change: Change, record: &NewRecord<'_>) -> Result<Added, DbError> {
    let id = record.subject;
    change.record(record).await?;
    change.touch(Section::Catalog, None, &[id]).await?;
    let row = change.query_one(&format!("{SELECT} WHERE id = $1"), &[&id]).await?;
    let version = change.commit().await?;
    Ok(Added::Model(Box::new(Changed { made: model_of(&row)?, version })))
}

/// What a record says of a price.
fn terms(price: &Price) -> Value {
    // a JSON number would pass through a float
    let amount = price.per_million_tokens_nano_usd.map(|nanos| NanoUsd(nanos).to_string());
    let from = price.effective_from.as_ref().map(ToString::to_string);
    json!({
        "per_million_tokens_usd": amount, "unit": price.unit, "provider": price.provider,
        "effective_from": from, "source": price.source,
    })
}
