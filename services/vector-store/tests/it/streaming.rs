//! Batches one after another over one stream.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{PutReply, PutRequest, PutResult, PutRow, StoreListRequest, StoreRow};
use embermesh_telemetry::Metrics;
use embermesh_transport::{Endpoint, GrpcMetrics, HttpLimits, ServerBuilder, serve};
use futures::{Stream, StreamExt as _, TryStreamExt as _, future::join_all, stream};
use tokio::net::TcpListener;
use tonic::{Status, Streaming};

use crate::harness::{Bench, Caller, Numbers, SPACE, contents, row, search};

/// How long a machine that is busy may take for what takes a moment.
const PATIENCE: Duration = Duration::from_secs(120);

fn batch(rows: Vec<PutRow>) -> PutRequest {
    PutRequest { space_id: SPACE.into(), dimensions: 4, rows }
}

fn text(n: usize) -> PutRow {
    PutRow {
        context_id: if n.is_multiple_of(2) { String::new() } else { format!("context {}", n % 7) },
        metadata: format!("{{\"n\": {n}}}"),
        tokens: n as u64,
        ..row(&format!("text {n}"), &Numbers::new(n as u64).vector(4))
    }
}

fn texts(numbers: impl IntoIterator<Item = usize>) -> PutRequest {
    batch(numbers.into_iter().map(text).collect())
}

async fn open(
    caller: &Caller,
    batches: impl Stream<Item = PutRequest> + Send + 'static,
) -> Streaming<PutReply> {
    caller.client.clone().put_stream(caller.context.request(batches)).await.unwrap().into_inner()
}

async fn put_all(caller: &Caller, batches: Vec<PutRequest>) -> Result<Vec<Vec<PutResult>>, Status> {
    open(caller, stream::iter(batches)).await.map_ok(|reply| reply.results).try_collect().await
}

/// Everything a caller has, by text.
async fn everything(caller: &Caller) -> BTreeMap<String, StoreRow> {
    let (mut rows, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = StoreListRequest {
            page_size: 1_000,
            return_vector: true,
            page_token: page_token.clone(),
            ..StoreListRequest::default()
        };
        let page = caller.list(request).await.unwrap();
        for row in page.rows {
            assert!(rows.insert(row.content.clone(), row).is_none(), "a row is listed twice");
        }
        if page.next_page_token.is_empty() {
            return rows;
        }
        page_token = page.next_page_token;
    }
}

/// The same batch, with other texts each time, for ever; counts how many were taken.
fn endless(rows: usize, taken: &Arc<AtomicUsize>) -> impl Stream<Item = PutRequest> + Send + use<> {
    let taken = Arc::clone(taken);
    stream::iter(0..).map(move |number| {
        taken.fetch_add(1, Ordering::SeqCst);
        batch((0..rows).map(|n| row(&format!("{number} {n} {}", "word ".repeat(20)), &[1.0; 4])).collect())
    })
}

#[tokio::test]
async fn batches_are_answered_in_order_and_equal_rows_are_one_row_within_and_across_them() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let batches = vec![texts([0, 1, 0]), texts([2]), texts([1, 3, 2])];
    let replies: Vec<PutReply> = open(&caller, stream::iter(batches)).await.try_collect().await.unwrap();
    let (put, known): (Vec<_>, Vec<_>) = replies
        .iter()
        .flat_map(|reply| &reply.results)
        .map(|result| (result.embedding_id.as_str(), result.deduplicated))
        .unzip();
    assert_eq!(replies.iter().map(|reply| reply.results.len()).collect::<Vec<_>>(), [3, 1, 3]);
    assert_eq!(known, [false, false, true, false, true, false, true]);
    assert_eq!((put[0], put[1], put[3]), (put[2], put[4], put[6]));
    assert!(replies.iter().all(|reply| !reply.write_token.is_empty()));
    assert_eq!(bench.rows_and_keys().await, (4, 4));
    for (id, content) in [(put[0], "text 0"), (put[1], "text 1"), (put[3], "text 2"), (put[5], "text 3")] {
        assert_eq!(caller.get(id).await.unwrap().content, content);
    }
    // and for whoever puts them in a call
    assert_eq!(caller.put_one(text(3)).await, put[5]);
}

