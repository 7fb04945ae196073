//! I4: a tenant sees its own rows and no others.

use embermesh_postgres::Role;
use embermesh_proto::internal::v1::{KeyState, StoreFilter, StoreListRequest};

use crate::harness::{Bench, row, search};

#[tokio::test]
async fn two_tenants_never_meet_in_any_call() {
    let bench = Bench::start().await;
    let (one, two) = (bench.caller(), bench.caller());
    let secret = row("secret", &[1.0; 4]);
    let id = one.put_one(secret.clone()).await;

    let reply = two.search(search(&[1.0; 4])).await.unwrap();
    assert!(reply.hits.is_empty() && reply.other_spaces.is_empty());
    assert!(two.get(&id).await.is_err());
    assert!(two.list(StoreListRequest::default()).await.unwrap().rows.is_empty());
    for filter in [
        StoreFilter { embedding_ids: vec![id.clone()], ..StoreFilter::default() },
        StoreFilter { agent_id: "a".into(), ..StoreFilter::default() },
        StoreFilter { space_id: crate::harness::SPACE.into(), ..StoreFilter::default() },
    ] {
        assert_eq!(two.delete(filter.clone(), true).await.unwrap(), 0);
        assert_eq!(two.delete(filter, false).await.unwrap(), 0);
    }
    // the text is not shared either
    let own = two.put(vec![secret]).await.remove(0);
    assert!(!own.deduplicated && own.embedding_id != id);
    assert!(one.get(&id).await.is_ok());
    assert_eq!(bench.rows_and_keys().await, (2, 2));
}

#[tokio::test]
async fn the_application_role_sees_nothing_without_a_tenant_and_reaches_no_partition() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("secret", &[1.0; 4])).await;
    assert_eq!(caller.take("k", 1, 1).await, KeyState::Taken);
    let app = bench.sql(Role::App).await;
    for table in ["space_1", "embedding_keys", "answers", "embeddings"] {
        let sql = format!("SELECT count(*) FROM {table}");
        let seen = async |session: embermesh_postgres::Session<'_>| -> i64 {
            session.query_one(&sql, &[]).await.unwrap().get(0)
        };
        assert_eq!(seen(app.system()).await, 0, "{table}");
        assert_eq!(seen(app.tenant(bench.caller().tenant().uuid())).await, 0, "{table}");
        assert_eq!(seen(app.tenant(caller.tenant().uuid())).await, 1, "{table}");
    }
    for sql in [
        "SELECT count(*) FROM space_1_2025_11",
        "SELECT count(*) FROM embedding_keys_0",
        "SELECT create_space('x/y@3', 3, 'half', now())::text",
        "SELECT add_partitions(1, now())::text",
    ] {
        let error = app.tenant(caller.tenant().uuid()).query(sql, &[]).await.unwrap_err();
        assert!(matches!(error, embermesh_postgres::DbError::Denied(_)), "{sql}: {error}");
    }
}

#[tokio::test]
async fn every_table_with_tenants_has_forced_row_level_security() {
    let bench = Bench::start().await;
    bench.caller().put_one(row("text", &[1.0; 4])).await;
    // partitions are reached through their parents alone, which the test above shows
    let open = "SELECT count(*) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
        WHERE c.relnamespace = 'store'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND NOT (c.relrowsecurity AND c.relforcerowsecurity)";
    assert_eq!(bench.number(open).await, 0);
    let closed = open.replace("AND NOT (c.relrow", "AND (c.relrow");
    assert_eq!(bench.number(&closed).await, 9);
}
