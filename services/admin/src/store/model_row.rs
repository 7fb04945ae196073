//! Rows of the catalog: a model with its prices, in and out.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row, types::ToSql};
use embermesh_proto::v1::{CatalogModel, Price};

use super::{change::Change, timestamp};
use crate::domain::shipped::{Release, Shipped, form};

/// Reads models, each with its prices in the order of their dates.
pub(crate) const SELECT: &str = "SELECT id, family, revision, native_dimensions, allowed_dimensions, any_dimensions,
        max_input_tokens, max_batch, max_batch_tokens, tokenizer, distinguishes_input_type, provider_kinds,
        provider_names::text, matryoshka, normalized, quality, quality_source, modality, shipped::text, shipped_in, priced.*
    FROM models CROSS JOIN LATERAL (
        SELECT array_agg(effective_from) AS effective, array_agg(per_million_tokens_nano_usd) AS amounts,
            array_agg(source) AS sources, array_agg(provider) AS providers, array_agg(unit) AS units
        FROM (SELECT * FROM prices WHERE model_id = models.id ORDER BY effective_from, provider) AS of_model
    ) AS priced";

/// Of the models that [`SELECT`] reads, those that are not retired.
pub(crate) const IN_USE: &str = "retired_at IS NULL";

const INSERT: &str = "INSERT INTO models (id, family, revision, native_dimensions, allowed_dimensions, any_dimensions,
        max_input_tokens, max_batch, max_batch_tokens, tokenizer, distinguishes_input_type, provider_kinds, provider_names,
        matryoshka, normalized, quality, quality_source, modality, shipped, shipped_in, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text::jsonb, $14, $15, $16, $17, $18, $19::text::json, $20,
        $21)";

/// Everything but what makes the space.
const RENEW: &str = "SET allowed_dimensions = excluded.allowed_dimensions, any_dimensions = excluded.any_dimensions,
        max_input_tokens = excluded.max_input_tokens, max_batch = excluded.max_batch,
        max_batch_tokens = excluded.max_batch_tokens, tokenizer = excluded.tokenizer, provider_kinds = excluded.provider_kinds,
        provider_names = excluded.provider_names, matryoshka = excluded.matryoshka, normalized = excluded.normalized,
        quality = excluded.quality, quality_source = excluded.quality_source, modality = excluded.modality,
        shipped = excluded.shipped, shipped_in = excluded.shipped_in";

/// What to do with a model whose id is there already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Present {
    Keep,
    Renew,
}

/// Writes the model without its prices; `shipped` when it comes with a release. Returns how many rows that changed.
pub(crate) async fn put_model(
    change: &Change,
    model: &CatalogModel,
    shipped: Option<Release>,
    present: Present,
    now: SystemTime,
) -> Result<u64, DbError> {
    let allowed: Vec<i32> = model.allowed_dimensions.iter().copied().map(signed).collect();
    let names = json(&model.provider_names)?;
    let (form, release) = match shipped {
        Some(Release(parts)) => (Some(json(&form(model))?), Some(parts.to_vec())),
        None => (None, None),
    };
    let parameters: [&(dyn ToSql + Sync); 21] = [
        &model.id,
        &model.family,
        &model.revision,
        &signed(model.native_dimensions),
        &allowed,
        &model.any_dimensions,
        &signed(model.max_input_tokens),
        &signed(model.max_batch),
        &signed(model.max_batch_tokens),
        &model.tokenizer,
        &model.distinguishes_input_type,
        &model.provider_kinds,
        &names,
        &model.matryoshka,
        &model.normalized,
        &model.quality,
        &model.quality_source,
        &model.modality,
        &form,
        &release,
        &now,
    ];
    let sql = match present {
        Present::Keep => format!("{INSERT} ON CONFLICT DO NOTHING"),
        Present::Renew => format!("{INSERT} ON CONFLICT (id) DO UPDATE {RENEW}"),
    };
    change.execute(&sql, &parameters).await
}

/// Adds an operator's price. Returns how many rows that made.
pub(crate) async fn insert_price(
    change: &Change,
    model: &str,
    price: &Price,
    now: SystemTime,
) -> Result<u64, DbError> {
    let sql = "INSERT INTO prices (model_id, effective_from, per_million_tokens_nano_usd, source, provider, unit, created_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let amount = price.per_million_tokens_nano_usd;
    let from = effective(price, now);
    change.execute(sql, &[&model, &from, &amount, &price.source, &price.provider, &price.unit, &now]).await
}

