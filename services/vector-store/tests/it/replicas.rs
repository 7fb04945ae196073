//! Reads on real streaming standbys that are stopped, paused, held back, frozen and promoted: a read that names its write sees it every
//! time, and whoever takes what there is gets an answer every time.

mod fail_over;
mod world;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use embermesh_proto::internal::v1::{
    PutRequest, StoreFilter, StoreListRequest, StoreRead, StoreSearchRequest,
};
use futures::{TryStreamExt as _, stream};
use tokio::task::JoinSet;

use crate::harness::{Numbers, SPACE, contents, row, search};
use world::{World, after, eventual};

const WORKERS: usize = 8;

/// What happens to the replicas, one after the other.
const PHASES: [&str; 11] = [
    "both follow",
    "a process of one is killed",
    "one is stopped",
    "it is back",
    "the other replays nothing",
    "it goes on",
    "one lags by ten seconds",
    "it has caught up",
    "the other is frozen",
    "it has thawed",
    "it is promoted",
];

/// Reads after their write, over all phases and workers: few enough for every run of the tests, unless `make replicas` wants more.
fn all_checks() -> usize {
    std::env::var("EMBERMESH_REPLICA_CHECKS").map_or(2_200, |checks| checks.parse().unwrap())
}

/// What became of reads.
#[derive(Default)]
struct Tally {
    checked: AtomicUsize,
    stale: AtomicUsize,
    /// Eventual reads that did not see the write yet, as they may.
    old: AtomicUsize,
}

/// Writes, and reads what was written by its token in one of three ways, and once as it comes.
async fn check(world: &World, tally: &Tally, worker: usize, at: usize) {
    let caller = &world.caller;
    let (content, context) = (format!("text {worker} {at}"), format!("context {worker} {at}"));
    let vector = Numbers::new((worker * 1_000_003 + at) as u64).vector(4);
    let mut put = row(&content, &vector);
    put.context_id = context.clone();
    let (id, token) = world.put(put).await;
    let filter = Some(StoreFilter { context_id: context, ..StoreFilter::default() });
    let one = |read| StoreSearchRequest { filter: filter.clone(), read: Some(read), ..search(&vector) };
    let is_seen = match at % 3 {
        0 => contents(caller.search(one(after(&token))).await.unwrap()) == [content.clone()],
        1 => {
            let list =
                StoreListRequest { filter: filter.clone(), read: Some(after(&token)), ..Default::default() };
            caller.list(list).await.unwrap().rows.len() == 1
        }
        _ => world.get(&id, after(&token)).await.is_ok(),
    };
    tally.checked.fetch_add(1, Ordering::Relaxed);
    tally.stale.fetch_add(usize::from(!is_seen), Ordering::Relaxed);
    // it must be answered, with whatever there is
    let found = caller.search(one(eventual())).await.unwrap();
    tally.old.fetch_add(usize::from(found.hits.is_empty()), Ordering::Relaxed);
}

