use super::*;

async fn search(service: &Embeddings, request: Value) -> Result<v1::SearchResponse, Error> {
    let answer = service.search(call(of_json(request), None)).await;
    answer.map(Response::into_inner).map_err(Error::from)
}

#[tokio::test]
async fn a_query_is_embedded_as_the_agents_texts_are() {
    let (bench, service) = bench();
    for words in ["one", "two", "three"] {
        service.embed(call(v1::EmbedRequest { agent_id: "a".into(), ..text(words) }, None)).await.unwrap();
    }
    let request =
        of_json(json!({"agent_id": "a", "query": "two", "limit": 2, "min_similarity": -1, "exact": true,
        "context_id": "c", "metadata_filter": {"k": null}, "created_after": "2026-01-01T00:00:00Z"}));
    let response = service.search(call(request, None)).await.unwrap();
    assert_eq!(response.metadata().get("x-embermesh-cost-usd").unwrap(), "0.00000002");
    assert_eq!(response.metadata().get("x-embermesh-space").unwrap(), "test/pinned@4");
    let answer = response.into_inner();
    assert_eq!((answer.count, answer.scan.as_str(), answer.cost_nano_usd), (2, "exact", 20));
    assert_eq!((answer.results[0].content.as_str(), answer.results[0].agent_id.as_str()), ("two", "a"));
    assert!((answer.results[0].similarity - 1.0).abs() < 1e-6);
    assert_eq!(answer.results[0].score, answer.results[0].similarity);
    assert_eq!(answer.truncated.as_deref(), Some("fewer rows match"));
    assert_eq!(answer.other_spaces, ["test/other@8"]);
    let seen = bench.router.seen.lock().unwrap().last().unwrap().clone();
    assert_eq!((seen.input_type.as_str(), seen.agent_id.as_str(), seen.model.as_str()), ("query", "a", ""));
    let asked = bench.store.searches.lock().unwrap()[0].clone();
    let filter = asked.filter.unwrap();
    assert_eq!((asked.limit, asked.exact, asked.min_similarity), (2, true, Some(-1.0)));
    assert_eq!(
        (filter.agent_id.as_str(), filter.context_id.as_str(), filter.metadata.as_str()),
        ("a", "c", r#"{"k":null}"#)
    );
    assert_eq!(filter.created_after.unwrap().seconds, 1_767_225_600);
}

#[tokio::test]
async fn without_an_agent_every_agents_rows_are_searched_unless_the_key_is_bound() {
    let (bench, service) = bench();
    for (bound, filtered, embedded_for) in [(None, "", "default"), (Some("mine"), "mine", "mine")] {
        service
            .search(call(of_json(json!({"query": "x", "model": "m", "dimensions": 8})), bound))
            .await
            .unwrap();
        let asked = bench.store.searches.lock().unwrap().last().unwrap().clone();
        assert_eq!(
            (asked.filter.unwrap().agent_id.as_str(), asked.space_id.as_str(), asked.limit),
            (filtered, "test/m@8", 10)
        );
        assert_eq!(bench.router.seen.lock().unwrap().last().unwrap().agent_id, embedded_for);
    }
    let theirs = of_json(json!({"agent_id": "theirs", "query": "x"}));
    assert_eq!(
        Error::from(service.search(call(theirs, Some("mine"))).await.unwrap_err()).code,
        Code::Forbidden
    );
}

#[tokio::test]
async fn scrub_first_queries_too() {
    let (bench, service) = bench();
    let answer = search(&service, json!({"query": "mail of joe@example.com"})).await.unwrap();
    assert_eq!(bench.router.texts(), ["mail of [EMAIL]"]);
    assert_eq!(answer.pii.unwrap().counts["email"], 1);
    let error =
        search(&service, json!({"query": "joe@example.com", "agent_id": "strict"})).await.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("query")));
    let error = search(&service, json!({"query": "x", "metadata_filter": {"m": "joe@example.com"}}))
        .await
        .unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("metadata_filter")));
}

#[tokio::test]
async fn a_vector_is_searched_in_its_own_space_and_costs_nothing() {
    let (bench, service) = bench();
    let answer = search(&service, json!({"query_embedding": [1, 0, 0.5, -1e-3], "space_id": "test/m@4"}))
        .await
        .unwrap();
    assert_eq!((answer.cost_nano_usd, answer.space_id.as_str(), answer.pii), (0, "test/m@4", None));
    assert!(bench.router.texts().is_empty());
    let asked = bench.store.searches.lock().unwrap()[0].clone();
    assert_eq!(asked.query, embermesh_proto::to_le_bytes(&[1.0, 0.0, 0.5, -1e-3]));
}

