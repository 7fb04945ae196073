//! Rows that are older than their tenant keeps them.

use std::time::Duration;

use embermesh_proto::internal::v1::{PutRow, TenantEntry};
use embermesh_subscription::{Snapshot, Subscription};
use embermesh_types::TenantId;
use embermesh_vector_store::Settings;

use crate::harness::{Bench, row, search};

const DAY: Duration = Duration::from_secs(24 * 3600);
const BRIEF: &str = "0192d5a0-0000-7000-8000-0000000b81ef";
const LONG: &str = "0192d5a0-0000-7000-8000-0000000010e6";

fn settings() -> Settings {
    // the tests say when
    Settings { maintenance_seconds: 3_600, ..Settings::default() }
}

/// Admin tells that one tenant keeps its rows for 30 days.
fn told() -> Subscription {
    let entry = |id: &str, retention_days| TenantEntry {
        tenant_id: id.to_owned(),
        retention_days,
        ..TenantEntry::default()
    };
    Subscription::fixed(
        Snapshot::default().with_tenant(entry(BRIEF, Some(30))).with_tenant(entry(LONG, None)),
    )
}

fn tenant(id: &str) -> TenantId {
    id.parse().unwrap()
}

fn rows(prefix: &str, count: usize) -> Vec<PutRow> {
    (0..count).map(|n| row(&format!("{prefix} {n}"), &[1.0, n as f32, 0.0, 0.0])).collect()
}

#[tokio::test]
async fn what_is_older_goes_with_its_keys_and_other_tenants_keep_theirs() {
    let bench = Bench::told(settings(), told()).await;
    let (brief, long) = (bench.caller_of(tenant(BRIEF), None), bench.caller_of(tenant(LONG), None));
    // more than one transaction deletes
    for part in 0..4 {
        brief.put(rows(&format!("old {part}"), 1_500)).await;
    }
    long.put(rows("old", 3)).await;
    bench.clock.advance(20 * DAY);
    brief.put(rows("new", 2)).await;
    // a row that is found keeps its day
    assert!(brief.put(rows("old 0", 1)).await[0].deduplicated);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (6_005, 6_005));

    bench.clock.advance(11 * DAY);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (5, 5));
    assert_eq!(brief.search(search(&[1.0; 4])).await.unwrap().truncated, "only 2 rows match");
    assert_eq!(long.search(search(&[1.0; 4])).await.unwrap().truncated, "only 3 rows match");

    // what is stored again is new, and stays as long as any
    let again = brief.put(rows("old 0", 1)).await.remove(0);
    assert!(!again.deduplicated);
    bench.store.maintain().await.unwrap();
    assert!(brief.get(&again.embedding_id).await.is_ok());
    bench.clock.advance(31 * DAY);
    bench.store.maintain().await.unwrap();
    assert!(brief.get(&again.embedding_id).await.is_err());
    assert_eq!(bench.rows_and_keys().await, (3, 3));
}

#[tokio::test]
async fn nothing_goes_while_admin_was_not_heard() {
    let bench = Bench::told(settings(), Subscription::unknown()).await;
    let brief = bench.caller_of(tenant(BRIEF), None);
    brief.put(rows("old", 3)).await;
    bench.clock.advance(400 * DAY);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (3, 3));
}
