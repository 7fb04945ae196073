//! Rows with vectors in two spaces: a deletion wins over a copy that is being made, and nobody but the worker of a migration copies.

use std::time::Duration;

use embermesh_auth::{Scope, Scopes};
use embermesh_cache::testing::TestRedis;
use embermesh_errors::{Code, Error};
use embermesh_postgres::Role;
use embermesh_proto::{
    internal::v1::{
        ChangeMigrationRequest, ClaimMigrationRequest, ClaimedMigration, CommitBatchRequest, CopiedRow,
        CreateMigrationRequest, MigrationStanding, ReportRequest, ScanReply, ScanRequest, StartWarmRequest,
        StoreFilter, StoreListRequest, WarmModel, WorkerCall, migration_store_client::MigrationStoreClient,
    },
    to_le_bytes,
    v1::{GetMigrationRequest, Migration},
};
use embermesh_transport::{CallContext, Transport};

use crate::{
    harness::{Bench, Caller, SPACE, row},
    jobs::{Admin, PATIENT},
};

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
        let claimed = work.claim(1).await.unwrap().migration.unwrap();
        assert_eq!(claimed.migration_id, work.call.migration_id);
        work
    }

    async fn migration(&self) -> Migration {
        let get = GetMigrationRequest { migration_id: self.call.migration_id.clone() };
        self.client.clone().get(self.context.request(get)).await.unwrap().into_inner()
    }

    /// Does what an operator asks for, whatever the spaces have in common.
    async fn change(&self, action: &str) {
        let (migration_id, action) = (self.call.migration_id.clone(), action.to_owned());
        let change =
            ChangeMigrationRequest { migration_id, action, force: true, ..ChangeMigrationRequest::default() };
        self.client.clone().change(self.context.request(change)).await.unwrap();
    }

    fn reporting(&self, from: &str, to: &str) -> ReportRequest {
        ReportRequest {
            call: Some(self.call.clone()),
            from: from.into(),
            to: to.into(),
            ..ReportRequest::default()
        }
    }

    async fn report(&self, from: &str, to: &str) {
        let report = self.reporting(from, to);
        self.client.clone().report(self.context.request(report)).await.unwrap();
    }

    /// The migration that a worker is given; it works as that one from then on.
    async fn claim(&mut self, worker: u8) -> Option<ClaimedMigration> {
        let claim = ClaimMigrationRequest { worker: vec![worker; 16].into(), lease_ms: 60_000 };
        let claimed = self.client.claim(tonic::Request::new(claim)).await.unwrap().into_inner().claimed?;
        self.call.worker = vec![worker; 16].into();
        self.call.lease_ms = 60_000;
        Some(claimed)
    }

    async fn scan(&self) -> ScanReply {
        let call = Some(self.call.clone());
        let scan = ScanRequest { call, examine: 100, rows: 100, ..ScanRequest::default() };
        self.client.clone().scan(self.context.request(scan)).await.unwrap().into_inner()
    }

    /// Keeps copies, as a worker does that has begun.
    async fn copy(&self, ids: &[String]) -> Result<MigrationStanding, Error> {
        self.copy_as(ids, &[1.0, 2.0], false).await
    }

    async fn copy_as(
        &self,
        ids: &[String],
        vector: &[f32],
        truncated: bool,
    ) -> Result<MigrationStanding, Error> {
        self.client.clone().begin(self.context.request(self.call.clone())).await?;
        self.keep(ids, vector, truncated).await
    }

    async fn keep(
        &self,
        ids: &[String],
        vector: &[f32],
        truncated: bool,
    ) -> Result<MigrationStanding, Error> {
        let copies = ids.iter().map(|id| CopiedRow {
            embedding_id: id.clone(),
            provider: "p".into(),
            vector: to_le_bytes(vector),
            tokens: 1,
            cost_nano_usd: 1,
            truncated,
        });
        let commit = CommitBatchRequest {
            call: Some(self.call.clone()),
            model: "other".into(),
            copies: copies.collect(),
            tokens: ids.len() as u64,
            cost_nano_usd: ids.len() as i64,
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
async fn a_deletion_that_is_cut_off_leaves_a_row_whole_or_nothing_of_it() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let id = caller.put_one(row("one", &[1.0; 4])).await;
    let work = Work::begin(&bench, &caller).await;
    work.copy(std::slice::from_ref(&id)).await.unwrap();
    let gone = StoreFilter { embedding_ids: vec![id.clone()], ..StoreFilter::default() };
    let of_its_space = StoreFilter { space_id: SPACE.into(), ..gone.clone() };
    for filter in [gone.clone(), of_its_space] {
        let owner = bench.sql(Role::Owner).await;
        // whoever deletes the copy has to wait
        let holding = owner.system().begin().await.unwrap();
        let rows = holding.query("SELECT FROM space_2 FOR UPDATE", &[]).await.unwrap();
        assert_eq!(rows.len(), 1);
        let deletion = caller.delete(filter, false);
        assert!(tokio::time::timeout(Duration::from_millis(500), deletion).await.is_err());
        holding.rollback().await.unwrap();
        // the row with its copy, or neither
        let (rows, keys) = bench.rows_and_keys().await;
        assert!(rows == keys && rows != 1, "{rows} rows, {keys} keys");
    }
    assert_eq!(caller.delete(gone.clone(), true).await.unwrap(), caller.delete(gone, false).await.unwrap());
    assert_eq!(bench.rows_and_keys().await, (0, 0));
}

#[tokio::test]
async fn a_batch_that_is_kept_again_counts_once() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let ids = [caller.put_one(row("one", &[1.0; 4])).await];
    let work = Work::begin(&bench, &caller).await;
    assert_eq!(work.copy(&ids).await.unwrap().copied, 1);
    // its answer was lost
    assert_eq!(work.keep(&ids, &[1.0, 2.0], false).await.unwrap().copied, 0);
    let stands = work.migration().await;
    assert_eq!((stands.rows_copied, stands.tokens, stands.cost_nano_usd), (1, 1, 1));
}

