//! References: what fixed texts look like in a space. Of each set of texts the first one recorded holds; of several sets the one
//! recorded last is streamed. Belong to no tenant.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::internal::v1::{Reference, Section};
use embermesh_types::{SpaceId, TenantId};
use serde_json::{Value, json};

use super::{
    Store,
    change::{Change, Changed, OwnRecord},
};

/// Reads what is in force of every space; goes on with AND.
pub(crate) const IN_FORCE: &str =
    "SELECT space_id, texts_version, vectors, deployment FROM space_references AS held
    WHERE recorded_in = (SELECT max(recorded_in) FROM space_references WHERE space_id = held.space_id)";

const OF_TEXTS: &str = "SELECT space_id, texts_version, vectors, deployment FROM space_references
    WHERE space_id = $1 AND texts_version = $2";

impl Store {
    /// Records `reference` unless its texts have one in the space; returns the one that holds, and whether it is new.
    pub(crate) async fn record_reference(
        &self,
        space: &SpaceId,
        reference: &Reference,
        now: SystemTime,
    ) -> Result<(Reference, bool), DbError> {
        let (space, texts) = (space.as_str(), reference.texts_version.as_str());
        // reading needs no lock
        let held = self.database.system().query_opt(OF_TEXTS, &[&space, &texts]).await?;
        if let Some(row) = held {
            return Ok((reference_of(&row)?, false));
        }
        let change = Change::begin(self.tenant(TenantId::SYSTEM)).await?;
        let insert = "INSERT INTO space_references (space_id, texts_version, vectors, deployment, recorded_in, recorded_at)
                      VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
        let vectors: Vec<&[u8]> = reference.vectors.iter().map(AsRef::as_ref).collect();
        let parameters: [&(dyn embermesh_postgres::types::ToSql + Sync); 6] =
            [&space, &texts, &vectors, &reference.deployment, &change.version(), &now];
        if change.execute(insert, &parameters).await? == 0 {
            let row = change.query_one(OF_TEXTS, &[&space, &texts]).await?;
            return Ok((reference_of(&row)?, false));
        }
        change.touch(Section::References, None, &[space]).await?;
        let details = json!({"texts_version": texts, "deployment": reference.deployment});
        change.record_own(&own("reference.record", space, now, details)).await?;
        change.commit().await?;
        Ok((reference.clone(), true))
    }

    /// Forgets what was recorded of the space, so that the next reference wins; `None` when there was nothing.
    pub(crate) async fn drop_reference(
        &self,
        space: &SpaceId,
        now: SystemTime,
    ) -> Result<Option<Changed<()>>, DbError> {
        let change = Change::begin(self.tenant(TenantId::SYSTEM)).await?;
        let delete = "DELETE FROM space_references WHERE space_id = $1";
        if change.execute(delete, &[&space.as_str()]).await? == 0 {
            return Ok(None);
        }
        change.touch(Section::References, None, &[space.as_str()]).await?;
        change.record_own(&own("reference.drop", space.as_str(), now, json!({}))).await?;
        Ok(Some(Changed { made: (), version: change.commit().await? }))
    }
}

fn own<'a>(action: &'static str, subject: &'a str, at: SystemTime, details: Value) -> OwnRecord<'a> {
    OwnRecord { tenant: TenantId::SYSTEM, at, action, subject, details }
}

/// Reads a row of `space_id, texts_version, vectors, deployment`.
pub(crate) fn reference_of(row: &Row) -> Result<Reference, DbError> {
    let vectors: Vec<Vec<u8>> = row.try_get("vectors")?;
    Ok(Reference {
        space_id: row.try_get("space_id")?,
        texts_version: row.try_get("texts_version")?,
        vectors: vectors.into_iter().map(Into::into).collect(),
        deployment: row.try_get("deployment")?,
    })
}
