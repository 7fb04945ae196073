//! Monthly partitions, made before they are needed.

use std::{sync::PoisonError, time::SystemTime};

use embermesh_postgres::DbError;

use super::{Store, spaces::Space};

impl Store {
    /// Makes sure that a row of this instant has a partition. Costs nothing once this process knows that there is one, so that an
    /// insert does not depend on the background work having run.
    pub(super) async fn cover(&self, space: &Space, moment: SystemTime) -> Result<(), DbError> {
        if space.covered.read().unwrap_or_else(PoisonError::into_inner).contains(&moment) {
            return Ok(());
        }
        self.add_partitions(space, moment).await
    }

    /// Makes the partitions around now for every space.
    pub(crate) async fn add_all_partitions(&self) -> Result<(), DbError> {
        self.refresh_spaces().await?;
        for space in self.spaces.all() {
            self.add_partitions(&space, self.clock.now()).await?;
        }
        Ok(())
    }

    async fn add_partitions(&self, space: &Space, moment: SystemTime) -> Result<(), DbError> {
        let sql = "SELECT covered_from, covered_until FROM add_partitions($1, $2)";
        let rows = self.pools.owner.system().execute_returning(sql, &[&space.no, &moment]).await?;
        let row = rows.first().ok_or(DbError::RowCount(0))?;
        let covered = row.try_get(0)?..row.try_get(1)?;
        *space.covered.write().unwrap_or_else(PoisonError::into_inner) = covered;
        Ok(())
    }
}