/// Adds a price that came with a release, unless an operator has said what that provider charges, or every provider.
pub(crate) async fn insert_shipped_price(
    change: &Change,
    model: &str,
    price: &Price,
    now: SystemTime,
) -> Result<u64, DbError> {
    let sql = "INSERT INTO prices (model_id, effective_from, per_million_tokens_nano_usd, source, provider, unit, created_at,
                   shipped)
               SELECT $1::text, $2::timestamptz, $3::bigint, $4::text, $5::text, $6::text, $7::timestamptz, true
               WHERE NOT EXISTS (
                   SELECT FROM prices WHERE model_id = $1 AND NOT shipped AND provider IN ('', $5)
               )
               ON CONFLICT DO NOTHING";
    let amount = price.per_million_tokens_nano_usd;
    let from = effective(price, now);
    change.execute(sql, &[&model, &from, &amount, &price.source, &price.provider, &price.unit, &now]).await
}

/// When a price begins to hold.
fn effective(price: &Price, now: SystemTime) -> SystemTime {
    price.effective_from.and_then(|time| SystemTime::try_from(time).ok()).unwrap_or(now)
}

/// Reads a row of [`SELECT`].
pub(crate) fn model_of(row: &Row) -> Result<CatalogModel, DbError> {
    let number = |name: &str| -> Result<u32, DbError> {
        Ok(u32::try_from(row.try_get::<_, i32>(name)?).unwrap_or_default())
    };
    let allowed: Vec<i32> = row.try_get("allowed_dimensions")?;
    let names: &str = row.try_get("provider_names")?;
    Ok(CatalogModel {
        id: row.try_get("id")?,
        family: row.try_get("family")?,
        revision: row.try_get("revision")?,
        native_dimensions: number("native_dimensions")?,
        allowed_dimensions: allowed.into_iter().filter_map(|d| u32::try_from(d).ok()).collect(),
        any_dimensions: row.try_get("any_dimensions")?,
        max_input_tokens: number("max_input_tokens")?,
        max_batch: number("max_batch")?,
        max_batch_tokens: number("max_batch_tokens")?,
        tokenizer: row.try_get("tokenizer")?,
        distinguishes_input_type: row.try_get("distinguishes_input_type")?,
        provider_kinds: row.try_get("provider_kinds")?,
        provider_names: serde_json::from_str(names).map_err(|error| {
            DbError::Protocol(format!("a model's provider_names are unreadable at {}", error.column()))
        })?,
        matryoshka: row.try_get("matryoshka")?,
        normalized: row.try_get("normalized")?,
        quality: row.try_get("quality")?,
        quality_source: row.try_get("quality_source")?,
        modality: row.try_get("modality")?,
        prices: prices_of(row)?,
    })
}

/// How a release shipped the model of a row of [`SELECT`], if one did.
pub(crate) fn shipped_of(row: &Row) -> Result<Option<Shipped>, DbError> {
    let (Some(form), Some(release)) =
        (row.try_get::<_, Option<&str>>("shipped")?, row.try_get::<_, Option<Vec<i32>>>("shipped_in")?)
    else {
        return Ok(None);
    };
    let release =
        release.try_into().map_err(|_| DbError::Protocol("a release has three parts".to_owned()))?;
    Ok(Some(Shipped { form: serde_json::from_str(form).ok(), release: Release(release) }))
}

fn prices_of(row: &Row) -> Result<Vec<Price>, DbError> {
    // without prices the aggregates are null
    let texts = |name: &str| -> Result<Vec<String>, DbError> {
        Ok(row.try_get::<_, Option<_>>(name)?.unwrap_or_default())
    };
    let effective: Vec<SystemTime> = row.try_get::<_, Option<_>>("effective")?.unwrap_or_default();
    let amounts: Vec<i64> = row.try_get::<_, Option<_>>("amounts")?.unwrap_or_default();
    let money = effective.into_iter().zip(amounts);
    let words = texts("sources")?.into_iter().zip(texts("providers")?).zip(texts("units")?);
    Ok(money
        .zip(words)
        .map(|((from, amount), ((source, provider), unit))| Price {
            per_million_tokens_nano_usd: Some(amount),
            effective_from: timestamp(from),
            source,
            provider,
            unit,
        })
        .collect())
}

pub(super) fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, DbError> {
    serde_json::to_string(value)
        .map_err(|error| DbError::Protocol(format!("a model cannot be written: {error}")))
}
