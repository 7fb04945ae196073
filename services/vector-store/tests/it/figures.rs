//! Figures, printed for people: `cargo test --release -p embermesh-vector-store -- --ignored --nocapture figures`.

use std::time::{Duration, Instant};

use embermesh_proto::{internal::v1::StoreSearchRequest, to_le_bytes};

use crate::harness::{Bench, Numbers, row};

const SPACE: &str = "test/minilm@384";

#[tokio::test]
#[ignore = "measures, proves nothing"]
async fn figures() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let mut numbers = Numbers::new(3);
    let text =
        "an ordinary chunk of text, long enough to be one of those that people store in great numbers. "
            .repeat(4);
    let mut rows = |count: usize, name: &str| -> Vec<_> {
        (0..count).map(|n| row(&format!("{name} {n} {text}"), &numbers.vector(384))).collect()
    };
    caller.put_into(SPACE, rows(1, "warm")).await.unwrap();
    let batches: Vec<_> = (0..40).map(|n| rows(256, &n.to_string())).collect();
    let begun = Instant::now();
    for batch in batches {
        caller.put_into(SPACE, batch).await.unwrap();
    }
    let per_second = 40.0 * 256.0 / begun.elapsed().as_secs_f64();
    println!("put of 256 rows x 384: {per_second:.0} rows/s, {:.2?} a call", begun.elapsed() / 40);

    let singles: Vec<_> = rows(300, "single");
    let mut taken = Vec::new();
    for single in singles.clone() {
        let begun = Instant::now();
        caller.put_into(SPACE, vec![single]).await.unwrap();
        taken.push(begun.elapsed());
    }
    println!("put of 1 row: p50 {:.2?}, p99 {:.2?}", percentile(&mut taken, 50), percentile(&mut taken, 99));

    let mut taken = Vec::new();
    for (n, mut single) in singles.into_iter().enumerate() {
        single.content.push('!');
        single.request_id = n.to_string();
        single.request_hash = vec![1; 32].into();
        let begun = Instant::now();
        caller.put_into(SPACE, vec![single]).await.unwrap();
        taken.push(begun.elapsed());
    }
    println!("put of 1 row under a request id: p50 {:.2?}", percentile(&mut taken, 50));

    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    owner.system().batch_execute("VACUUM ANALYZE space_1").await.unwrap();
    let app = bench.sql(embermesh_postgres::Role::App).await;
    let v = format!("{:?}", numbers.vector(384));
    let t = caller.tenant();
    for inner in ["(embedding <=> Q) + 0", "1.0::float8+tokens", "1.0::float8"] {
      for tail in [true, false] {
        let inner = inner.replace('Q', &format!("'{v}'::halfvec"));
        let mut sql = format!("SELECT created_at, embedding_id, {inner} AS distance FROM space_1 WHERE tenant_id='{t}' AND shard_key={} ORDER BY distance, embedding_id LIMIT 10", t.uuid().as_bytes()[15]&15);
        if tail { sql = format!("WITH nearest AS MATERIALIZED ({sql}) SELECT n.distance, content FROM nearest n JOIN space_1 v USING (created_at, embedding_id) WHERE v.tenant_id='{t}' AND v.shard_key={} ORDER BY n.distance+0, embedding_id", t.uuid().as_bytes()[15]&15); }
        let sql = format!("EXPLAIN (ANALYZE, BUFFERS) {sql}");
        let session = app.tenant(t.uuid());
        for _ in 0..2 { session.query(&sql, &[]).await.unwrap(); }
        let plan = session.query(&sql, &[]).await.unwrap();
        for line in plan { println!("{}", line.get::<_, String>(0).chars().take(150).collect::<String>()); }
        println!("-----");
      }
    }
    let mut taken = Vec::new();
    for _ in 0..100 {
        let request = StoreSearchRequest {
            space_id: SPACE.into(),
            query: to_le_bytes(&numbers.vector(384)),
            limit: 10,
            ..StoreSearchRequest::default()
        };
        let begun = Instant::now();
        let reply = caller.search(request).await.unwrap();
        taken.push(begun.elapsed());
        assert_eq!(reply.hits.len(), 10);
    }
    let (p50, p99) = (percentile(&mut taken, 50), percentile(&mut taken, 99));
    println!("exact search, 10 of 10,841 rows x 384: p50 {p50:.2?}, p99 {p99:.2?}");
}

fn percentile(taken: &mut [Duration], percent: usize) -> Duration {
    taken.sort_unstable();
    taken[(taken.len() - 1) * percent / 100]
}
