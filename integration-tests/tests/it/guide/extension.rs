//! What needs an extension that the embedded PostgreSQL does not have.

use super::{
    book::{Book, Outcome, Proof},
    system::System,
};

pub async fn slow_queries(book: &mut Book, system: &System, query: &str) {
    let sql = system.running.sql().await;
    let refused = sql.batch_execute(query).await.err().map(|error| format!("{error:?}")).unwrap_or_default();
    let metrics = system.metrics();
    book.row(
        "slow queries, from `pg_stat_statements`",
        Proof::run("the embedded PostgreSQL says that there is no such relation", refused.contains("pg_stat_statements"), &refused).and(
            Proof::run(
                "`db_query_duration_seconds`",
                metrics.contains("db_query_duration_seconds_bucket{"),
                &metrics,
            ),
        ),
        Outcome::NotHere("the embedded PostgreSQL comes without extensions but `vector`; `db_query_duration_seconds` tells the same by operation"),
    );
}