#[tokio::test]
async fn a_batch_that_is_refused_ends_the_stream_and_takes_nothing_away() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let bad = batch(vec![text(2), row("wrong", &[1.0; 3])]);
    let mut replies = open(&caller, stream::iter(vec![texts([0, 1]), bad, texts([3])])).await;
    let first = replies.message().await.unwrap().unwrap();
    let error = Error::from(replies.message().await.unwrap_err());
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("rows[1].vector")));
    assert_eq!(error.details["batch"], 1);
    assert!(!matches!(replies.message().await, Ok(Some(_))), "something was stored after a mistake");
    assert_eq!(bench.rows_and_keys().await, (2, 2));
    assert_eq!(caller.get(&first.results[1].embedding_id).await.unwrap().content, "text 1");

    let empty = put_all(&caller, vec![batch(vec![])]).await.unwrap_err();
    assert_eq!(Error::from(empty).param.as_deref(), Some("rows"));
    let again = put_all(&caller, vec![texts([0, 1]), texts([2])]).await.unwrap();
    assert_eq!(again[0][1].embedding_id, first.results[1].embedding_id);
    assert!(again[0].iter().all(|result| result.deduplicated) && !again[1][0].deduplicated);
}

#[tokio::test]
async fn a_bound_key_streams_rows_of_its_agent_alone_and_nobody_sees_another_tenants() {
    let bench = Bench::start().await;
    let free = bench.caller();
    let bound = bench.caller_of(free.tenant(), Some("mine"));
    let mine = PutRow { agent_id: String::new(), ..text(0) };
    let replies = open(&bound, stream::iter(vec![batch(vec![mine]), texts([1])])).await;
    let replies: Vec<_> = replies.collect().await;
    assert_eq!(replies.len(), 2);
    assert_eq!(Error::from(replies[1].as_ref().unwrap_err()).code, Code::Forbidden);
    let id = &replies[0].as_ref().unwrap().results[0].embedding_id;
    assert_eq!(free.get(id).await.unwrap().agent_id, "mine");
    assert_eq!(bench.rows_and_keys().await, (1, 1));

    let other = bench.caller();
    assert!(!put_all(&other, vec![texts([0])]).await.unwrap()[0][0].deduplicated);
    assert_eq!(other.get(id).await.unwrap_err().code, Code::NotFound);
    assert_eq!(everything(&other).await.len(), 1);
}

