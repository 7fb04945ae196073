use super::*;

async fn batch(service: &Embeddings, entries: Value) -> v1::EmbedBatchResponse {
    let request = v1::EmbedBatchRequest { requests: of_json(entries) };
    service.embed_batch(call(request, None)).await.unwrap().into_inner()
}

#[tokio::test]
async fn n_in_n_out_in_order_with_one_call_a_route() {
    let (bench, service) = bench();
    let entries: Vec<Value> = (0..60)
        .map(|i| {
            let (agent, input_type) = (["a", "b"][i % 2], ["document", "document", "query"][i % 3]);
            json!({"text": format!("t{i}"), "agent_id": agent, "input_type": input_type})
        })
        .collect();
    let answer = batch(&service, json!(entries)).await;
    assert_eq!(
        (answer.count, answer.failed, answer.total_tokens, answer.total_cost_nano_usd),
        (60, 0, 180, 1200)
    );
    for (i, entry) in answer.embeddings.iter().enumerate() {
        assert_eq!(entry.embedding, vector_of(&format!("t{i}"), DIMENSIONS), "{i}");
        assert_eq!(entry.agent_id.as_deref(), Some(["a", "b"][i % 2]));
    }
    assert_eq!(bench.router.seen.lock().unwrap().len(), 4);
    let contents: Vec<_> = bench.store.rows().into_iter().map(|row| row.content).collect();
    assert_eq!(contents, (0..60).map(|i| format!("t{i}")).collect::<Vec<_>>());
    assert_eq!(bench.store.puts.lock().unwrap().len(), 1, "one space, one put");
}

#[tokio::test]
async fn each_space_is_put_alone() {
    let (bench, service) = bench();
    let answer = batch(
        &service,
        json!([{"text": "a"}, {"text": "b", "dimensions": 8}, {"text": "c"}, {"text": "d", "model": "m"}]),
    )
    .await;
    let spaces: Vec<_> = answer.embeddings.iter().map(|entry| entry.space_id.clone().unwrap()).collect();
    assert_eq!(spaces, ["test/pinned@4", "test/pinned@8", "test/pinned@4", "test/m@4"]);
    let mut puts: Vec<_> = bench
        .store
        .puts
        .lock()
        .unwrap()
        .iter()
        .map(|put| (put.space_id.clone(), put.dimensions, put.rows.len()))
        .collect();
    puts.sort();
    assert_eq!(
        puts,
        [("test/m@4".into(), 4, 1), ("test/pinned@4".into(), 4, 2), ("test/pinned@8".into(), 8, 1)]
    );
}

#[tokio::test]
async fn entries_fail_alone() {
    let (bench, service) = bench();
    let answer = batch(
        &service,
        json!([
            {"text": "good"}, {"text": ""}, {"text": "fail"}, {"text": "x", "agent_id": "down"},
            {"text": "joe@example.com", "agent_id": "strict"}, {"text": "x", "model": "short"}, {"text": "hit"},
        ]),
    )
    .await;
    assert_eq!((answer.count, answer.failed, answer.total_cost_nano_usd, answer.total_tokens), (7, 5, 20, 6));
    let errors: Vec<_> = answer
        .embeddings
        .iter()
        .map(|entry| entry.error.as_ref().map(|error| (error.code.as_str(), error.param.as_deref())))
        .collect();
    assert_eq!(
        errors,
        [
            None,
            Some(("invalid_request", Some("text"))),
            Some(("input_too_long", Some("text"))),
            Some(("unavailable", None)),
            Some(("pii_rejected", Some("text"))),
            Some(("internal", None)),
            None,
        ]
    );
    let error = answer.embeddings[2].error.as_ref().unwrap();
    assert_eq!((error.details.as_str(), error.request_id.as_str()), (r#"{"tokens":9000}"#, "req-1"));
    assert!(answer.embeddings[2].embedding.is_empty());
    assert_eq!(bench.store.rows().len(), 2);
}

#[tokio::test]
async fn the_paid_part_is_answered_though_the_store_is_away() {
    let (bench, service) = bench();
    *bench.store.is_down.lock().unwrap() = true;
    let answer = batch(&service, json!([{"text": "kept"}, {"text": "free", "store": false}])).await;
    assert_eq!((answer.failed, answer.total_cost_nano_usd), (1, 40));
    let [lost, free] = &answer.embeddings[..] else { panic!() };
    assert_eq!(lost.error.as_ref().unwrap().code, "unavailable");
    assert_eq!(
        (&lost.embedding, lost.cost_nano_usd, &lost.embedding_id),
        (&vector_of("kept", DIMENSIONS), Some(20), &None)
    );
    assert!(free.error.is_none());
}

#[tokio::test]
async fn a_batch_has_1_to_2048_entries_and_a_bounded_size() {
    let (bench, service) = bench();
    for (count, expected) in [(0, Code::Invalid), (2049, Code::Invalid)] {
        let request = v1::EmbedBatchRequest { requests: vec![text("x"); count] };
        let error = Error::from(service.embed_batch(call(request, None)).await.unwrap_err());
        assert_eq!((error.code, error.param.as_deref()), (expected, Some("requests")));
        assert_eq!(error.details["count"], count);
    }
    let request = v1::EmbedBatchRequest { requests: vec![text(&"x".repeat(900)); 5] };
    let error = Error::from(service.embed_batch(call(request, None)).await.unwrap_err());
    assert_eq!((error.code, &error.details["bytes"]), (Code::TooLarge, &json!(4500)));
    assert!(bench.router.texts().is_empty());
    let request = v1::EmbedBatchRequest { requests: vec![text("x"); 2048] };
    assert_eq!(service.embed_batch(call(request, None)).await.unwrap().get_ref().count, 2048);
}

#[tokio::test]
async fn rows_too_large_for_one_message_are_put_in_several_in_order() {
    let (mut bench, _) = bench();
    bench.parts.limits.max_text_bytes = 10 << 20;
    bench.parts.limits.max_total_bytes = 40 << 20;
    let service = Embeddings::new(bench.parts.clone());
    let large = |start: &str| text(&format!("{start}{}", "x".repeat(7 << 20)));
    let requests = vec![large("1"), large("2"), large("3"), text("4")];
    let answer =
        service.embed_batch(call(v1::EmbedBatchRequest { requests }, None)).await.unwrap().into_inner();
    assert_eq!(answer.failed, 0);
    let sizes: Vec<_> = bench.store.puts.lock().unwrap().iter().map(|put| put.rows.len()).collect();
    assert_eq!(sizes, [2, 2]);
    let rows = bench.store.rows();
    assert_eq!(rows.iter().map(|row| &row.content[..1]).collect::<String>(), "1234");
    let ids = answer.embeddings.into_iter().map(|entry| entry.embedding_id.unwrap());
    assert!(ids.eq(rows.into_iter().map(|row| row.embedding_id)));
}
