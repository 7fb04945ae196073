//! The relation that people at psql see.

use embermesh_postgres::Role;

use crate::harness::{Bench, row};

#[tokio::test]
async fn all_spaces_are_one_relation_for_the_operator() {
    let bench = Bench::start().await;
    assert_eq!(bench.number("SELECT count(*) FROM embeddings").await, 0);
    bench.caller().put_one(row("one", &[1.0, 2.0, 3.0, 4.0])).await;
    bench.caller().put_into("test/it's@2", vec![row("two", &[1.0, 2.0])]).await.unwrap();
    let operator = bench.sql(Role::Operator).await;
    let sql =
        "SELECT agent_id, content, metadata::text, model, provider, space_id, cost_usd::text, tokens_used,
            embedding::text, vector_dims(embedding)
        FROM embeddings WHERE created_at < now() + INTERVAL '90 years' ORDER BY content";
    let rows = operator.system().query(sql, &[]).await.unwrap();
    let texts: Vec<String> = (0..7).map(|column| rows[0].get(column)).collect();
    assert_eq!(texts, ["a", "one", "{}", "model", "local", "test/model@4", "0.000000020"]);
    assert_eq!((rows[0].get::<_, i64>(7), rows[0].get::<_, String>(8)), (3, "[1,2,3,4]".to_owned()));
    assert_eq!((rows[1].get::<_, String>(5), rows[1].get::<_, i32>(9)), ("test/it's@2".to_owned(), 2));
}

#[tokio::test]
async fn time_and_space_prune_through_it() {
    let bench = Bench::start().await;
    bench.caller().put_one(row("one", &[1.0; 4])).await;
    bench.caller().put_into("test/other@2", vec![row("two", &[1.0, 2.0])]).await.unwrap();
    let sql = "EXPLAIN SELECT count(*) FROM embeddings
        WHERE space_id = 'test/other@2' AND created_at >= '2025-11-01' AND created_at < '2025-12-01'";
    let plan = bench.sql(Role::Operator).await.system().query(sql, &[]).await.unwrap();
    let plan: String = plan.iter().map(|line| line.get::<_, String>(0) + "\n").collect();
    assert!(plan.contains("space_2_2025_11"), "{plan}");
    assert!(!plan.contains("space_1") && !plan.contains("space_2_2025_12"), "{plan}");
}
