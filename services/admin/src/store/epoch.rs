//! How new each part of the configuration is, for subscribers that cannot tell a quiet stream from a broken one.

use std::collections::BTreeMap;

use embermesh_postgres::DbError;
use embermesh_proto::internal::v1::{Epoch, Section};

use super::Store;

/// Versions of the last changes, at one instant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Epochs {
    by_section: BTreeMap<i32, i64>,
    last_version: i64,
}

impl Epochs {
    /// The last change of any of `sections`.
    pub(crate) fn of(&self, sections: &[i32]) -> Epoch {
        let newest = sections.iter().filter_map(|section| self.by_section.get(section)).max();
        Epoch { version: newest.copied().unwrap_or_default(), last_version: self.last_version }
    }
}

impl Store {
    /// The versions of the last change of each section and of anything.
    pub(crate) async fn epochs(&self) -> Result<Epochs, DbError> {
        // one look at the end of the index for each section there may be, however many changes there ever were
        let sql = "SELECT wanted.section, newest.version FROM generate_series(1, 63) AS wanted (section)
                   CROSS JOIN LATERAL (
                       SELECT version FROM changes WHERE changes.section = wanted.section::smallint
                       ORDER BY version DESC LIMIT 1
                   ) AS newest
                   UNION ALL SELECT $1::integer, version FROM change_counter";
        let of_anything = i32::from(Section::Unspecified);
        let mut epochs = Epochs::default();
        for row in self.all_tenants().query(sql, &[&of_anything]).await? {
            let (section, version): (i32, i64) = (row.try_get("section")?, row.try_get("version")?);
            if section == of_anything {
                epochs.last_version = version;
            } else {
                epochs.by_section.insert(section, version);
            }
        }
        Ok(epochs)
    }
}
