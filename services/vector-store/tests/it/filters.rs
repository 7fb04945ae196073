//! Filters restrict searches, lists and deletions alike, and name the other spaces that they match in.

use std::time::{Duration, SystemTime};

use embermesh_proto::internal::v1::{PutRow, StoreFilter, StoreListRequest, StoreSearchRequest};

use crate::harness::{Bench, Caller, row, search};

const QUERY: [f32; 4] = [1.0, 0.0, 0.0, 0.0];

async fn matching(caller: &Caller, filter: StoreFilter) -> Vec<String> {
    let mut found = caller.nearest(&QUERY, filter.clone()).await;
    found.sort();
    let list = StoreListRequest { filter: Some(filter.clone()), ..StoreListRequest::default() };
    let mut listed: Vec<_> =
        caller.list(list).await.unwrap().rows.into_iter().map(|row| row.content).collect();
    listed.sort();
    assert_eq!(found, listed, "{filter:?}");
    if filter != StoreFilter::default() {
        assert_eq!(caller.delete(filter, true).await.unwrap(), found.len() as u64);
    }
    found
}

#[tokio::test]
async fn each_part_restricts() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let first = caller
        .put(vec![
            PutRow {
                metadata: r#"{"lang":"en","n":1.0,"tags":["a","b"],"o":{"x":1,"y":2}}"#.into(),
                ..row("1", &QUERY)
            },
            PutRow { metadata: r#"{"lang":"de","n":null}"#.into(), agent_id: "b".into(), ..row("2", &QUERY) },
            PutRow { context_id: "c".into(), ..row("3", &QUERY) },
        ])
        .await;
    bench.clock.advance(Duration::from_secs(60));
    let later: SystemTime =
        SystemTime::try_from(first[0].created_at.unwrap()).unwrap() + Duration::from_secs(60);
    caller.put_one(row("4", &QUERY)).await;

    let metadata = |text: &str| StoreFilter { metadata: text.into(), ..StoreFilter::default() };
    let cases = [
        (StoreFilter::default(), "1234"),
        (StoreFilter { agent_id: "a".into(), ..StoreFilter::default() }, "134"),
        (StoreFilter { agent_id: "nobody".into(), ..StoreFilter::default() }, ""),
        (StoreFilter { context_id: "c".into(), ..StoreFilter::default() }, "3"),
        (StoreFilter { created_after: Some(later.into()), ..StoreFilter::default() }, "4"),
        (StoreFilter { created_before: Some(later.into()), ..StoreFilter::default() }, "123"),
        (
            StoreFilter {
                embedding_ids: vec![first[0].embedding_id.clone(), first[2].embedding_id.clone(), later_id()],
                ..StoreFilter::default()
            },
            "13",
        ),
        (metadata(r#"{"lang":"en"}"#), "1"),
        (metadata(r#"{"n":1}"#), "1"),
        (metadata(r#"{"lang":{"$in":["en","de","fr"]}}"#), "12"),
        (metadata(r#"{"tags":{"$in":["b","z"]}}"#), "1"),
        (metadata(r#"{"tags":{"$eq":["a","b"]}}"#), "1"),
        (metadata(r#"{"n":{"$gte":1,"$lt":1.5}}"#), "1"),
        (metadata(r#"{"n":{"$gt":1}}"#), ""),
        (metadata(r#"{"lang":{"$gt":"de"}}"#), "1"),
        (metadata(r#"{"lang":{"$lt":7}}"#), ""),
        (metadata(r#"{"lang":{"$prefix":"d"}}"#), "2"),
        (metadata(r#"{"o":{"y":{"$lte":2}}}"#), "1"),
        (metadata(r#"{"o":{"y":{"$lte":2},"x":2}}"#), ""),
        (metadata(r#"{"n":{"$exists":true}}"#), "12"),
        (metadata(r#"{"lang":{"$exists":false}}"#), "34"),
        (metadata(r#"{"n":{"$in":[null]}}"#), "2"),
        (metadata(r#"{"n":"1"}"#), ""),
        (metadata(r#"{"n":null}"#), "2"),
        (metadata(r#"{"lang":"de","n":1}"#), ""),
        (metadata(r#"{"tags":["b"]}"#), "1"),
        (metadata(r#"{"o":{"y":2}}"#), "1"),
        (StoreFilter { agent_id: "a".into(), ..metadata(r#"{"lang":"de"}"#) }, ""),
    ];
    for (filter, expected) in cases {
        assert_eq!(matching(&caller, filter.clone()).await.concat(), expected, "{filter:?}");
    }
}

fn later_id() -> String {
    "019a0000-0000-4000-8000-000000000000".into()
}

#[tokio::test]
async fn other_spaces_that_hold_matching_rows_are_named() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("here", &QUERY)).await;
    caller.put_into("test/other@2", vec![row("there", &[1.0, 0.0])]).await.unwrap();
    let of_b = PutRow { agent_id: "b".into(), ..row("of b", &[1.0]) };
    caller.put_into("test/third@1", vec![of_b]).await.unwrap();
    bench.caller().put_into("test/strangers@1", vec![row("x", &[1.0])]).await.unwrap();

    let others = async |agent: &str| {
        let filter = Some(StoreFilter { agent_id: agent.into(), ..StoreFilter::default() });
        let reply = caller.search(StoreSearchRequest { filter, ..search(&QUERY) }).await.unwrap();
        (reply.hits.len(), reply.other_spaces)
    };
    assert_eq!(others("").await, (1, vec!["test/other@2".to_owned(), "test/third@1".to_owned()]));
    assert_eq!(others("a").await, (1, vec!["test/other@2".to_owned()]));
    assert_eq!(others("b").await, (0, vec!["test/third@1".to_owned()]));
    let filter = Some(StoreFilter { space_id: "test/other@2".into(), ..StoreFilter::default() });
    assert!(caller.search(StoreSearchRequest { filter, ..search(&QUERY) }).await.is_err());
}
