//! The catalog: models and their price versions. Shared by all tenants.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{
    internal::v1::Section,
    v1::{CatalogModel, Price},
};

use super::{
    Store,
    change::{Change, Changed},
    timestamp,
};
use crate::domain::page::Page;

/// Names the list in page tokens.
pub(crate) const LIST: &str = "catalog";

const SEED: &str = include_str!("../../catalog/models.json");

const COLUMNS: &str = "id, family, revision, native_dimensions, allowed_dimensions, any_dimensions, max_input_tokens, max_batch,
    tokenizer, distinguishes_input_type, provider_kinds,
    ARRAY(SELECT effective_from FROM prices WHERE model_id = id ORDER BY effective_from) AS effective,
    ARRAY(SELECT per_million_tokens_nano_usd FROM prices WHERE model_id = id ORDER BY effective_from) AS amounts,
    ARRAY(SELECT source FROM prices WHERE model_id = id ORDER BY effective_from) AS sources";

/// What adding to the catalog came to.
pub(crate) enum Added {
    /// It is there now; the model as it stands.
    Model(Changed<CatalogModel>),
    /// There was one already.
    Duplicate,
    /// The model to add to does not exist.
    NoSuchModel,
}

/// The models that Embermesh ships with.
pub(crate) fn seed() -> Result<Vec<CatalogModel>, serde_json::Error> {
    serde_json::from_str(SEED)
}

impl Store {
    /// Adds those models and prices of `seed` that are missing; what an operator has added or changed stays. Returns how many.
    pub(crate) async fn add_missing(&self, seed: &[CatalogModel], now: SystemTime) -> Result<u64, DbError> {
        let change = Change::begin(self.database.system()).await?;
        let mut added = 0;
        for model in seed {
            let mut new = insert_model(&change, model, now).await?;
            for price in &model.prices {
                new += insert_price(&change, &model.id, price, now).await?;
            }
            if new > 0 {
                change.touch(Section::Catalog, None, &[&model.id]).await?;
                added += new;
            }
        }
        if added > 0 {
            change.commit().await?;
        }
        Ok(added)
    }

    pub(crate) async fn create_model(&self, model: &CatalogModel, now: SystemTime) -> Result<Added, DbError> {
        let change = Change::begin(self.database.system()).await?;
        if insert_model(&change, model, now).await? == 0 {
            return Ok(Added::Duplicate);
        }
        for price in &model.prices {
            if insert_price(&change, &model.id, price, now).await? == 0 {
                return Ok(Added::Duplicate);
            }
        }
        commit(change, &model.id).await
    }

    pub(crate) async fn add_price(&self, id: &str, price: &Price, now: SystemTime) -> Result<Added, DbError> {
        let change = Change::begin(self.database.system()).await?;
        if change.query_opt("SELECT FROM models WHERE id = $1", &[&id]).await?.is_none() {
            return Ok(Added::NoSuchModel);
        }
        if insert_price(&change, id, price, now).await? == 0 {
            return Ok(Added::Duplicate);
        }
        commit(change, id).await
    }

    pub(crate) async fn model(&self, id: &str) -> Result<Option<CatalogModel>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM models WHERE id = $1");
        self.database.system().query_opt(&sql, &[&id]).await?.map(|row| model_of(&row)).transpose()
    }

    /// A page in the order of the ids, and the token of the next one.
    pub(crate) async fn models(
        &self,
        page: &Page<1>,
    ) -> Result<(Vec<CatalogModel>, Option<String>), DbError> {
        let after = page.after.as_ref().map(|[id]| id);
        let sql = format!("SELECT {COLUMNS} FROM models WHERE id > coalesce($1, '') ORDER BY id LIMIT $2");
        let rows = self.database.system().query(&sql, &[&after, &page.limit()]).await?;
        let mut models = rows.iter().map(model_of).collect::<Result<Vec<_>, _>>()?;
        let next = page.cut(LIST, &mut models, |model| [model.id.clone()]);
        Ok((models, next))
    }
}

async fn commit(change: Change, id: &str) -> Result<Added, DbError> {
    change.touch(Section::Catalog, None, &[id]).await?;
    let row = change.query_one(&format!("SELECT {COLUMNS} FROM models WHERE id = $1"), &[&id]).await?;
    let version = change.commit().await?;
    Ok(Added::Model(Changed { made: model_of(&row)?, version }))
}

/// The statement that reads all models, or `only` those whose ids are its parameter.
pub(crate) fn select(only: bool) -> String {
    let filter = if only { "WHERE id = ANY ($1)" } else { "" };
    format!("SELECT {COLUMNS} FROM models {filter}")
}

async fn insert_model(change: &Change, model: &CatalogModel, now: SystemTime) -> Result<u64, DbError> {
    let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let allowed: Vec<i32> = model.allowed_dimensions.iter().copied().map(signed).collect();
    change
        .execute(
            "INSERT INTO models (id, family, revision, native_dimensions, allowed_dimensions, any_dimensions,
                 max_input_tokens, max_batch, tokenizer, distinguishes_input_type, provider_kinds, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            &[
                &model.id,
                &model.family,
                &model.revision,
                &signed(model.native_dimensions),
                &allowed,
                &model.any_dimensions,
                &signed(model.max_input_tokens),
                &signed(model.max_batch),
                &model.tokenizer,
                &model.distinguishes_input_type,
                &model.provider_kinds,
                &now,
            ],
        )
        .await
}

async fn insert_price(change: &Change, model: &str, price: &Price, now: SystemTime) -> Result<u64, DbError> {
    let from = price.effective_from.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(now);
    let amount = price.per_million_tokens_nano_usd;
    let source = if price.source.is_empty() { "given by an operator" } else { &price.source };
    let sql = "INSERT INTO prices (model_id, effective_from, per_million_tokens_nano_usd, source, created_at)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    change.execute(sql, &[&model, &from, &amount, &source, &now]).await
}

/// Reads a row of [`select`].
pub(crate) fn model_of(row: &Row) -> Result<CatalogModel, DbError> {
    let number = |name: &str| -> Result<u32, DbError> {
        Ok(u32::try_from(row.try_get::<_, i32>(name)?).unwrap_or_default())
    };
    let allowed: Vec<i32> = row.try_get("allowed_dimensions")?;
    let effective: Vec<SystemTime> = row.try_get("effective")?;
    let amounts: Vec<i64> = row.try_get("amounts")?;
    let sources: Vec<String> = row.try_get("sources")?;
    let prices = effective.into_iter().zip(amounts).zip(sources);
    Ok(CatalogModel {
        id: row.try_get("id")?,
        family: row.try_get("family")?,
        revision: row.try_get("revision")?,
        native_dimensions: number("native_dimensions")?,
        allowed_dimensions: allowed.into_iter().filter_map(|d| u32::try_from(d).ok()).collect(),
        any_dimensions: row.try_get("any_dimensions")?,
        max_input_tokens: number("max_input_tokens")?,
        max_batch: number("max_batch")?,
        tokenizer: row.try_get("tokenizer")?,
        distinguishes_input_type: row.try_get("distinguishes_input_type")?,
        provider_kinds: row.try_get("provider_kinds")?,
        prices: prices
            .map(|((from, amount), source)| Price {
                per_million_tokens_nano_usd: Some(amount),
                effective_from: timestamp(from),
                source,
            })
            .collect(),
    })
}
