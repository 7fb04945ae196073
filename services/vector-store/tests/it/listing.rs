//! Lists, newest first, page by page.

use std::time::Duration;

use embermesh_proto::{
    from_le_bytes,
    internal::v1::{StoreFilter, StoreListRequest},
};

use crate::harness::{Bench, row};

#[tokio::test]
async fn pages_hold_every_row_once_even_when_many_were_made_at_the_same_instant() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let mut expected = Vec::new();
    // three instants, in two spaces and two months
    for turn in 0..3 {
        for space in ["test/model@4", "test/other@4"] {
            let rows =
                (0..7).map(|n| row(&format!("{turn} {space} {n}"), &[1.0, n as f32, 0.0, 0.0])).collect();
            expected.extend(
                caller.put_into(space, rows).await.unwrap().into_iter().map(|kept| kept.embedding_id),
            );
        }
        bench.clock.advance(Duration::from_secs(12 * 24 * 3600));
    }
    expected.sort();
    expected.reverse();
    for page_size in [1, 4, 41, 42, 1000] {
        let (mut seen, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = StoreListRequest {
                page_size,
                page_token,
                return_vector: true,
                ..StoreListRequest::default()
            };
            let page = caller.list(request).await.unwrap();
            assert!(page.rows.len() <= page_size as usize);
            assert!(page.rows.iter().all(|row| from_le_bytes(&row.vector).unwrap()[0] == 1.0));
            seen.extend(page.rows.into_iter().map(|row| row.embedding_id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, expected, "{page_size}");
    }
}

#[tokio::test]
async fn a_page_token_is_for_its_own_filter() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put(vec![row("1", &[1.0; 4]), row("2", &[1.0; 4])]).await;
    let filter = |agent: &str| Some(StoreFilter { agent_id: agent.into(), ..StoreFilter::default() });
    let first = StoreListRequest { page_size: 1, filter: filter("a"), ..StoreListRequest::default() };
    let page_token = caller.list(first.clone()).await.unwrap().next_page_token;
    for bad in [
        StoreListRequest { page_token: page_token.clone(), filter: filter("b"), ..first.clone() },
        StoreListRequest { page_token: "nonsense".into(), ..first.clone() },
    ] {
        assert_eq!(caller.list(bad).await.unwrap_err().param.as_deref(), Some("page_token"));
    }
    let next = caller.list(StoreListRequest { page_token, ..first.clone() }).await.unwrap();
    assert_eq!((next.rows.len(), next.rows[0].content.as_str()), (1, "1"));
    let too_large = StoreListRequest { page_size: 1001, ..first };
    assert_eq!(caller.list(too_large).await.unwrap_err().param.as_deref(), Some("page_size"));
}
