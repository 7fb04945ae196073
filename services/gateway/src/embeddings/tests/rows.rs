use super::*;

const UNKNOWN: &str = "0192d5a0-0000-7000-8000-00000000ffff";

async fn stored(service: &Embeddings, agent: &str) -> String {
    let request = v1::EmbedRequest { agent_id: agent.into(), ..text("x") };
    service.embed(call(request, None)).await.unwrap().into_inner().embedding_id.unwrap()
}

fn get(id: &str, return_vector: Option<bool>) -> v1::GetEmbeddingRequest {
    v1::GetEmbeddingRequest { embedding_id: id.into(), return_vector, ..Default::default() }
}

#[tokio::test]
async fn a_row_is_read_by_id_with_its_vector_when_asked() {
    let (_, service) = bench();
    let id = stored(&service, "a").await;
    let row = service.get_embedding(call(get(&id, None), None)).await.unwrap().into_inner();
    assert_eq!((row.content.as_str(), row.agent_id.as_str(), row.embedding.len()), ("x", "a", 0));
    let row = service.get_embedding(call(get(&id, Some(true)), Some("a"))).await.unwrap().into_inner();
    assert_eq!(row.embedding, vector_of("x", DIMENSIONS));
    for (id, bound, code) in
        [("7", None, Code::Invalid), (UNKNOWN, None, Code::NotFound), (&id, Some("b"), Code::NotFound)]
    {
        let error = Error::from(service.get_embedding(call(get(id, None), bound)).await.unwrap_err());
        assert_eq!(error.code, code, "{id}");
    }
}

#[tokio::test]
async fn a_bound_key_lists_and_deletes_its_own_rows_alone() {
    let (bench, service) = bench();
    let (mine, theirs) = (stored(&service, "mine").await, stored(&service, "theirs").await);
    let list = |bound| service.list_embeddings(call(v1::ListEmbeddingsRequest::default(), bound));
    assert_eq!(list(None).await.unwrap().into_inner().embeddings.len(), 2);
    let rows = list(Some("mine")).await.unwrap().into_inner().embeddings;
    assert_eq!(rows.iter().map(|row| row.embedding_id.as_str()).collect::<Vec<_>>(), [mine.as_str()]);

    let delete = |id: &str, bound| {
        service.delete_embedding(call(v1::DeleteEmbeddingRequest { embedding_id: id.into() }, bound))
    };
    assert_eq!(Error::from(delete(&theirs, Some("mine")).await.unwrap_err()).code, Code::NotFound);
    delete(&mine, Some("mine")).await.unwrap();
    let filter = bench.store.deletes.lock().unwrap().last().unwrap().filter.clone().unwrap();
    assert_eq!((filter.agent_id.as_str(), filter.embedding_ids), ("mine", vec![mine]));
    assert_eq!(Error::from(delete("x", None).await.unwrap_err()).code, Code::Invalid);
    assert_eq!(Error::from(delete(UNKNOWN, None).await.unwrap_err()).code, Code::NotFound);
}

#[tokio::test]
async fn an_empty_filter_deletes_nothing() {
    let (bench, service) = bench();
    let id = stored(&service, "a").await;
    let delete = |request: Value, bound| service.delete_embeddings(call(of_json(request), bound));
    for empty in [json!({}), json!({"metadata_filter": {}}), json!({"dry_run": true})] {
        for bound in [None, Some("a")] {
            let error = Error::from(delete(empty.clone(), bound).await.unwrap_err());
            assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("filter")), "{empty}");
        }
    }
    for (bad, param) in [
        (json!({"embedding_ids": [id, "x"]}), "embedding_ids[1]"),
        (json!({"agent_id": "a b"}), "agent_id"),
        (json!({"agent_id": "", "embedding_ids": [id]}), "agent_id"),
        (json!({"context_id": "", "agent_id": "a"}), "context_id"),
        (json!({"metadata_filter": {"a": "joe@example.com"}}), "metadata_filter"),
    ] {
        let error = Error::from(delete(bad.clone(), None).await.unwrap_err());
        assert_eq!(error.param.as_deref(), Some(param), "{bad}: {error}");
    }
    assert!(bench.store.deletes.lock().unwrap().is_empty());
    let answer = delete(json!({"agent_id": "a", "dry_run": true}), None).await.unwrap().into_inner();
    assert_eq!((answer.count, answer.dry_run), (1, true));
    assert!(bench.store.deletes.lock().unwrap()[0].dry_run);
}

#[tokio::test]
async fn bad_pages_are_named() {
    let (_, service) = bench();
    for (bad, param) in [
        (json!({"page_size": 0}), "page_size"),
        (json!({"agent_id": ""}), "agent_id"),
        (json!({"page_size": 1001}), "page_size"),
        (json!({"page_token": "x".repeat(1025)}), "page_token"),
        (json!({"space_id": "x"}), "space_id"),
        (json!({"context_id": ""}), "context_id"),
    ] {
        let error = Error::from(service.list_embeddings(call(of_json(bad.clone()), None)).await.unwrap_err());
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{bad}");
    }
}
