//! Changing a model of the catalog, and taking it out of use.

use embermesh_postgres::DbError;
use embermesh_proto::{internal::v1::Section, v1::CatalogModel};
use serde_json::json;

use super::{
    Store,
    change::{Author, Change, Changed},
    model_row::{IN_USE, SELECT, model_of, signed},
};

/// A change of one model, with what is there now.
pub(crate) struct ModelChange {
    change: Change,
    pub(crate) current: CatalogModel,
    pub(crate) retired: bool,
}

impl Store {
    /// `None` when there never was such a model. Sees the agents and pins of every tenant.
    pub(crate) async fn change_model(
        &self,
        author: Author<'_>,
        id: &str,
    ) -> Result<Option<ModelChange>, DbError> {
        let change = Change::begin(self.tenant(author.tenant).with("app.all_tenants", "on")).await?;
        let Some(row) = change.query_opt(&format!("{SELECT} WHERE id = $1"), &[&id]).await? else {
            return Ok(None);
        };
        let current = model_of(&row)?;
        let in_use = format!("SELECT FROM models WHERE id = $1 AND {IN_USE}");
        let retired = change.query_opt(&in_use, &[&id]).await?.is_none();
        Ok(Some(ModelChange { change, current, retired }))
    }
}

impl ModelChange {
    /// Leaves everything as it is.
    pub(crate) fn leave(self) -> Changed<CatalogModel> {
        Changed { version: self.change.version() - 1, made: self.current }
    }

    /// Puts `next` in force; a retired model is back then.
    pub(crate) async fn put(
        self,
        next: &CatalogModel,
        author: Author<'_>,
    ) -> Result<Changed<CatalogModel>, DbError> {
        let sql = "UPDATE models SET allowed_dimensions = $2, max_input_tokens = $3, max_batch = $4, max_batch_tokens = $5,
                       tokenizer = $6, provider_kinds = $7, provider_names = $8::text::jsonb, quality = $9,
                       quality_source = $10, retired_at = NULL
                   WHERE id = $1";
        let allowed: Vec<i32> = next.allowed_dimensions.iter().copied().map(signed).collect();
        let names = json!(next.provider_names).to_string();
        self.change
            .execute(
                sql,
                &[
                    &next.id,
                    &allowed,
                    &signed(next.max_input_tokens),
                    &signed(next.max_batch),
                    &signed(next.max_batch_tokens),
                    &next.tokenizer,
                    &next.provider_kinds,
                    &names,
                    &next.quality,
                    &next.quality_source,
                ],
            )
            .await?;
        let details = json!({
            "allowed_dimensions": next.allowed_dimensions, "max_input_tokens": next.max_input_tokens,
            "max_batch": next.max_batch, "max_batch_tokens": next.max_batch_tokens, "tokenizer": next.tokenizer,
            "provider_kinds": next.provider_kinds, "provider_names": next.provider_names, "quality": next.quality,
            "was_retired": self.retired,
        });
        self.change.record(&author.did("model.update", &next.id, details)).await?;
        self.finish().await
    }

    /// Who names the model, such as `agent docs`; the first ten. Models that stored vectors were asked for by name are in no
    /// configuration, and not here.
    pub(crate) async fn users(&self) -> Result<Vec<String>, DbError> {
        let sql = "SELECT 'pin of agent ' || agent_id AS used_by FROM pins WHERE model = $1
                   UNION
                   SELECT 'agent ' || agent_id FROM agents,
                       json_array_elements(
                           CASE json_typeof(config -> 'model_preferences')
                               WHEN 'array' THEN config -> 'model_preferences' ELSE '[]'::json END
                       ) AS preference
                   WHERE (preference -> 'primary_models')::jsonb ? $1 OR (preference -> 'fallback_models')::jsonb ? $1
                   UNION
                   SELECT 'tenant ' || name FROM tenants
                   WHERE closed_at IS NULL AND ($1 = ANY (allowed_models) OR $1 = ANY (default_models))
                   ORDER BY used_by LIMIT 10";
        let rows = self.change.query(sql, &[&self.current.id]).await?;
        rows.iter().map(|row| Ok(row.try_get("used_by")?)).collect()
    }

    /// Takes the model out of use.
    pub(crate) async fn retire(self, author: Author<'_>) -> Result<Changed<CatalogModel>, DbError> {
        let sql = "UPDATE models SET retired_at = $2 WHERE id = $1";
        self.change.execute(sql, &[&self.current.id, &author.at]).await?;
        let details = json!({"family": self.current.family});
        self.change.record(&author.did("model.retire", &self.current.id, details)).await?;
        self.finish().await
    }

    async fn finish(self) -> Result<Changed<CatalogModel>, DbError> {
        let id = self.current.id.as_str();
        self.change.touch(Section::Catalog, None, &[id]).await?;
        let row = self.change.query_one(&format!("{SELECT} WHERE id = $1"), &[&id]).await?;
        Ok(Changed { made: model_of(&row)?, version: self.change.commit().await? })
    }
}
