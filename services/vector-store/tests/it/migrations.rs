//! Rows with vectors in two spaces: a deletion wins over a copy that is being made, and nobody but the worker of a migration copies.

use embermesh_auth::{Scope, Scopes};
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{
        ClaimMigrationRequest, CommitBatchRequest, CopiedRow, CreateMigrationRequest, MigrationStanding,
        ScanReply, ScanRequest, StoreFilter, StoreListRequest, WorkerCall,
        migration_store_client::MigrationStoreClient,
    },
    to_le_bytes,
    v1::Migration,
};
use embermesh_transport::{CallContext, Transport};

use crate::harness::{Bench, Caller, SPACE, row};

const TARGET: &str = "test/other@2";

/// A migration that this test works on.
struct Work {
    client: MigrationStoreClient<Transport>,
    context: CallContext,
    call: WorkerCall,
}

impl Work {
    async fn begin(bench: &Bench, caller: &Caller) -> Self {
        let scopes: Scopes = [Scope::Admin].into_iter().collect();
        let mut context = caller.context.clone();
        context.principal.scopes = scopes;
        let mut client = bench.migrations();
        let create = CreateMigrationRequest {
            from_space_id: SPACE.into(),
            to_space_id: TARGET.into(),
            to_model: "other".into(),
            on_too_long: "error".into(),
            requests_per_minute: 1,
            tokens_per_minute: 1,
            ..CreateMigrationRequest::default()
        };
        let Migration { migration_id, .. } =
            client.create(context.request(create)).await.unwrap().into_inner();
        let mut work = Self { client, context, call: WorkerCall { migration_id, ..WorkerCall::default() } };
        assert_eq!(work.claim(1).await.as_deref(), Some(&*work.call.migration_id));
        work
    }

    /// The id of the migration that a worker is given; it works as that one from then on.
    async fn claim(&mut self, worker: u8) -> Option<String> {
        let claim = ClaimMigrationRequest { worker: vec![worker; 16].into(), lease_ms: 60_000 };
        let claimed = self.client.claim(tonic::Request::new(claim)).await.unwrap().into_inner().claimed?;
        self.call.worker = vec![worker; 16].into();
        self.call.lease_ms = 60_000;
        Some(claimed.migration?.migration_id)
    }

    async fn scan(&self) -> ScanReply {
        let call = Some(self.call.clone());
        let scan = ScanRequest { call, examine: 100, rows: 100, ..ScanRequest::default() };
        self.client.clone().scan(self.context.request(scan)).await.unwrap().into_inner()
    }

    async fn copy(&self, ids: &[String]) -> Result<MigrationStanding, Error> {
        let copies = ids.iter().map(|id| CopiedRow {
            embedding_id: id.clone(),
            provider: "p".into(),
            vector: to_le_bytes(&[1.0, 2.0]),
            tokens: 1,
            cost_nano_usd: 1,
        });
        let commit = CommitBatchRequest {
            call: Some(self.call.clone()),
            model: "other".into(),
            copies: copies.collect(),
            ..CommitBatchRequest::default()
        };
        let reply = self.client.clone().commit(self.context.request(commit)).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }
}

#[tokio::test]
async fn a_copied_row_is_one_row() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let ids = [
        caller.put_one(row("one", &[1.0; 4])).await,
        caller.put_one(row("two", &[1.0, 0.0, 0.0, 0.0])).await,
        caller.put_one(row("three", &[0.0, 1.0, 0.0, 0.0])).await,
    ];
    let work = Work::begin(&bench, &caller).await;
    assert_eq!(work.scan().await.rows.len(), 3);
    assert_eq!(work.copy(&ids[..2]).await.unwrap().copied, 2);
    // repeated, as after a kill
    assert_eq!(work.copy(&ids[..2]).await.unwrap().copied, 0);
    assert_eq!(work.scan().await.rows.iter().map(|row| &row.embedding_id).collect::<Vec<_>>(), [&ids[2]]);
    assert_eq!(bench.rows_and_keys().await, (5, 5));
    let page = StoreListRequest { page_size: 2, ..StoreListRequest::default() };
    let first = caller.list(page.clone()).await.unwrap();
    let second = StoreListRequest { page_token: first.next_page_token.clone(), ..page };
    let second = caller.list(second).await.unwrap();
    let mut listed: Vec<_> = first.rows.iter().chain(&second.rows).map(|row| row.content.as_str()).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["one", "three", "two"]);
    // with a row of its own the new space is listed too, and its copies are not
    let native = row("four", &[1.0, 0.0]);
    caller.put_into(TARGET, vec![native]).await.unwrap();
    let all = caller.list(StoreListRequest::default()).await.unwrap().rows;
    assert_eq!(all.len(), 4);
    assert_eq!(all.iter().filter(|row| row.space_id == TARGET).count(), 1);
    assert_eq!(caller.get(&ids[0]).await.unwrap().space_id, SPACE);
    // a text that is put into the new space is known there
    let again = caller.put_into(TARGET, vec![row("two", &[0.0, 1.0])]).await.unwrap().remove(0);
    assert!(again.deduplicated && again.embedding_id == ids[1]);

    let everything = StoreFilter { agent_id: "a".into(), ..StoreFilter::default() };
    assert_eq!(caller.delete(everything.clone(), true).await.unwrap(), 4);
    assert_eq!(caller.delete(everything, false).await.unwrap(), 4);
    assert_eq!(bench.rows_and_keys().await, (0, 0));
}

#[tokio::test]
async fn a_deletion_wins_over_a_copy_that_is_being_made() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("the first", &[1.0; 4])).await;
    let work = Work::begin(&bench, &caller).await;
    for round in 0..40 {
        let rows = (0..20).map(|n| row(&format!("{round} {n}"), &[1.0, n as f32, 0.0, 0.0])).collect();
        let ids: Vec<String> = caller.put(rows).await.into_iter().map(|row| row.embedding_id).collect();
        let gone = StoreFilter { embedding_ids: ids.clone(), ..StoreFilter::default() };
        let (copied, deleted) = tokio::join!(work.copy(&ids), caller.delete(gone, false));
        copied.unwrap();
        assert_eq!(deleted.unwrap(), 20);
        assert_eq!(bench.rows_and_keys().await, (1, 1), "in round {round}");
        // and what is gone is not copied
        assert_eq!(work.copy(&ids).await.unwrap().copied, 0);
    }
}

#[tokio::test]
async fn only_the_worker_that_holds_a_migration_copies() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let id = caller.put_one(row("one", &[1.0; 4])).await;
    let mut work = Work::begin(&bench, &caller).await;
    assert_eq!(work.claim(2).await, None, "it is another worker's");
    let mut other =
        Work { client: work.client.clone(), context: work.context.clone(), call: work.call.clone() };
    other.call.worker = vec![2; 16].into();
    assert_eq!(other.copy(std::slice::from_ref(&id)).await.unwrap_err().code, Code::Conflict);
    // of another tenant the migration is unknown
    let mut stranger = work.context.clone();
    stranger.principal.tenant = bench.caller().tenant();
    let get = embermesh_proto::v1::GetMigrationRequest { migration_id: work.call.migration_id.clone() };
    let refused = work.client.get(stranger.request(get)).await.unwrap_err();
    assert_eq!(Error::from(refused).code, Code::NotFound);
    assert_eq!(work.copy(&[id]).await.unwrap().copied, 1);
}
