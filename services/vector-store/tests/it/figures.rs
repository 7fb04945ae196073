//! Figures, printed for people: `cargo test --release -p embermesh-vector-store -- --ignored --nocapture figures`.

use std::time::{Duration, Instant};

use embermesh_proto::{
    internal::v1::{Finished, KeyState, StoreSearchRequest},
    to_le_bytes,
};

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
    for single in singles {
        let begun = Instant::now();
        caller.put_into(SPACE, vec![single]).await.unwrap();
        taken.push(begun.elapsed());
    }
    println!("put of 1 row: p50 {:.2?}, p99 {:.2?}", percentile(&mut taken, 50), percentile(&mut taken, 99));

    let (mut begun_in, mut finished_in) = (Vec::new(), Vec::new());
    for n in 0..300 {
        let key = n.to_string();
        let begun = Instant::now();
        assert_eq!(caller.take(&key, 1, 1).await, KeyState::Taken);
        begun_in.push(begun.elapsed());
        let answer = vec![7; 6144].into();
        let begun = Instant::now();
        caller.finish(1, vec![Finished { key, answer, embedding_ids: Vec::new() }]).await;
        finished_in.push(begun.elapsed());
    }
    let (begin, finish) = (percentile(&mut begun_in, 50), percentile(&mut finished_in, 50));
    println!("an idempotency key: taken in p50 {begin:.2?}, 6 KiB kept under it in p50 {finish:.2?}");

    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    owner.system().batch_execute("VACUUM ANALYZE space_1").await.unwrap();
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
    println!("exact search, 10 of 10,541 rows x 384: p50 {p50:.2?}, p99 {p99:.2?}");
}

fn percentile(taken: &mut [Duration], percent: usize) -> Duration {
    taken.sort_unstable();
    taken[(taken.len() - 1) * percent / 100]
}
