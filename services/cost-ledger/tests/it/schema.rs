use embermesh_postgres::Role;
use embermesh_types::Clock;

use crate::world::{HOUR, World, limits};

#[tokio::test]
async fn the_guides_query_runs_as_printed() {
    // the query asks the database for the time
    let world = World::at(Clock::system().now(), limits(&[])).await;
    world.spend("cheap", 1).await;
    world.spend("dear", 20_000_000_001).await;
    world.spend("dear", 9).await;
    let operator = world.connect(Role::Operator).await;
    let guide = "SELECT agent_id, 
       SUM(cost_usd) as total_cost,
       COUNT(*) as request_count
FROM embedding_metrics
WHERE created_at > NOW() - INTERVAL '24 hours'
GROUP BY agent_id
ORDER BY total_cost DESC;";
    let guide = guide.trim_end_matches(';');
    let text = format!("SELECT agent_id, total_cost::text, request_count FROM ({guide}) AS guide");
    operator.system().query(&format!("{guide};"), &[]).await.unwrap();
    let rows = operator.system().query(&text, &[]).await.unwrap();
    let rows: Vec<(String, String, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let row = |agent: &str, cost: &str, count| (agent.to_owned(), cost.to_owned(), count);
    assert_eq!(rows, [row("dear", "20.000000010", 2), row("cheap", "0.000000001", 1)]);
}

#[tokio::test]
async fn months_are_partitioned_ahead_of_time() {
    let world = World::new(limits(&[])).await;
    let operator = world.connect(Role::Operator).await;
    let names =
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'charges'::regclass ORDER BY 1";
    let named = async || -> Vec<String> {
        operator.system().query(names, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let before = named().await;
    for month in ["2026_10", "2026_11", "2026_12", "2027_01", "2027_02"] {
        assert!(before.iter().any(|name| name.ends_with(&format!("charges_{month}"))), "{before:?}");
    }
    // a year later a replica starts
    world.clock.advance(HOUR * 24 * 365);
    let later = world.another_replica().await;
    assert!(named().await.iter().any(|name| name.ends_with("charges_2028_02")));
    world.spend("docs", 5).await;
    drop(later);
    let sql = "SELECT count(*) FROM charges_2027_11";
    let moved: i64 = operator.system().query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(moved, 1);
}