#[tokio::test]
async fn a_large_batch_is_what_the_same_rows_are_in_small_ones() {
    const ROWS: usize = 5_000;
    let bench = Bench::start().await;
    let (large, small) = (bench.caller(), bench.caller());
    for caller in [&large, &small] {
        // some are there before, and one stands twice in the batch
        caller.put((0..100).map(|n| text(n * 31)).collect()).await;
    }
    let rows: Vec<usize> = (0..ROWS).chain([7]).collect();
    let by_one = put_all(&large, vec![texts(rows.clone())]).await.unwrap().remove(0);
    let mut by_many = Vec::new();
    for part in rows.chunks(100) {
        by_many.extend(small.put(part.iter().copied().map(text).collect()).await);
    }
    let known = |results: &[PutResult]| -> Vec<usize> {
        let known = results.iter().enumerate().filter(|(_, result)| result.deduplicated);
        known.map(|(at, _)| at).collect()
    };
    assert_eq!(known(&by_one).len(), 100 + 1);
    assert_eq!(known(&by_one), known(&by_many));
    assert_eq!(by_one[ROWS].embedding_id, by_one[7].embedding_id);
    let new: Vec<&str> = by_one
        .iter()
        .filter(|result| !result.deduplicated)
        .map(|result| result.embedding_id.as_str())
        .collect();
    assert!(new.is_sorted(), "ids are not in the order of their rows");

    let (of_one, of_many) = (everything(&large).await, everything(&small).await);
    assert_eq!((of_one.len(), of_many.len()), (ROWS, ROWS));
    for ((content, one), other) in of_one.iter().zip(of_many.values()) {
        let anonymous = |row: &StoreRow| StoreRow { embedding_id: String::new(), ..row.clone() };
        assert_eq!(anonymous(one), anonymous(other), "{content}");
    }
    for (result, n) in by_one.iter().zip(&rows) {
        assert_eq!(result.embedding_id, of_one[&format!("text {n}")].embedding_id);
    }
    let query = search(&Numbers::new(4_321).vector(4));
    for caller in [&large, &small] {
        assert_eq!(contents(caller.search(query.clone()).await.unwrap())[0], "text 4321");
    }

    // one call takes no batch of this size, and a stream none of any size
    let error = large.put_into(SPACE, rows.iter().copied().map(text).collect()).await.unwrap_err();
    assert_eq!(error.param.as_deref(), Some("rows"));
    let error = put_all(&large, vec![texts(0..20_001)]).await.unwrap_err();
    assert_eq!(Error::from(error).param.as_deref(), Some("rows"));
}

#[tokio::test]
async fn a_large_batch_is_stored_as_a_whole_or_not_at_all() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.put_one(text(0)).await;
    // of a row that passed every check: the database refuses it, after those before it
    let owner = bench.sql(embermesh_postgres::Role::Owner).await;
    let refuse = "ALTER TABLE space_1 ADD CONSTRAINT refused CHECK (content <> 'text 3999')";
    owner.system().batch_execute(refuse).await.unwrap();
    let error = put_all(&caller, vec![texts(0..4_000)]).await.unwrap_err();
    assert_eq!(Error::from(error).code, Code::Internal);
    assert_eq!(bench.rows_and_keys().await, (1, 1));
    owner.system().batch_execute("ALTER TABLE space_1 DROP CONSTRAINT refused").await.unwrap();
    put_all(&caller, vec![texts(0..4_000)]).await.unwrap();
    assert_eq!(bench.rows_and_keys().await, (4_000, 4_000));
}

#[tokio::test]
async fn streams_with_equal_rows_at_once_share_them() {
    const STREAMS: usize = 6;
    let bench = Bench::start().await;
    let caller = bench.caller();
    // each brings the batches in another order, and the rows of each in another order
    let streams = (0..STREAMS).map(|turn| {
        let caller = caller.clone();
        async move {
            let batches = (0..STREAMS).map(|at| {
                let first = (at + turn) % STREAMS * 200;
                texts((0..200).map(|n| first + (n + 31 * turn) % 200))
            });
            let mut ids = BTreeMap::new();
            let batches: Vec<_> = batches.collect();
            let replies = put_all(&caller, batches.clone()).await.unwrap();
            for (row, result) in
                batches.iter().flat_map(|batch| &batch.rows).zip(replies.into_iter().flatten())
            {
                ids.insert(row.content.clone(), (result.embedding_id, result.deduplicated));
            }
            ids
        }
    });
    let all = join_all(streams).await;
    for n in 0..200 * STREAMS {
        let told: Vec<_> = all.iter().map(|ids| &ids[&format!("text {n}")]).collect();
        assert_eq!(told.iter().map(|(id, _)| id).collect::<HashSet<_>>().len(), 1);
        assert_eq!(told.iter().filter(|(_, known)| !known).count(), 1);
    }
    let all = 200 * STREAMS as i64;
    assert_eq!(bench.rows_and_keys().await, (all, all));
}

