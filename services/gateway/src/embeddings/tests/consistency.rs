use embermesh_proto::internal::v1::StoreRead;

use super::*;

const TOKEN: &str = "w1-0000000000000000000000010000000000000009";

async fn read_of(json: Value) -> Option<StoreRead> {
    let (bench, service) = bench();
    service.search(call(of_json(json), None)).await.unwrap();
    let searches = bench.store.searches.lock().unwrap();
    searches.last().unwrap().read.clone()
}

#[tokio::test]
async fn the_store_is_told_what_a_search_has_to_see() {
    let read = |eventual, after_token: &str| Some(StoreRead { eventual, after_token: after_token.into() });
    for (more, expected) in [
        (json!({}), read(true, "")),
        (json!({"consistency": "eventual"}), read(true, "")),
        (json!({"consistency": "read_your_writes"}), read(false, "primary")),
        (json!({"after_token": TOKEN}), read(false, TOKEN)),
        (json!({"consistency": "read_your_writes", "after_token": TOKEN}), read(false, TOKEN)),
    ] {
        let mut request = json!({"query": "x"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(read_of(request).await, expected, "{more}");
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_before_a_query_is_embedded() {
    let (bench, service) = bench();
    for (more, param) in [
        (json!({"after_token": "w1-1"}), "after_token"),
        (json!({"consistency": "eventual", "after_token": TOKEN}), "after_token"),
        (json!({"consistency": "linearizable"}), "consistency"),
    ] {
        let mut request = json!({"query": "x"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let one = service.search(call(of_json(request.clone()), None)).await.map(drop);
        let all = service.search_cross_model(call(of_json(request), None)).await.map(drop);
        for outcome in [one, all] {
            let error = Error::from(outcome.unwrap_err());
            assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{more}");
        }
    }
    assert!(bench.router.texts().is_empty());
}

#[tokio::test]
async fn a_batch_has_the_token_of_its_last_write() {
    let (_, service) = bench();
    let request = of_json(json!({"requests": [
        {"text": "one", "model": "east"}, {"text": "two", "model": "west"}, {"text": "three", "store": false},
    ]}));
    let answer = service.embed_batch(call(request, None)).await.unwrap().into_inner();
    let tokens: Vec<_> = answer.embeddings.iter().map(|entry| entry.write_token.as_deref()).collect();
    // a call to the store for each space; the later of them covers the earlier
    assert!(tokens[0] < tokens[1] && tokens[0].is_some(), "{tokens:?}");
    assert_eq!((tokens[2], answer.write_token.as_deref()), (None, tokens[1]));
    let request = of_json(json!({"requests": [{"text": "three", "store": false}]}));
    assert_eq!(service.embed_batch(call(request, None)).await.unwrap().into_inner().write_token, None);
}
