//! Exact search is exact.

use embermesh_proto::{internal::v1::StoreSearchRequest, to_le_bytes};
use embermesh_vector_store::{Element, Settings};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::harness::{Bench, row, search};

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn the_order_is_that_of_brute_force() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (element, tolerance) in [(Element::Half, 2e-3), (Element::Float, 1e-6)] {
        let bench = runtime.block_on(Bench::with(Settings { element, ..Settings::default() }));
        let vector = || {
            prop::collection::vec(-1.0_f32..1.0, 4).prop_filter("zero", |v| v.iter().any(|x| x.abs() > 0.01))
        };
        let strategy = (prop::collection::vec(vector(), 1..40), vector(), 1_u32..15);
        let mut runner =
            TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&strategy, |(vectors, query, limit)| {
            let caller = bench.caller();
            let rows = vectors.iter().enumerate().map(|(n, vector)| row(&n.to_string(), vector)).collect();
            let request = StoreSearchRequest { limit, ..search(&query) };
            let reply = runtime.block_on(async {
                caller.put(rows).await;
                caller.search(request).await.unwrap()
            });
            let mut expected: Vec<f64> = vectors.iter().map(|vector| cosine(vector, &query)).collect();
            expected.sort_by(|a, b| b.total_cmp(a));
            prop_assert_eq!(reply.hits.len(), vectors.len().min(limit as usize));
            for (hit, expected) in reply.hits.iter().zip(&expected) {
                let content: usize = hit.row.as_ref().unwrap().content.parse().unwrap();
                prop_assert!((hit.similarity - cosine(&vectors[content], &query)).abs() < tolerance);
                prop_assert!((hit.similarity - expected).abs() < tolerance);
            }
            prop_assert!(reply.hits.is_sorted_by(|a, b| a.similarity >= b.similarity));
            Ok(())
        });
        outcome.unwrap();
    }
}

#[tokio::test]
async fn the_length_of_a_query_does_not_matter() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put(vec![row("x", &[1.0, 0.0, 0.0, 0.0]), row("y", &[0.0, 3.0, 0.0, 0.0])]).await;
    for scale in [1e-9, 1.0, 1e9] {
        let reply = caller.search(search(&[scale, 2.0 * scale, 0.0, 0.0])).await.unwrap();
        let similarities: Vec<f64> = reply.hits.iter().map(|hit| hit.similarity).collect();
        assert!((similarities[0] - 2.0 / 5.0_f64.sqrt()).abs() < 1e-3, "{similarities:?}");
        assert!((similarities[1] - 1.0 / 5.0_f64.sqrt()).abs() < 1e-3, "{similarities:?}");
    }
}

#[tokio::test]
async fn least_similarity_cuts_and_says_so() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let rows = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]];
    caller.put(rows.iter().enumerate().map(|(n, vector)| row(&n.to_string(), vector)).collect()).await;
    let request = |min_similarity, limit| StoreSearchRequest {
        min_similarity: Some(min_similarity),
        limit,
        ..search(&[1.0, 0.0, 0.0, 0.0])
    };
    let reply = caller.search(request(0.5, 10)).await.unwrap();
    assert_eq!((reply.hits.len(), reply.truncated.as_str()), (2, "only 2 rows reach a similarity of 0.5"));
    let reply = caller.search(request(0.5, 2)).await.unwrap();
    assert_eq!((reply.hits.len(), reply.truncated.as_str()), (2, ""));
    let reply = caller.search(request(-1.0, 10)).await.unwrap();
    assert_eq!((reply.hits.len(), reply.truncated.as_str()), (4, "only 4 rows match"));
    assert!((reply.hits[3].similarity + 1.0).abs() < 1e-3);
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused_by_name() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let good = || search(&[1.0; 4]);
    let bad = [
        (StoreSearchRequest { query: to_le_bytes(&[1.0; 3]), ..good() }, "query_embedding"),
        (StoreSearchRequest { query: to_le_bytes(&[0.0; 4]), ..good() }, "query_embedding"),
        (StoreSearchRequest { query: to_le_bytes(&[f32::NAN; 4]), ..good() }, "query_embedding"),
        (StoreSearchRequest { limit: 0, ..good() }, "limit"),
        (StoreSearchRequest { limit: 1001, ..good() }, "limit"),
        (StoreSearchRequest { min_similarity: Some(f64::NAN), ..good() }, "min_similarity"),
        (StoreSearchRequest { space_id: "x".into(), ..good() }, "space_id"),
    ];
    for (request, param) in bad {
        assert_eq!(caller.search(request).await.unwrap_err().param.as_deref(), Some(param));
    }
    let reply = caller.search(good()).await.unwrap();
    assert_eq!((reply.hits.len(), reply.truncated.as_str()), (0, "no rows match"));
}
