use std::sync::atomic::AtomicBool;

use embermesh_auth::{ApiKey, Scopes};
use embermesh_proto::internal::v1::{
    ReportKeyUseReply,
    key_use_server::{KeyUse as Contract, KeyUseServer},
};
use embermesh_subscription::{KeyRecord, Snapshot};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, in_process};
use embermesh_types::ManualClock;
use tonic::{Request, Response, Status};

use super::*;

const INTERVAL: Duration = Duration::from_secs(60);
const BEGIN: u32 = 1_000_000;

/// Ids, and seconds since 1970.
type Report = Vec<(String, i64)>;

/// Remembers what it is told, unless it is away.
#[derive(Clone, Default)]
struct Admin {
    told: Arc<Mutex<Vec<Report>>>,
    away: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Contract for Admin {
    async fn report(
        &self,
        request: Request<ReportKeyUseRequest>,
    ) -> Result<Response<ReportKeyUseReply>, Status> {
        if self.away.load(Relaxed) {
            return Err(Status::unavailable("away"));
        }
        let keys = request.into_inner().keys.into_iter();
        let mut keys: Vec<_> = keys.map(|key| (key.key_id, key.last_used_at.unwrap().seconds)).collect();
        keys.sort();
        self.told.lock().unwrap().push(keys);
        Ok(Response::new(ReportKeyUseReply {}))
    }
}

impl Admin {
    /// What came since the last time.
    fn told(&self) -> Vec<Report> {
        std::mem::take(&mut self.told.lock().unwrap())
    }
}

struct World {
    uses: KeyUse,
    admin: Admin,
    clock: ManualClock,
    tasks: Tasks,
}

impl World {
    /// With these keys.
    fn new(keys: &[Principal]) -> Self {
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + SECOND * BEGIN);
        let (admin, tasks, uses) = (Admin::default(), Tasks::new(), KeyUse::new(&clock.clock()));
        let snapshot = keys.iter().fold(Snapshot::default(), |snapshot, principal| {
            let hash = ApiKey::generate("test", &mut rand::rng()).hash();
            let (principal, expires_at) = (principal.clone(), None);
            snapshot.with_key(KeyRecord { hash, principal, expires_at, revoked: false, rotation_due: false })
        });
        let reporting = Reporting {
            admin: in_process(
                KeyUseServer::new(admin.clone()),
                &GrpcMetrics::new(&Metrics::default()).unwrap(),
            ),
            subscription: Subscription::fixed(snapshot),
            interval: INTERVAL,
        };
        uses.report(reporting, clock.clock(), &tasks);
        Self { uses, admin, clock, tasks }
    }

    /// Lets time pass, for the clock and for whoever sleeps.
    async fn pass(&self, seconds: u32) {
        for _ in 0..seconds {
            self.clock.advance(SECOND);
            tokio::time::sleep(SECOND).await;
        }
    }
}

fn principal(id: &str) -> Principal {
    Principal {
        tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
        key: id.parse().unwrap(),
        agent: None,
        scopes: Scopes::parse(["embed"]).unwrap(),
    }
}

fn used(id: &str, second: u32) -> (String, i64) {
    (id.to_owned(), i64::from(second))
}

#[tokio::test(start_paused = true)]
async fn an_interval_makes_one_report_of_what_is_new() {
    let (a, b) = (principal("a"), principal("b"));
    let world = World::new(&[a.clone(), b.clone()]);
    world.uses.note(&a);
    world.pass(30).await;
    world.uses.note(&b);
    for _ in 0..100 {
        world.uses.note(&a);
    }
    assert_eq!(world.admin.told().len(), 0);
    world.pass(32).await;
    let told = world.admin.told();
    assert_eq!(told.len(), 1, "{told:?}");
    // the second of a use, to what a tick may be late
    for ((id, second), expected) in told[0].iter().zip(["a", "b"]) {
        assert_eq!(id, expected);
        assert!((i64::from(BEGIN) + 29..=i64::from(BEGIN) + 30).contains(second), "{told:?}");
    }
    // nothing new, no report
    world.pass(180).await;
    assert_eq!(world.admin.told().len(), 0);
    world.uses.note(&b);
    world.pass(61).await;
    let told = world.admin.told();
    assert!(told.len() == 1 && told[0].len() == 1 && told[0][0].0 == "b", "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn what_admin_did_not_take_is_told_again() {
    let a = principal("a");
    let world = World::new(std::slice::from_ref(&a));
    world.admin.away.store(true, Relaxed);
    world.uses.note(&a);
    world.pass(200).await;
    assert_eq!(world.admin.told().len(), 0);
    world.admin.away.store(false, Relaxed);
    world.pass(61).await;
    assert_eq!(world.admin.told(), [[used("a", BEGIN)]]);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_tells_what_it_still_knows() {
    let a = principal("a");
    let world = World::new(std::slice::from_ref(&a));
    world.uses.note(&a);
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.tasks.stop();
    world.pass(1).await;
    assert_eq!(world.admin.told(), [[used("a", BEGIN)]]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_is_forgotten_once_it_is_told() {
    let (here, gone) = (principal("here"), principal("gone"));
    let world = World::new(std::slice::from_ref(&here));
    world.admin.away.store(true, Relaxed);
    world.uses.note(&here);
    world.uses.note(&gone);
    world.pass(61).await;
    assert_eq!(world.uses.0.marks.load().len(), 2);
    world.admin.away.store(false, Relaxed);
    world.pass(61).await;
    assert_eq!(world.admin.told(), [[used("gone", BEGIN), used("here", BEGIN)]]);
    let left: Vec<KeyId> = world.uses.0.marks.load().keys().cloned().collect();
    assert_eq!(left, [here.key]);
}

#[test]
fn threads_that_meet_new_keys_at_once_lose_no_use() {
    let uses = KeyUse::new(&ManualClock::new(SystemTime::UNIX_EPOCH + SECOND * BEGIN).clock());
    let keys: Vec<Principal> = (0..3_000).map(|n| principal(&format!("key{n:09}"))).collect();
    std::thread::scope(|threads| {
        for part in 0..4 {
            let (uses, keys) = (uses.clone(), &keys);
            threads.spawn(move || {
                for at in 0..keys.len() {
                    uses.note(&keys[(at + part * 700) % keys.len()]);
                }
            });
        }
    });
    let marks = uses.0.marks.load();
    let new = uses.0.newcomers();
    assert!(new.keys().all(|id| !marks.contains_key(id)));
    // almost all are where no lock is taken
    assert!(new.len() <= marks.len() / 8, "{} new, {} known", new.len(), marks.len());
    for key in &keys {
        let mark = marks.get(&key.key).or_else(|| new.get(&key.key)).unwrap();
        assert_eq!(mark.used.load(Relaxed), BEGIN);
    }
}
