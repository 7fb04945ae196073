//! Which other spaces hold rows that a search would have wanted.

use std::fmt::Write as _;

use embermesh_postgres::DbError;
use embermesh_types::SpaceId;

use super::{Owner, Store, conditions::Conditions};
use crate::domain::filter::Filter;

impl Store {
    /// The spaces, `searched` left out, with at least one row of the filter.
    pub(super) async fn other_spaces(
        &self,
        owner: Owner,
        searched: &SpaceId,
        filter: &Filter,
    ) -> Result<Vec<String>, DbError> {
        let _timer = self.metrics.query("other_spaces");
        let mut spaces = self.spaces_of(owner).await?;
        spaces.retain(|space| space.id != *searched);
        if spaces.is_empty() {
            return Ok(Vec::new());
        }
        let conditions = Conditions::of(owner, filter);
        let mut sql = String::new();
        for (at, space) in spaces.iter().enumerate() {
            let union = if at == 0 { "" } else { " UNION ALL " };
            let (no, table, matching) = (space.no, space.table(), conditions.sql());
            // writing to a string cannot fail
            let _ = write!(sql, "{union}SELECT {no} WHERE EXISTS (SELECT FROM {table} WHERE {matching})");
        }
        let rows = self.session(owner).query(&sql, &conditions.parameters()).await?;
        let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i32>, _>>()?;
        let mut others: Vec<String> = spaces
            .iter()
            .filter(|space| numbers.contains(&space.no))
            .map(|space| space.id.to_string())
            .collect();
        others.sort();
        Ok(others)
    }
}