#[tokio::test]
async fn a_hybrid_search_takes_the_scrubbed_words_along() {
    let (bench, service) = bench();
    service.embed(call(v1::EmbedRequest { agent_id: "a".into(), ..text("one") }, None)).await.unwrap();
    let asked = || bench.store.searches.lock().unwrap().last().unwrap().clone();
    let answer =
        search(&service, json!({"query": "one of joe@example.com", "mode": "hybrid"})).await.unwrap();
    assert_eq!(asked().text.as_deref(), Some("one of [EMAIL]"));
    assert!((answer.results[0].score - answer.results[0].similarity / 60.0).abs() < 1e-12);
    let mut request = json!({"query": "one", "mode": "vector"});
    search(&service, request.clone()).await.unwrap();
    assert_eq!(asked().text, None);
    // beside a vector the words are not embedded, and scrubbed all the same
    bench.router.seen.lock().unwrap().clear();
    request = json!({"query": "joe@example.com", "query_embedding": [1, 0, 0, 0], "space_id": "test/m@4", "mode": "hybrid"});
    let answer = search(&service, request.clone()).await.unwrap();
    assert_eq!((asked().text.as_deref(), asked().space_id.as_str()), (Some("[EMAIL]"), "test/m@4"));
    assert_eq!((answer.cost_nano_usd, answer.pii.unwrap().counts["email"]), (0, 1));
    assert!(bench.router.texts().is_empty());
    request["agent_id"] = "strict".into();
    let error = search(&service, request).await.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::PiiRejected, Some("query")));
}

#[tokio::test]
async fn each_bad_search_is_named() {
    let (bench, service) = bench();
    let vector = |extra: Value| {
        let mut request = json!({"query_embedding": [1, 0, 0, 0], "space_id": "test/m@4"});
        request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        request
    };
    for (request, param) in [
        (json!({}), "query"),
        (json!({"query": ""}), "query"),
        (json!({"query": "a\u{0}"}), "query"),
        (json!({"query": "x", "query_embedding": [1]}), "query_embedding"),
        (json!({"query": "x", "space_id": "test/m@4"}), "space_id"),
        (json!({"query_embedding": [1, 0]}), "space_id"),
        (vector(json!({"space_id": "nowhere"})), "space_id"),
        (vector(json!({"query_embedding": [1, 0, 0]})), "query_embedding"),
        (vector(json!({"query_embedding": [0, 0, -0.0, 0]})), "query_embedding"),
        (vector(json!({"query_embedding": [1, 0, 1e39, 0]})), "query_embedding[2]"),
        (vector(json!({"model": "m"})), "model"),
        (vector(json!({"dimensions": 4})), "dimensions"),
        (vector(json!({"task_type": "research"})), "task_type"),
        (vector(json!({"mode": "hybrid"})), "query"),
        (vector(json!({"mode": "hybrid", "query": ""})), "query"),
        (vector(json!({"mode": "hybrid", "query": "x", "model": "m"})), "model"),
        (vector(json!({"mode": "vector", "query": "x"})), "query_embedding"),
        (json!({"query": "x", "mode": "Hybrid"}), "mode"),
        (json!({"query": "x", "limit": 0}), "limit"),
        (json!({"query": "x", "limit": 1001}), "limit"),
        (json!({"query": "x", "min_similarity": 1.01}), "min_similarity"),
        (json!({"query": "x", "context_id": "\t"}), "context_id"),
        (
            json!({"query": "x", "created_after": "2026-01-02T00:00:00Z", "created_before": "2026-01-02T00:00:00Z"}),
            "created_before",
        ),
    ] {
        let error = search(&service, request.clone()).await.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{request}: {error}");
    }
    for bad in [f32::NAN, f32::INFINITY] {
        let query_embedding = vec![bad, 0.0, 0.0, 0.0];
        let request =
            v1::SearchRequest { query_embedding, space_id: Some("test/m@4".into()), ..Default::default() };
        let error = Error::from(service.search(call(request, None)).await.unwrap_err());
        assert_eq!(error.details["index"], 0);
    }
    let request =
        v1::SearchRequest { query: Some("x".into()), min_similarity: Some(f64::NAN), ..Default::default() };
    assert_eq!(
        Error::from(service.search(call(request, None)).await.unwrap_err()).param.as_deref(),
        Some("min_similarity")
    );
    assert!(bench.store.searches.lock().unwrap().is_empty());
    let error = search(&service, json!({"query": "fail"})).await.unwrap_err();
    assert_eq!((error.code, error.param.as_deref()), (Code::InputTooLong, Some("query")));
}
