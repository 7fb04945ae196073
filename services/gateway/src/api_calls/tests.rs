use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use embermesh_auth::{ApiKey, Principal, Scopes};
use embermesh_proto::internal::v1::{
    ApiCall, RecordApiCallsReply, RecordApiCallsRequest, RouteItem, RouteReply,
    api_calls_server::{ApiCalls as Contract, ApiCallsServer},
};
use embermesh_subscription::KeyRecord;
use embermesh_transport::{GrpcMetrics, in_process};
use futures::FutureExt;
use http::StatusCode;
use tempfile::TempDir;
use tonic::{Request, Response, Status};

use super::*;

/// Keeps what it is told once, as admin does, unless it is away.
#[derive(Clone, Default)]
struct Admin(Arc<State>);

#[derive(Default)]
struct State {
    away: AtomicBool,
    /// Keeps, and does not get around to saying so.
    mute: AtomicBool,
    refuses: AtomicBool,
    last: Mutex<BTreeMap<String, i64>>,
    calls: Mutex<Vec<ApiCall>>,
    again: AtomicBool,
}

#[tonic::async_trait]
impl Contract for Admin {
    async fn record(
        &self,
        request: Request<RecordApiCallsRequest>,
    ) -> Result<Response<RecordApiCallsReply>, Status> {
        if self.0.away.load(Relaxed) {
            return Err(Status::unavailable("away"));
        }
        let batch = request.into_inner();
        if self.0.refuses.load(Relaxed) {
            // it does not come again
            self.0.last.lock().unwrap().insert(batch.session_id, batch.number);
            return Err(Status::invalid_argument("what is this"));
        }
        let mut last = self.0.last.lock().unwrap();
        let last = last.entry(batch.session_id).or_default();
        if batch.number > *last {
            assert_eq!(batch.number, *last + 1, "in order");
            *last = batch.number;
            self.0.calls.lock().unwrap().extend(batch.calls);
        } else {
            self.0.again.store(true, Relaxed);
        }
        if self.0.mute.load(Relaxed) {
            return Err(Status::deadline_exceeded("too late"));
        }
        Ok(Response::new(RecordApiCallsReply {}))
    }
}

impl Admin {
    fn calls(&self) -> Vec<ApiCall> {
        self.0.calls.lock().unwrap().clone()
    }

    /// The costs that tell the calls of a test apart.
    fn costs(&self) -> Vec<i64> {
        let mut costs: Vec<i64> = self.calls().iter().map(|call| call.cost_nano_usd).collect();
        costs.sort_unstable();
        costs
    }
}

struct World {
    calls: ApiCalls,
    admin: Admin,
    metrics: Metrics,
    tasks: Tasks,
    dir: Option<TempDir>,
}

impl World {
    fn start(settings: ApiRequests, dir: Option<TempDir>, admin: Admin) -> Self {
        let (metrics, tasks) = (Metrics::default(), Tasks::new());
        let to =
            in_process(ApiCallsServer::new(admin.clone()), &GrpcMetrics::new(&Metrics::default()).unwrap());
        let path: Option<PathBuf> = dir.as_ref().map(|dir| dir.path().to_owned());
        let calls = ApiCalls::start(&settings, path.as_deref(), to, &metrics, &tasks).unwrap();
        Self { calls, admin, metrics, tasks, dir }
    }

    fn memory() -> Self {
        Self::start(ApiRequests::default(), None, Admin::default())
    }

    fn disk() -> Self {
        Self::start(ApiRequests::default(), Some(tempfile::tempdir().unwrap()), Admin::default())
    }

    /// As if it was killed: nothing is told any more, what is on disk stays.
    async fn killed(self) -> (TempDir, Admin) {
        self.tasks.abort();
        self.tasks.finished().await;
        drop(self.calls);
        (self.dir.unwrap(), self.admin)
    }