#[tokio::test]
async fn no_more_is_read_and_stored_than_answers_are_read() {
    const ROWS: usize = 400;
    let bench = Bench::start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    // each larger than what a client gathers into one frame
    let mut replies = open(&bench.caller(), endless(ROWS, &taken)).await;
    for answered in 1..=6 {
        let reply = replies.message().await.unwrap().unwrap();
        assert_eq!(reply.results.len(), ROWS);
        // let it go as far as it will: one answer waits to be read and one to be told, a batch is read ahead
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (rows, keys) = bench.rows_and_keys().await;
        assert_eq!(rows, keys);
        assert!(rows >= (answered * ROWS) as i64 && rows <= ((answered + 3) * ROWS) as i64, "{rows} rows");
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken <= answered + 5, "{taken} batches are taken, {answered} answers are read");
    }
}

#[tokio::test]
async fn what_was_committed_stays_when_a_caller_goes_away() {
    const ROWS: usize = 300;
    let bench = Bench::start().await;
    let (caller, taken) = (bench.caller(), Arc::new(AtomicUsize::new(0)));
    let mut replies = open(&caller, endless(ROWS, &taken)).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.extend(replies.message().await.unwrap().unwrap().results);
    }
    drop(replies);
    // the stream of batches has the other half of `taken`, and goes with the call
    let begun = Instant::now();
    while Arc::strong_count(&taken) > 1 {
        assert!(begun.elapsed() < PATIENCE, "the call goes on without its caller");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // a statement that was under way may still be committed, or not
    let (rows, keys) = bench.rows_and_keys().await;
    assert_eq!(rows, keys);
    assert!(rows >= 3 * ROWS as i64 && rows % ROWS as i64 == 0, "{rows} rows");
    for result in ids.iter().step_by(50) {
        assert!(caller.get(&result.embedding_id).await.is_ok());
    }
    assert!(!caller.put(vec![text(1)]).await[0].deduplicated);
}

/// Over a socket, where HTTP/2 has windows.
#[tokio::test]
async fn a_client_that_reads_no_answers_is_read_no_further_until_it_does() {
    const ROWS: usize = 500;
    const BATCHES: usize = 160;
    let bench = Bench::start().await;
    let (tasks, listener) = (Tasks::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let router = ServerBuilder::new(GrpcMetrics::new(&Metrics::default()).unwrap())
        .service(bench.store.store_server())
        .router(embermesh_proto::DESCRIPTORS)
        .await
        .unwrap();
    tasks.spawn("serve", serve(listener, router, None, HttpLimits::default(), tasks.clone()));
    let transport = endpoint.connect(None, &tasks).unwrap();
    let caller = Caller::over(&transport, bench.caller().tenant(), None);
    let begun = Instant::now();
    while caller.put_into(SPACE, vec![text(0)]).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "nobody serves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let taken = Arc::new(AtomicUsize::new(0));
    let mut replies = open(&caller, endless(ROWS, &taken).take(BATCHES)).await;
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = taken.load(Ordering::SeqCst);
        if now == last && now > 0 {
            break;
        }
        last = now;
        assert!(begun.elapsed() < 2 * PATIENCE, "it never comes to rest");
    }
    let (rows, _) = bench.rows_and_keys().await;
    let last = taken.load(Ordering::SeqCst);
    println!("{last} of {BATCHES} batches are taken and {rows} rows stored while no answer is read");
    // what the windows of the answers and of the batches hold, and no more
    assert!(last < BATCHES * 3 / 4, "{last} of {BATCHES} batches are taken and no answer is read");
    assert!(rows <= (1 + last * ROWS) as i64);

    let mut answered = 0;
    while let Some(reply) = replies.message().await.unwrap() {
        assert_eq!(reply.results.len(), ROWS);
        answered += 1;
    }
    assert_eq!(answered, BATCHES);
    let all = (1 + BATCHES * ROWS) as i64;
    assert_eq!(bench.rows_and_keys().await, (all, all));
    tasks.abort();
}