/// So many checks by some workers at once.
async fn checks(world: &Arc<World>, count: usize, from: usize) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (world, tally) = (Arc::clone(world), Arc::clone(&tally));
        workers.spawn(async move {
            for at in from..from + count / WORKERS {
                check(&world, &tally, worker, at).await;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_name_their_write_see_it_whatever_replicas_do() {
    let world = Arc::new(World::start(2).await);
    world.all_follow().await;
    let (mut checked, mut stale) = (0, 0);
    let each = all_checks() / PHASES.len();
    for phase in PHASES {
        let before = (world.on_replicas(), world.repeated());
        {
            let mut standbys = world.standbys.lock().await;
            match phase {
                "a process of one is killed" => standbys[0].kill_a_process().await,
                "one is stopped" => standbys[0].stop().await,
                "it is back" => standbys[0].start().await,
                "the other replays nothing" => standbys[1].pause(true).await,
                "it goes on" => standbys[1].pause(false).await,
                "one lags by ten seconds" => standbys[0].delay(10).await,
                "it has caught up" => standbys[0].delay(0).await,
                "the other is frozen" => standbys[1].freeze(true),
                "it has thawed" => standbys[1].freeze(false),
                "it is promoted" => standbys[1].promote().await,
                _ => {}
            }
        }
        if ["it is back", "it goes on", "it has caught up", "it has thawed"].contains(&phase) {
            world.all_follow().await;
        }
        let tally = checks(&world, each, checked).await;
        let old = tally.old.load(Ordering::Relaxed);
        checked += tally.checked.load(Ordering::Relaxed);
        stale += tally.stale.load(Ordering::Relaxed);
        let on_replicas = world.on_replicas() - before.0;
        let repeated = world.repeated() - before.1;
        println!(
            "{phase}: {on_replicas} of {} reads on replicas, {repeated} repeated, {old} eventual ones old",
            2 * each
        );
        assert!(on_replicas > 0, "{phase}: replicas served nothing");
        if phase == "the other replays nothing" {
            // staleness is real here: whoever does not name its write misses it
            assert!(old > 0, "an eventual read of a paused replica saw what it had not replayed");
        }
    }
    println!("{checked} reads after their write, {stale} stale");
    assert!(checked > 0 && stale == 0, "{stale} of {checked} reads did not see their write");
}

#[tokio::test]
async fn rows_stay_their_tenants_on_a_replica_and_bad_tokens_are_named() {
    let world = World::start(1).await;
    world.all_follow().await;
    let (id, token) = world.put(row("mine", &[1.0; 4])).await;
    let read = |read| StoreSearchRequest { read: Some(read), ..search(&[1.0; 4]) };
    world.on_replica(async || world.caller.search(read(after(&token))).await.unwrap().hits.len() == 1).await;
    world.on_replica(async || world.other.search(read(after(&token))).await.unwrap().hits.is_empty()).await;
    assert!(world.get(&id, eventual()).await.is_ok());

    let broken = StoreRead { after_token: token[1..].to_owned(), ..StoreRead::default() };
    let error = world.caller.search(read(broken)).await.unwrap_err();
    assert_eq!(error.param.as_deref(), Some("after_token"), "{error}");

    // a deletion is seen by its token as well
    let filter = StoreFilter { embedding_ids: vec![id], ..StoreFilter::default() };
    let (count, token) = world.delete(filter).await;
    assert_eq!(count, 1);
    world.on_replica(async || world.caller.search(read(after(&token))).await.unwrap().hits.is_empty()).await;
}

#[tokio::test]
async fn a_row_that_was_there_already_is_covered_by_the_token_of_who_finds_it() {
    let world = World::start(1).await;
    world.all_follow().await;
    world.standbys.lock().await[0].pause(true).await;
    world.put(row("same", &[1.0; 4])).await;
    let (_, token) = world.put(row("same", &[1.0; 4])).await;
    let read = StoreSearchRequest { read: Some(after(&token)), ..search(&[1.0; 4]) };
    assert_eq!(world.caller.search(read).await.unwrap().hits.len(), 1);
}

#[tokio::test]
async fn a_batch_of_a_stream_is_covered_by_the_token_of_its_answer() {
    let world = World::start(1).await;
    world.all_follow().await;
    world.standbys.lock().await[0].pause(true).await;
    let batch = |content: &str| PutRequest {
        space_id: SPACE.into(),
        dimensions: 4,
        rows: vec![row(content, &[1.0; 4])],
    };
    let request = world.caller.context.request(stream::iter([batch("one"), batch("two")]));
    let replies = world.caller.client.clone().put_stream(request).await.unwrap().into_inner();
    let replies: Vec<_> = replies.try_collect().await.unwrap();
    for (reply, seen) in replies.iter().zip([1, 2]) {
        assert!(reply.write_token.starts_with("w1-"), "{}", reply.write_token);
        let read = StoreSearchRequest { read: Some(after(&reply.write_token)), ..search(&[1.0; 4]) };
        assert!(world.caller.search(read).await.unwrap().hits.len() >= seen);
    }
}