    /// A call by a key that costs so much.
    async fn call(&self, cost: i64) {
        let call = self.calls.begin(SystemTime::UNIX_EPOCH, &Method::POST, &Endpoint::Named("/a/B"));
        let work = async {
            is_of(&key(None));
            routed(&reply(cost));
        };
        within(call.clone(), work).await;
        call.ended(StatusCode::OK);
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find(|line| line.starts_with(&format!("gateway_api_requests_{name} ")));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn reply(cost: i64) -> RouteReply {
    let item = |cost_nano_usd| RouteItem { cost_nano_usd, ..Default::default() };
    RouteReply { items: vec![item(cost - 1), item(1)], ..Default::default() }
}

fn principal(agent: Option<&str>) -> Principal {
    Principal {
        tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
        key: "thekey".parse().unwrap(),
        agent: agent.map(|agent| agent.parse().unwrap()),
        scopes: Scopes::parse(["embed"]).unwrap(),
    }
}

fn key(agent: Option<&str>) -> KeyRecord {
    let hash = ApiKey::generate("test", &mut rand::rng()).hash();
    KeyRecord { hash, principal: principal(agent), expires_at: None, revoked: false, rotation_due: false }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_one_row_with_who_what_and_what_it_cost() {
    let world = World::memory();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    let begin = || world.calls.begin(at, &Method::GET, &Endpoint::Other);
    // no valid key: nobody's call
    let call = begin();
    within(call.clone(), async {}).await;
    call.ended(StatusCode::UNAUTHORIZED);
    // a client that goes away while the call is under way, and after it was charged
    let gone = within(begin(), async {
        is_of(&key(Some("bound")));
        routed(&reply(30));
        std::future::pending::<()>().await;
    });
    assert!(tokio::time::timeout(Duration::from_millis(1), gone).await.is_err());
    // a call whose work goes on in a task of its own
    let call = begin();
    let going_on = async {
        is_of(&key(None));
        let work = async {
            seconds(3).await;
            routed(&reply(4));
        };
        drop(world.tasks.spawn("goes on", with_call_of(work)));
    };
    within(call.clone(), going_on).await;
    call.ended(StatusCode::CONFLICT);
    drop(call);
    seconds(1).await;
    assert_eq!(world.admin.calls().len(), 1);
    seconds(3).await;
    let call = |user: &str, status, cost| ApiCall {
        tenant_id: principal(None).tenant.to_string(),
        api_key_id: "thekey".into(),
        user_id: user.into(),
        method: "GET".into(),
        endpoint: "other".into(),
        status,
        cost_nano_usd: cost,
        created_at: Some(at.into()),
    };
    assert_eq!(world.admin.calls(), [call("bound", 499, 30), call("thekey", 409, 4)]);
    assert_eq!((world.metric("recorded_total"), world.metric("waiting_bytes")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn while_admin_is_away_calls_wait_on_disk_and_outlive_the_process() {
    let world = World::disk();
    world.call(1).await;
    seconds(1).await;
    assert_eq!(world.admin.costs(), [1]);
    world.admin.0.away.store(true, Relaxed);
    for cost in 2..50 {
        world.call(cost).await;
        seconds(1).await;
    }
    assert!(world.metric("waiting_bytes") > 0);
    let (dir, admin) = world.killed().await;
    let world = World::start(ApiRequests::default(), Some(dir), admin);
    world.call(50).await;
    seconds(1).await;
    world.admin.0.away.store(false, Relaxed);
    seconds(10).await;
    assert_eq!(world.admin.costs(), (1..=50).collect::<Vec<_>>());
    assert_eq!(world.metric("waiting_bytes"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_admin_kept_without_saying_so_is_not_there_twice() {
    let world = World::disk();
    world.admin.0.mute.store(true, Relaxed);
    for cost in 1..5 {
        world.call(cost).await;
        seconds(1).await;
    }
    let (dir, admin) = world.killed().await;
    let world = World::start(ApiRequests::default(), Some(dir), admin);
    world.call(5).await;
    seconds(7).await;
    world.admin.0.mute.store(false, Relaxed);
    seconds(10).await;
    assert_eq!(world.admin.costs(), [1, 2, 3, 4, 5]);
    assert!(world.admin.0.again.load(Relaxed));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_waits_for_its_calls_and_tells_the_last() {
    let world = World::memory();
    let call = world.calls.begin(SystemTime::UNIX_EPOCH, &Method::GET, &Endpoint::Other);
    let slow = within(call, async {
        is_of(&key(None));
        seconds(2).await;
        routed(&reply(9));
    });
    let stop = async {
        seconds(1).await;
        world.tasks.stop();
        world.tasks.finished().await;
    };
    tokio::join!(slow, stop);
    assert_eq!(world.admin.costs(), [9]);
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_or_is_refused_is_counted_and_the_rest_goes_on() {
    let settings = ApiRequests { spool_mib: 0, ..ApiRequests::default() };
    let world = World::start(settings, Some(tempfile::tempdir().unwrap()), Admin::default());
    world.call(1).await;
    seconds(1).await;
    assert_eq!((world.admin.costs(), world.metric("dropped_total")), (vec![], 1));
    let world = World::memory();
    world.admin.0.refuses.store(true, Relaxed);
    world.call(1).await;
    seconds(1).await;
    assert_eq!((world.admin.costs(), world.metric("dropped_total")), (vec![], 1));
    world.admin.0.refuses.store(false, Relaxed);
    world.call(2).await;
    seconds(1).await;
    assert_eq!(world.admin.costs(), [2]);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_fit_in_memory_go_to_the_journal_at_once() {
    let world = World::disk();
    for cost in 1..=10_000 {
        world.call(cost).await;
    }
    assert!(world.metric("waiting_bytes") > 0, "before any interval is over");
    seconds(1).await;
    assert_eq!(world.admin.costs(), (1..=10_000).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_calls_is_recorded_or_none() {
    let settings = ApiRequests { share: 0.25, ..ApiRequests::default() };
    let world = World::start(settings, None, Admin::default());
    for cost in 1..=100 {
        world.call(cost).await;
    }
    seconds(1).await;
    assert_eq!(world.admin.calls().len(), 25);
    let off = ApiRequests { enabled: false, ..ApiRequests::default() };
    let world = World::start(off, None, Admin::default());
    world.call(1).await;
    seconds(1).await;
    assert_eq!(world.admin.calls(), []);
    for share in [0.0, -1.0, 1.5, f32::NAN] {
        assert!(!ApiRequests { share, ..settings }.is_valid(), "{share}");
    }
}

#[tokio::test]
async fn the_holder_of_a_key_is_warned_a_week_before_it_ends_and_when_its_rotation_is_due() {
    let (day, begin) = (Duration::from_secs(86_400), SystemTime::UNIX_EPOCH);
    for (end, rotation_due, expires, rotation) in [
        (None, false, None, None),
        (Some(begin + day * 8), false, None, None),
        (Some(begin + day * 7), true, Some("1970-01-08T00:00:00Z"), Some("due")),
        (None, true, None, Some("due")),
    ] {
        let call = ApiCalls::off().begin(begin, &Method::GET, &Endpoint::Other);
        within(call.clone(), async { is_of(&KeyRecord { expires_at: end, rotation_due, ..key(None) }) })
            .await;
        let mut headers = http::HeaderMap::new();
        call.warn(&mut headers);
        let told = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap());
        assert_eq!((told("x-embermesh-key-expires"), told("x-embermesh-key-rotation")), (expires, rotation));
    }
}

#[test]
fn threads_that_record_at_once_lose_nothing() {
    let log = Arc::new(Log {
        buffer: Buffer::new(1.0),
        journal: Journal::open(None, 0, 1.0),
        metrics: CallMetrics::new(&Metrics::default()).unwrap(),
    });
    std::thread::scope(|threads| {
        for _ in 0..40 {
            threads.spawn(|| {
                let (calls, key) = (ApiCalls(Some(Arc::clone(&log))), key(None));
                for _ in 0..1_000 {
                    let call = calls.begin(SystemTime::UNIX_EPOCH, &Method::GET, &Endpoint::Other);
                    assert!(within(call, async { is_of(&key) }).now_or_never().is_some());
                }
            });
        }
        threads.spawn(|| (0..100).for_each(|_| log.gather()));
    });
    log.gather();
    assert!(!log.buffer.is_busy());
    let mut recorded = 0;
    while let Some(batch) = log.journal.first() {
        recorded += batch.calls.len();
        log.journal.done();
    }
    assert_eq!((recorded, log.journal.bytes()), (40_000, 0));
}
