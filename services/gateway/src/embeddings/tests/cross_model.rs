use embermesh_proto::{
    internal::v1::{PutRequest, PutRow},
    v1::CatalogModel,
};
use embermesh_subscription::{Snapshot, Subscription};

use super::*;

/// Models of the stand-in router: their vectors lie in `test/<id>@4`.
fn known() -> Snapshot {
    ["east", "west", "absent"].into_iter().fold(Snapshot::default(), |snapshot, id| {
        snapshot.with_model(CatalogModel {
            id: id.into(),
            family: format!("test/{id}"),
            native_dimensions: 4,
            ..CatalogModel::default()
        })
    })
}

/// A bench whose agent `a` has each text in the spaces named.
async fn filled(rows: &[(&str, &str)]) -> (Bench, Embeddings) {
    let (mut bench, _) = bench();
    bench.parts.subscription = Subscription::fixed(known());
    let service = Embeddings::new(bench.parts.clone());
    for (model, words) in rows {
        let model = Some((*model).to_owned());
        let request = v1::EmbedRequest { agent_id: "a".into(), model, ..text(words) };
        service.embed(call(request, None)).await.unwrap();
    }
    bench.router.seen.lock().unwrap().clear();
    (bench, service)
}

async fn search(service: &Embeddings, request: Value) -> Result<v1::CrossModelSearchResponse, Error> {
    let answer = service.search_cross_model(call(of_json(request), None)).await;
    answer.map(Response::into_inner).map_err(Error::from)
}

#[tokio::test]
async fn each_space_is_asked_once_and_its_hits_keep_their_places() {
    let (bench, service) =
        filled(&[("east", "one"), ("east", "two"), ("west", "two"), ("west", "three")]).await;
    let request = of_json(json!({"query": "two", "agent_id": "a", "limit": 3, "exact": true}));
    let response = service.search_cross_model(call(request, None)).await.unwrap();
    assert_eq!(response.metadata().get("x-embermesh-cost-usd").unwrap(), "0.00000004");
    assert_eq!(response.metadata().get("x-embermesh-space").unwrap(), "test/east@4,test/west@4");
    let answer = response.into_inner();
    let seen = bench.router.seen.lock().unwrap().clone();
    let asked: Vec<(&str, &str, bool)> =
        seen.iter().map(|r| (r.model.as_str(), r.input_type.as_str(), r.stay_in_space)).collect();
    assert_eq!(asked, [("east", "query", true), ("west", "query", true)]);

    assert_eq!((answer.count, answer.cost_nano_usd, answer.truncated), (3, 40, None));
    let first = &answer.results[0];
    assert_eq!(
        (first.content.as_str(), first.space_id.as_str(), first.space_rank),
        ("two", "test/east@4", 1)
    );
    assert!((first.score - 2.0 / 61.0).abs() < 1e-12);
    let other = &first.also_in[0];
    assert_eq!(
        (other.space_id.as_str(), other.space_rank, other.model_used.as_str()),
        ("test/west@4", 1, "west")
    );
    assert_ne!(other.embedding_id, first.embedding_id);
    let rest: Vec<(&str, u32)> =
        answer.results[1..].iter().map(|hit| (hit.content.as_str(), hit.space_rank)).collect();
    assert_eq!(rest, [("one", 2), ("three", 2)]);
    let spaces: Vec<(&str, bool, u32, Option<&str>)> = answer
        .spaces
        .iter()
        .map(|of| (of.space_id.as_str(), of.searched, of.found, of.model.as_deref()))
        .collect();
    assert_eq!(spaces, [("test/east@4", true, 2, Some("east")), ("test/west@4", true, 2, Some("west"))]);
}

#[tokio::test]
async fn a_space_that_cannot_be_asked_is_named_with_its_reason() {
    let (_bench, service) = filled(&[("east", "one")]).await;
    // as the stand-in router will not make one
    let absent =
        PutRow { agent_id: "a".into(), content: "two".into(), model: "absent".into(), ..PutRow::default() };
    let put = |space: &str| PutRequest { space_id: space.into(), dimensions: 4, rows: vec![absent.clone()] };
    for space in ["test/absent@4", "test/unknown@4"] {
        service.0.store().put(context(None).request(put(space))).await.unwrap();
    }
    let answer = search(&service, json!({"query": "one"})).await.unwrap();
    let named: Vec<(&str, bool, &str)> = answer
        .spaces
        .iter()
        .map(|of| (of.space_id.as_str(), of.searched, of.code.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(
        named,
        [
            ("test/absent@4", false, "unavailable"),
            ("test/east@4", true, ""),
            ("test/unknown@4", false, "unavailable")
        ]
    );
    assert_eq!(answer.spaces[0].reason.as_deref(), Some("no provider can serve this"));
    assert!(answer.spaces[2].reason.as_deref().unwrap().contains("no model of the catalog"));
    assert_eq!(answer.truncated.as_deref(), Some("2 of 3 spaces could not be searched"));
    assert_eq!(answer.results.len(), 1);

    // nothing at all is an error, not an empty answer
    let error = search(&service, json!({"query": "one", "include_models": ["absent"]})).await.unwrap_err();
    assert_eq!((error.code, error.details["spaces"][0].as_str()), (Code::Unavailable, Some("test/absent@4")));
}

#[tokio::test]
async fn models_choose_the_spaces() {
    let (bench, service) = filled(&[("east", "one"), ("west", "one")]).await;
    for (request, expected) in [
        (json!({"query": "x", "include_models": ["west"]}), vec!["test/west@4"]),
        (json!({"query": "x", "exclude_models": ["west", "absent"]}), vec!["test/east@4"]),
        (json!({"query": "x", "include_models": ["absent"]}), vec![]),
    ] {
        let answer = search(&service, request).await.unwrap();
        let spaces: Vec<&str> = answer.spaces.iter().map(|of| of.space_id.as_str()).collect();
        assert_eq!(spaces, expected);
        if expected.is_empty() {
            assert_eq!((answer.count, answer.truncated.as_deref()), (0, Some("no rows match")));
        }
    }
    assert_eq!(bench.router.seen.lock().unwrap().len(), 2, "only what is searched is paid for");
}

#[tokio::test]
async fn scrub_first_here_too_and_each_bad_search_is_named() {
    let (bench, service) = filled(&[("east", "one"), ("west", "one")]).await;
    let answer = search(&service, json!({"query": "mail of joe@example.com"})).await.unwrap();
    assert_eq!(bench.router.texts(), ["mail of [EMAIL]"; 2]);
    assert_eq!(answer.pii.unwrap().counts["email"], 1);
    for (request, param) in [
        (json!({}), "query"),
        (json!({"query": "x", "limit": 0}), "limit"),
        (json!({"query": "x", "min_similarity": 2}), "min_similarity"),
        (json!({"query": "x", "agent_id": ""}), "agent_id"),
        (json!({"query": "x", "include_models": ["east", "nobody"]}), "include_models[1]"),
        (json!({"query": "x", "exclude_models": ["nobody"]}), "exclude_models[0]"),
    ] {
        let error = search(&service, request.clone()).await.unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{request}");
    }
}
