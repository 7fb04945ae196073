use embermesh_proto::from_le_bytes;

use super::*;
use crate::embeddings::stand_ins::LIMIT;

/// 26 bytes; the limit falls inside the `ü`.
const LONG: &str = "long text ü and its ending";
const PIECES: [(usize, usize); 3] = [(0, 10), (10, 20), (20, 27)];

async fn embed(service: &Embeddings, request: Value) -> Response<v1::EmbedResponse> {
    service.embed(call(of_json(request), None)).await.unwrap()
}

fn ranges(too_long: &v1::TooLong) -> Vec<(usize, usize)> {
    too_long.chunks.iter().map(|chunk| (chunk.start as usize, chunk.end as usize)).collect()
}

#[tokio::test]
async fn by_default_it_is_refused_with_the_figures() {
    let (bench, service) = bench();
    for request in [json!({"text": LONG}), json!({"text": LONG, "on_too_long": "error"})] {
        let error = refused(&service, of_json(request)).await;
        assert_eq!((error.code, error.param.as_deref()), (Code::InputTooLong, Some("text")));
        assert_eq!(error.details["tokens"], 9000);
    }
    assert!(bench.store.rows().is_empty());
}

#[tokio::test]
async fn a_truncated_text_is_kept_as_its_beginning_and_says_so() {
    let (bench, service) = bench();
    let request = json!({"text": LONG, "on_too_long": "truncate", "metadata": {"a": 1}});
    let response = embed(&service, request).await;
    assert_eq!(response.metadata().get("x-embermesh-cost-usd").unwrap(), "0.00000002");
    let answer = response.into_inner();
    assert_eq!(answer.embedding, vector_of(&LONG[..LIMIT], DIMENSIONS));
    assert_eq!((answer.tokens_used, answer.cost_nano_usd), (10, 20));
    let too_long = answer.too_long.clone().unwrap();
    assert_eq!((too_long.action.as_str(), too_long.tokens, too_long.limit), ("truncate", 27, 10));
    assert_eq!((too_long.tokens_exact, ranges(&too_long)), (true, vec![(0, 10)]));
    assert_eq!(too_long.chunks[0].embedding_id, answer.embedding_id);
    let rows = bench.store.rows();
    assert_eq!((rows.len(), rows[0].content.as_str()), (1, &LONG[..LIMIT]));
    assert_eq!((rows[0].tokens, rows[0].metadata.as_str()), (10, r#"{"a":1}"#));
}

#[tokio::test]
async fn each_chunk_is_a_row_with_the_metadata_of_the_text() {
    let (bench, service) = bench();
    let request = json!({"text": LONG, "on_too_long": "chunk", "context_id": "c", "metadata": {"a": 1}});
    let response = embed(&service, request).await;
    assert_eq!(response.metadata().get("x-embermesh-cost-usd").unwrap(), "0.000000054");
    assert_eq!(response.metadata().get("x-embermesh-cached").unwrap(), "0/1");
    let answer = response.into_inner();
    // what the router pooled
    assert_eq!(answer.embedding, vector_of(&LONG[..LIMIT], DIMENSIONS));
    assert_eq!((answer.tokens_used, answer.cost_nano_usd), (27, 54));
    let too_long = answer.too_long.unwrap();
    assert_eq!(
        (too_long.action.as_str(), too_long.tokens, ranges(&too_long)),
        ("chunk", 27, PIECES.to_vec())
    );
    let rows = bench.store.rows();
    for ((row, chunk), (start, end)) in rows.iter().zip(&too_long.chunks).zip(PIECES) {
        assert_eq!((row.content.as_str(), row.metadata.as_str()), (&LONG[start..end], r#"{"a":1}"#));
        assert_eq!((row.context_id.as_str(), row.tokens), ("c", chunk.tokens));
        assert_eq!(from_le_bytes(&row.vector).unwrap(), vector_of(&LONG[start..end], DIMENSIONS));
        assert_eq!(chunk.embedding_id.as_deref(), Some(row.embedding_id.as_str()));
    }
    assert_eq!(rows.iter().map(|row| row.cost_nano_usd).sum::<i64>(), 54);
    assert_eq!((rows.len(), answer.embedding_id.as_ref()), (3, Some(&rows[0].embedding_id)));
    assert_eq!(bench.store.puts.lock().unwrap().len(), 1, "all of a text's rows or none");
}

#[tokio::test]
async fn chunks_that_are_not_kept_have_no_ids() {
    let (bench, service) = bench();
    let request = json!({"text": LONG, "on_too_long": "chunk", "store": false, "return_vector": false});
    let answer = embed(&service, request).await.into_inner();
    let too_long = answer.too_long.unwrap();
    assert_eq!((ranges(&too_long), answer.embedding_id, answer.embedding.len()), (PIECES.to_vec(), None, 0));
    assert!(too_long.chunks.iter().all(|chunk| chunk.embedding_id.is_none()));
    assert!(bench.store.rows().is_empty());
}

#[tokio::test]
async fn in_a_batch_each_entry_has_its_own_treatment_and_sums_are_exact() {
    let (bench, service) = bench();
    let entries = json!([
        {"text": LONG, "on_too_long": "chunk"},
        {"text": "short", "on_too_long": "chunk"},
        {"text": LONG, "on_too_long": "truncate"},
        {"text": LONG},
        {"text": "slow"},
        {"text": "other"},
    ]);
    let request = v1::EmbedBatchRequest { requests: of_json(entries) };
    let response = service.embed_batch(call(request, None)).await.unwrap();
    assert_eq!(response.metadata().get("x-embermesh-cost-usd").unwrap(), "0.000000114");
    let answer = response.into_inner();
    assert_eq!((answer.count, answer.failed, answer.total_cost_nano_usd), (6, 2, 54 + 20 + 20 + 20));
    let actions: Vec<_> = answer
        .embeddings
        .iter()
        .map(|entry| entry.too_long.as_ref().map(|cut| (cut.action.as_str(), cut.chunks.len())))
        .collect();
    assert_eq!(actions, [Some(("chunk", 3)), None, Some(("truncate", 1)), None, None, None]);
    let throttled = answer.embeddings[4].error.as_ref().unwrap();
    let details: Value = serde_json::from_str(&throttled.details).unwrap();
    assert_eq!((throttled.code.as_str(), &details["retry_after_seconds"]), ("rate_limited", &json!(3)));
    // one call for each treatment, in order within it
    let seen = bench.router.seen.lock().unwrap();
    let mut calls: Vec<_> = seen.iter().map(|call| (call.on_too_long.as_str(), call.texts.len())).collect();
    calls.sort_unstable();
    assert_eq!(calls, [("chunk", 2), ("error", 3), ("truncate", 1)]);
    let starts: String = bench.store.rows().iter().map(|row| &row.content[..2]).collect();
    assert_eq!(starts, [&LONG[..2], &LONG[10..12], &LONG[20..22], "sh", &LONG[..2], "ot"].concat());
}

#[tokio::test]
async fn what_was_cut_and_not_stored_says_what_it_cost() {
    let (bench, service) = bench();
    *bench.store.is_down.lock().unwrap() = true;
    let error = refused(&service, of_json(json!({"text": LONG, "on_too_long": "chunk"}))).await;
    assert_eq!((error.code, &error.details["cost_usd"]), (Code::Unavailable, &json!("0.000000054")));
}

#[tokio::test]
async fn another_model_that_answered_is_named_with_the_space_that_it_stands_in_for() {
    let (bench, service) = bench();
    let response = embed(&service, json!({"agent_id": "elsewhere", "text": "x"})).await;
    assert_eq!(response.metadata().get("x-embermesh-space").unwrap(), "test/fallback@4");
    let answer = response.into_inner();
    assert_eq!(answer.instead_of_space_id.as_deref(), Some("test/own@7"));
    assert_eq!((answer.space_id.as_str(), answer.model_used.as_str()), ("test/fallback@4", "fallback"));
    assert_eq!(bench.store.rows()[0].space_id, "test/fallback@4");
    let request = v1::EmbedBatchRequest {
        requests: of_json(json!([{"agent_id": "elsewhere", "text": "y"}, {"text": "z"}])),
    };
    let entries = service.embed_batch(call(request, None)).await.unwrap().into_inner().embeddings;
    let named: Vec<_> = entries.iter().map(|entry| entry.instead_of_space_id.as_deref()).collect();
    assert_eq!(named, [Some("test/own@7"), None]);

    // what is asked as a query stays where the documents are
    let query = json!({"agent_id": "elsewhere", "query": "x"});
    let found = service.search(call(of_json(query), None)).await.unwrap().into_inner();
    assert_eq!(found.space_id, "test/pinned@4");
    let query = json!({"agent_id": "elsewhere", "text": "x", "input_type": "query", "store": false});
    assert_eq!(embed(&service, query).await.into_inner().space_id, "test/pinned@4");
}
