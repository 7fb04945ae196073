//! How PostgreSQL would run a statement, whatever its parameters: a plan that tells nothing of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::SimpleQueryMessage;

use crate::{Database, DbError, Session, Transaction};

/// The first release that plans a statement with open parameters.
const GENERIC_PLAN: i32 = 160_000;

/// A statement and the settings it ran under, to be explained when there is time.
#[derive(Clone, Debug)]
pub struct Unexplained {
    settings: String,
    sql: String,
}

impl Session<'_> {
    /// Takes down what a plan depends on.
    pub fn to_explain(&self, sql: &str) -> Unexplained {
        Unexplained { settings: self.settings().to_owned(), sql: sql.to_owned() }
    }
}

impl Database {
    /// The generic plan of a statement, line by line, without running it. Constants of the statement stand in it, parameters do not.
    ///
    /// # Errors
    /// As any query.
    pub async fn explain(&self, what: &Unexplained) -> Result<String, DbError> {
        let transaction = Session::with_settings(self, what.settings.clone()).begin().await?;
        let version = "SELECT current_setting('server_version_num')::integer";
        let plan = if transaction.query_one(version, &[]).await?.try_get::<_, i32>(0)? >= GENERIC_PLAN {
            transaction.plan(&format!("EXPLAIN (GENERIC_PLAN) {}", what.sql)).await?
        } else {
            transaction.plan_of_prepared(&what.sql).await?
        };
        transaction.rollback().await?;
        Ok(plan)
    }
}

impl Transaction {
    async fn plan(&self, sql: &str) -> Result<String, DbError> {
        // open parameters pass through the simple protocol alone
        let messages = self.tracked(self.client().simple_query(sql)).await?;
        let lines: Vec<String> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            })
            .collect();
        Ok(lines.join("\n"))
    }

    /// The same for releases that plan no open parameters: of a prepared statement whose plan may not look at its parameters.
    async fn plan_of_prepared(&self, sql: &str) -> Result<String, DbError> {
        // one that fails halfway stays prepared on its connection, under a name that nobody uses again
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("explained_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let count = self.tracked(self.client().prepare(sql)).await?.params().len();
        let nothing =
            if count == 0 { String::new() } else { format!("({})", vec!["NULL"; count].join(", ")) };
        self.plan(&format!(
            "SET LOCAL plan_cache_mode = force_generic_plan; PREPARE {name} AS {sql}; EXPLAIN EXECUTE {name}{nothing}; DEALLOCATE {name}"
        ))
        .await
    }
}

#[cfg(test)]
mod tests {
    use embermesh_private_postgres::TestDatabase;

    use super::*;
    use crate::{PoolConfig, Role, Schema};

    #[tokio::test]
    async fn both_ways_show_the_plan_under_the_sessions_settings_and_no_parameter() {
        let database = TestDatabase::create().await;
        let define = "CREATE TABLE t (a integer PRIMARY KEY, b text)";
        let first = [crate::Migration { name: "V001__t", sql: define }];
        crate::migrate(database.url(), Schema::Store, &first).await.unwrap();
        let database = Database::connect(database.url(), Schema::Store, Role::Owner, &PoolConfig::default())
            .await
            .unwrap();
        let sql = "SELECT b FROM t WHERE a = $1::integer AND b <> $2::text";
        let without_index =
            database.system().with("enable_indexscan", "off").with("enable_bitmapscan", "off");
        for (session, node) in [(database.system(), "Index Scan"), (without_index, "Seq Scan")] {
            let what = session.to_explain(sql);
            let plan = database.explain(&what).await.unwrap();
            let transaction = session.begin().await.unwrap();
            let earlier = transaction.plan_of_prepared(sql).await.unwrap();
            transaction.rollback().await.unwrap();
            for plan in [plan, earlier] {
                assert!(plan.contains(node) && plan.contains("$1") && plan.contains("$2"), "{plan}");
            }
        }
        let error = database.explain(&database.system().to_explain("SELECT FROM nowhere")).await.unwrap_err();
        assert!(!error.is_retryable());
        // the connection goes on
        database.ping().await.unwrap();
    }
}