#[tokio::test]
async fn a_vector_that_cannot_be_kept_is_a_failure_of_its_row() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let ids = [caller.put_one(row("one", &[1.0; 4])).await];
    let work = Work::begin(&bench, &caller).await;
    assert_eq!(work.copy_as(&ids, &[1e6, 1.0], false).await.unwrap().copied, 0);
    assert_eq!(work.migration().await.rows_failed, 1);
    assert_eq!(bench.rows_and_keys().await, (1, 1));
}

#[tokio::test]
async fn a_row_keeps_its_id_when_the_new_space_had_an_equal_one() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let ids = [
        caller.put_one(row("one", &[1.0; 4])).await,
        caller.put_one(row("two", &[1.0, 0.0, 0.0, 0.0])).await,
    ];
    let equal = caller.put_into(TARGET, vec![row("one", &[1.0, 2.0])]).await.unwrap().remove(0);
    assert_ne!(equal.embedding_id, ids[0]);
    let work = Work::begin(&bench, &caller).await;
    assert_eq!(work.copy(&ids).await.unwrap().copied, 1);
    work.report("running", "ready").await;
    work.change("cut_over").await;
    work.report("cutting_over", "cut_over").await;
    work.change("finish").await;
    while work.client.clone().drop(work.context.request(work.call.clone())).await.unwrap().into_inner().rows
        > 0
    {}
    for (id, space) in [(&ids[0], SPACE), (&ids[1], TARGET), (&equal.embedding_id, TARGET)] {
        assert_eq!(caller.get(id).await.unwrap().space_id, space);
    }
    assert_eq!(bench.rows_and_keys().await, (3, 3));
}

#[tokio::test]
async fn what_a_cut_over_may_have_led_into_the_new_space_counts_from_when_it_was_told() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(row("one", &[1.0; 4])).await;
    let mut work = Work::begin(&bench, &caller).await;
    work.report("running", "ready").await;
    let told = bench.clock.clock().now();
    work.change("cut_over").await;
    // its worker dies, and another one is done much later
    bench.clock.advance(Duration::from_secs(600));
    work.report("cutting_over", "cut_over").await;
    work.change("roll_back").await;
    let release = ReportRequest { release_for_ms: Some(0), ..work.reporting("rolling_back", "") };
    work.client.clone().report(work.context.request(release)).await.unwrap();
    let claimed = work.claim(2).await.unwrap();
    assert_eq!(claimed.cutting_since, Some(told.into()));
    let over = claimed.migration.unwrap().cut_over_at.unwrap();
    assert_eq!(over, (told + Duration::from_secs(600)).into());
}

#[tokio::test]
async fn a_cache_is_not_warmed_with_the_vector_of_a_beginning() {
    let redis = TestRedis::start();
    let bench = Bench::with_redis(&redis.url(), PATIENT).await;
    let caller = bench.caller();
    let ids = [
        caller.put_one(row("whole", &[1.0; 4])).await,
        caller.put_one(row("too long", &[1.0, 0.0, 0.0, 0.0])).await,
    ];
    let work = Work::begin(&bench, &caller).await;
    work.copy(&ids[..1]).await.unwrap();
    work.copy_as(&ids[1..], &[1.0, 2.0], true).await.unwrap();
    let admin = Admin::of(&bench, &caller);
    let warm = |warm: &mut StartWarmRequest| {
        warm.space_id = TARGET.into();
        warm.models = vec![WarmModel { id: "other".into(), distinguishes_input_type: false }];
    };
    let job = admin.warm(warm).await;
    assert_eq!((job.state.as_str(), job.done, job.changed), ("done", 2, 1), "{job:?}");
    assert!(job.note.unwrap().contains("of a beginning"));
}

#[tokio::test]
async fn only_the_worker_that_holds_a_migration_copies() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let id = caller.put_one(row("one", &[1.0; 4])).await;
    let mut work = Work::begin(&bench, &caller).await;
    assert!(work.claim(2).await.is_none(), "it is another worker's");
    let mut other =
        Work { client: work.client.clone(), context: work.context.clone(), call: work.call.clone() };
    other.call.worker = vec![2; 16].into();
    assert_eq!(other.copy(std::slice::from_ref(&id)).await.unwrap_err().code, Code::Conflict);
    // of another tenant the migration is unknown
    let mut stranger = work.context.clone();
    stranger.principal.tenant = bench.caller().tenant();
    let get = GetMigrationRequest { migration_id: work.call.migration_id.clone() };
    let refused = work.client.get(stranger.request(get)).await.unwrap_err();
    assert_eq!(Error::from(refused).code, Code::NotFound);
    assert_eq!(work.copy(&[id]).await.unwrap().copied, 1);
}
