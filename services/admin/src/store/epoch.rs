//! How new the configuration is, for subscribers that cannot tell a quiet stream from a broken one.

use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::{Epoch, Section};

use super::Store;

impl Store {
    /// The versions of the last change of `sections` and of the last change of anything, at one instant. Read from the tables: what
    /// would feed the stream may be what is broken.
    pub(crate) async fn epoch(&self, sections: &[Section]) -> Result<Epoch, DbError> {
        // one look at the end of the index for each section, however many changes there ever were
        let sql = "SELECT (SELECT version FROM change_counter) AS last_version, coalesce(max(newest.version), 0) AS version
                   FROM unnest($1::smallint[]) AS wanted (section)
                   CROSS JOIN LATERAL (
                       SELECT version FROM changes WHERE changes.section = wanted.section
                       ORDER BY version DESC LIMIT 1
                   ) AS newest";
        let sections: Vec<i16> =
            sections.iter().filter_map(|section| i16::try_from(i32::from(*section)).ok()).collect();
        let row = self.all_tenants().query_one(sql, &[&sections]).await?;
        Ok(Epoch { version: row.try_get("version")?, last_version: row.try_get("last_version")? })
    }
}
