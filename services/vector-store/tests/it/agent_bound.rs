//! I4: a key bound to an agent stays with it in every call.

use embermesh_errors::Code;
use embermesh_proto::internal::v1::{PutRow, StoreFilter, StoreListRequest, StoreSearchRequest};

use crate::harness::{Bench, row, search};

#[tokio::test]
async fn a_bound_key_reads_searches_and_deletes_rows_of_its_agent_alone() {
    let bench = Bench::start().await;
    let free = bench.caller();
    let bound = bench.caller_of(free.tenant(), Some("mine"));
    let of = |agent: &str| PutRow { agent_id: agent.into(), ..row(&format!("of {agent}"), &[1.0; 4]) };
    let theirs = free.put_one(of("theirs")).await;
    let mine = bound.put_one(PutRow { agent_id: String::new(), ..of("mine") }).await;

    let reply = bound.search(search(&[1.0; 4])).await.unwrap();
    assert_eq!((reply.hits.len(), reply.hits[0].row.as_ref().unwrap().agent_id.as_str()), (1, "mine"));
    assert_eq!(bound.list(StoreListRequest::default()).await.unwrap().rows.len(), 1);
    assert_eq!(free.list(StoreListRequest::default()).await.unwrap().rows.len(), 2);
    assert_eq!(bound.get(&theirs).await.unwrap_err().code, Code::NotFound);
    assert!(bound.get(&mine).await.is_ok() && free.get(&theirs).await.is_ok());

    let ids = StoreFilter { embedding_ids: vec![theirs.clone()], ..StoreFilter::default() };
    assert_eq!(bound.delete(ids.clone(), true).await.unwrap(), 0);
    assert_eq!(bound.delete(ids, false).await.unwrap(), 0);
    assert!(free.get(&theirs).await.is_ok());

    let named = StoreFilter { agent_id: "theirs".into(), ..StoreFilter::default() };
    let request = StoreSearchRequest { filter: Some(named.clone()), ..search(&[1.0; 4]) };
    assert_eq!(bound.search(request).await.unwrap_err().code, Code::Forbidden);
    let list = StoreListRequest { filter: Some(named.clone()), ..StoreListRequest::default() };
    assert_eq!(bound.list(list).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(bound.delete(named, false).await.unwrap_err().code, Code::Forbidden);
    let put = bound
        .put_into(crate::harness::SPACE, vec![PutRow { agent_id: "theirs".into(), ..row("x", &[1.0; 4]) }]);
    assert_eq!(put.await.unwrap_err().code, Code::Forbidden);
}
