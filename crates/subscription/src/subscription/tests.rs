use std::{sync::Mutex, time::Duration};

use embermesh_lifecycle::Readiness;
use embermesh_proto::{
    internal::v1::{
        AgentEntry, ConfigEntry, ConfigUpdate, Epoch, GetEpochRequest, MovePinsReply, MovePinsRequest,
        OrderBreakersReply, OrderBreakersRequest, OrderCacheReply, OrderCacheRequest, Pin, PinSpaceRequest,
        Reference, SubscribeRequest,
        config_entry::Value,
        config_server::{Config, ConfigServer},
    },
    v1,
};
use embermesh_telemetry::Metrics;
use embermesh_transport::{GrpcMetrics, in_process};
use embermesh_types::{AgentId, TenantId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::*;

type Updates = mpsc::Receiver<Result<ConfigUpdate, Status>>;
type Sender = mpsc::Sender<Result<ConfigUpdate, Status>>;

/// What the test lets admin answer to whoever asks how new the configuration is.
#[derive(Clone, Copy)]
enum Answer {
    Epoch(Epoch),
    /// As a release does that knows no epoch.
    Unknown,
    Nothing,
}

/// A server whose streams the test writes. Each subscriber takes the next stream; without one it is refused.
#[derive(Clone)]
struct Script {
    streams: Arc<Mutex<Vec<Updates>>>,
    epoch: Arc<Mutex<Answer>>,
}

impl Default for Script {
    fn default() -> Self {
        Self { streams: Arc::default(), epoch: Arc::new(Mutex::new(Answer::Unknown)) }
    }
}

impl Script {
    fn next_stream(&self) -> Sender {
        let (sender, updates) = mpsc::channel(8);
        self.streams.lock().unwrap().insert(0, updates);
        sender
    }

    fn answer(&self, answer: Answer) {
        *self.epoch.lock().unwrap() = answer;
    }

    fn epoch(&self, version: i64) {
        self.answer(Answer::Epoch(Epoch { version, last_version: version }));
    }
}

/// Keeps a stream alive that never brings anything.
fn beat(stream: Sender, version: i64) {
    Tasks::new().spawn("heartbeats", async move {
        while stream.send(Ok(agents(version, false, &[]))).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

#[tonic::async_trait]
impl Config for Script {
    type SubscribeStream = ReceiverStream<Result<ConfigUpdate, Status>>;

    async fn subscribe(
        &self,
        _: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let stream = self.streams.lock().unwrap().pop();
        let stream = stream.ok_or_else(|| Status::unavailable("not yet"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_epoch(&self, request: Request<GetEpochRequest>) -> Result<Response<Epoch>, Status> {
        assert_eq!(request.get_ref().sections, [i32::from(Section::Agents)]);
        let answer = *self.epoch.lock().unwrap();
        match answer {
            Answer::Epoch(epoch) => Ok(Response::new(epoch)),
            Answer::Unknown => Err(Status::unimplemented("of the release before")),
            Answer::Nothing => std::future::pending().await,
        }
    }

    async fn pin_space(&self, _: Request<PinSpaceRequest>) -> Result<Response<Pin>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn move_pins(&self, _: Request<MovePinsRequest>) -> Result<Response<MovePinsReply>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn record_reference(&self, _: Request<Reference>) -> Result<Response<Reference>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn order_breakers(
        &self,
        _: Request<OrderBreakersRequest>,
    ) -> Result<Response<OrderBreakersReply>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn order_cache(&self, _: Request<OrderCacheRequest>) -> Result<Response<OrderCacheReply>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

fn tenant() -> TenantId {
    "0192d5a0-0000-7000-8000-000000000001".parse().unwrap()
}

fn agents(version: i64, snapshot: bool, names: &[&str]) -> ConfigUpdate {
    let entry = |name: &&str| {
        let agent = v1::Agent { agent_id: (*name).to_owned(), version, ..v1::Agent::default() };
        let value = Value::Agent(AgentEntry { tenant_id: tenant().to_string(), agent: Some(agent) });
        ConfigEntry { removed: false, value: Some(value) }
    };
    ConfigUpdate { version, snapshot, entries: names.iter().map(entry).collect() }
}

fn start(script: &Script, disk_copy: Option<PathBuf>, tasks: &Tasks) -> (Subscription, Readiness) {
    let readiness = Readiness::default();
    let transport =
        in_process(ConfigServer::new(script.clone()), &GrpcMetrics::new(&Metrics::default()).unwrap());
    let condition = Some("configuration");
    let options = Options { subscriber: "test", condition, sections: vec![Section::Agents], disk_copy };
    let surroundings = Surroundings { tasks, readiness: &readiness, metrics: &Metrics::default() };
    (Subscription::start(transport, options, &surroundings), readiness)
}

async fn reach(subscription: &Subscription, version: i64) {
    let mut changes = subscription.changes();
    changes.wait_for(|now| *now == version).await.unwrap();
}

fn has(subscription: &Subscription, agent: &str) -> bool {
    let agent: AgentId = agent.parse().unwrap();
    subscription.current().agent(tenant(), &agent).is_some()
}

#[tokio::test(start_paused = true)]
async fn a_lost_stream_is_opened_again_and_its_snapshot_replaces_what_was_known() {
    let (script, tasks) = (Script::default(), Tasks::new());
    let first = script.next_stream();
    let (subscription, readiness) = start(&script, None, &tasks);
    assert!(!readiness.is_ready());
    first.send(Ok(agents(1, true, &["a"]))).await.unwrap();
    first.send(Ok(agents(2, false, &["b"]))).await.unwrap();
    reach(&subscription, 2).await;
    assert!(readiness.is_ready() && has(&subscription, "a") && has(&subscription, "b"));

    drop(first);
    // some attempts are refused before the server is back
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(readiness.is_ready() && has(&subscription, "a"));
    let second = script.next_stream();
    second.send(Ok(agents(6, true, &["b", "c"]))).await.unwrap();
    reach(&subscription, 6).await;
    assert!(!has(&subscription, "a") && has(&subscription, "c"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_is_given_up() {
    let (script, tasks) = (Script::default(), Tasks::new());
    let silent = script.next_stream();
    let (subscription, _) = start(&script, None, &tasks);
    silent.send(Ok(agents(1, true, &["a"]))).await.unwrap();
    reach(&subscription, 1).await;
    let second = script.next_stream();
    second.send(Ok(agents(2, true, &["b"]))).await.unwrap();
    reach(&subscription, 2).await;
    assert!(silent.is_closed());
}

/// A stream at version 1 that lives and brings no change any more, and what takes its place.
async fn behind(script: &Script, tasks: &Tasks) -> (Subscription, Readiness, Sender) {
    let first = script.next_stream();
    let (subscription, readiness) = start(script, None, tasks);
    first.send(Ok(agents(1, true, &["a"]))).await.unwrap();
    reach(&subscription, 1).await;
    beat(first, 1);
    (subscription, readiness, script.next_stream())
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_lives_and_brings_nothing_is_replaced_within_seconds() {
    let (script, tasks) = (Script::default(), Tasks::new());
    script.epoch(1);
    let (subscription, _, second) = behind(&script, &tasks).await;
    second.send(Ok(agents(2, true, &["b"]))).await.unwrap();
    // nothing is missing yet, so the stream stays
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(has(&subscription, "a"));
    let began = tokio::time::Instant::now();
    script.epoch(2);
    reach(&subscription, 2).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(has(&subscription, "b"));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_is_asked_again() {
    let (script, tasks) = (Script::default(), Tasks::new());
    script.answer(Answer::Nothing);
    let (subscription, _, second) = behind(&script, &tasks).await;
    second.send(Ok(agents(2, true, &["b"]))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let began = tokio::time::Instant::now();
    script.epoch(2);
    reach(&subscription, 2).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_arrives_in_time_costs_no_stream() {
    let (script, tasks) = (Script::default(), Tasks::new());
    script.epoch(1);
    let first = script.next_stream();
    let (subscription, _) = start(&script, None, &tasks);
    first.send(Ok(agents(1, true, &["a"]))).await.unwrap();
    reach(&subscription, 1).await;
    let _unused = script.next_stream();
    for version in 2..40 {
        script.epoch(version);
        tokio::time::sleep(Duration::from_millis(900)).await;
        first.send(Ok(agents(version, false, &["a"]))).await.unwrap();
    }
    reach(&subscription, 39).await;
    assert_eq!(script.streams.lock().unwrap().len(), 1, "another stream was opened");
}

#[tokio::test(start_paused = true)]
async fn a_database_that_went_back_is_read_anew() {
    let (script, tasks) = (Script::default(), Tasks::new());
    let first = script.next_stream();
    let (subscription, _) = start(&script, None, &tasks);
    first.send(Ok(agents(9, true, &["a"]))).await.unwrap();
    reach(&subscription, 9).await;
    beat(first, 9);
    let second = script.next_stream();
    second.send(Ok(agents(4, true, &["b"]))).await.unwrap();
    script.epoch(4);
    reach(&subscription, 4).await;
    assert!(has(&subscription, "b") && !has(&subscription, "a"));
}

#[tokio::test(start_paused = true)]
async fn an_admin_without_an_epoch_is_followed_all_the_same() {
    let (script, tasks) = (Script::default(), Tasks::new());
    let (subscription, readiness, _second) = behind(&script, &tasks).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.streams.lock().unwrap().len(), 1, "another stream was opened");
    assert_eq!(readiness.told()["configuration"]["test"]["live"], true);
    assert!(has(&subscription, "a"));
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_the_configuration_says_where_it_is_from_and_how_fresh_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.bin");
    disk::save(&path, &Snapshot::default().with_version(7)).unwrap();
    let (script, tasks) = (Script::default(), Tasks::new());
    script.answer(Answer::Nothing);
    let (_, unknown) = start(&script, None, &tasks);
    let told = |readiness: &Readiness| readiness.told()["configuration"]["test"].clone();
    assert_eq!(
        told(&unknown),
        serde_json::json!({"version": 0, "source": "none", "live": false, "admin_silent_seconds": null})
    );
    tasks.stop();
    tasks.finished().await;

    let tasks = Tasks::new();
    let (subscription, readiness) = start(&script, Some(path), &tasks);
    let loaded = told(&readiness);
    assert_eq!((&loaded["version"], &loaded["source"]), (&7.into(), &"disk".into()), "{loaded}");
    assert_eq!(loaded["live"], false);
    let stream = script.next_stream();
    stream.send(Ok(agents(8, true, &["a"]))).await.unwrap();
    reach(&subscription, 8).await;
    let live = told(&readiness);
    assert_eq!((&live["version"], &live["source"]), (&8.into(), &"admin".into()), "{live}");
    assert_eq!(live["live"], true);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let stale = told(&readiness);
    assert_eq!((&stale["source"], &stale["live"]), (&"admin".into(), &false.into()), "{stale}");
    assert!(stale["admin_silent_seconds"].as_f64().unwrap() > 29.0, "{stale}");
    assert!(readiness.is_ready(), "what is known goes on");
}

#[tokio::test(start_paused = true)]
async fn changes_before_the_snapshot_are_ignored() {
    let (script, tasks) = (Script::default(), Tasks::new());
    let stream = script.next_stream();
    let (subscription, _) = start(&script, None, &tasks);
    assert_eq!(subscription.known(), None);
    stream.send(Ok(agents(9, false, &["early"]))).await.unwrap();
    stream.send(Ok(agents(4, true, &["a"]))).await.unwrap();
    reach(&subscription, 4).await;
    assert_eq!(subscription.known(), Some(subscription.current()));
    assert!(has(&subscription, "a") && !has(&subscription, "early"));
}

#[tokio::test]
async fn a_restart_without_admin_serves_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.bin");
    let (script, tasks) = (Script::default(), Tasks::new());
    let stream = script.next_stream();
    let (subscription, _) = start(&script, Some(path.clone()), &tasks);
    stream.send(Ok(agents(1, true, &["a"]))).await.unwrap();
    stream.send(Ok(agents(2, false, &["b"]))).await.unwrap();
    reach(&subscription, 2).await;
    // stopping saves what the debounce still held back
    tasks.stop();
    tasks.finished().await;

    let tasks = Tasks::new();
    let (restarted, readiness) = start(&Script::default(), Some(path.clone()), &tasks);
    assert!(readiness.is_ready());
    assert_eq!(restarted.known(), subscription.known());

    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let damaged_script = Script::default();
    let (damaged, readiness) = start(&damaged_script, Some(path.clone()), &tasks);
    assert!(!readiness.is_ready());
    assert_eq!(damaged.known(), None);
    assert_eq!(*damaged.current(), Snapshot::default());
    // and is written anew from what admin says
    let stream = damaged_script.next_stream();
    stream.send(Ok(agents(3, true, &["c"]))).await.unwrap();
    reach(&damaged, 3).await;
    tasks.stop();
    tasks.finished().await;
    assert_eq!(disk::load(&path).unwrap(), damaged.known().map(|known| Snapshot::clone(&known)));
}

#[test]
fn an_installation_without_agents_is_known_all_the_same() {
    assert_eq!(Subscription::unknown().known(), None);
    assert_eq!(Subscription::fixed(Snapshot::default()).known(), Some(Arc::default()));
}
