use std::{sync::Mutex, time::Duration};

use embermesh_lifecycle::Readiness;
use embermesh_proto::{
    internal::v1::{
        AgentEntry, ConfigEntry, ConfigUpdate, OrderBreakersReply, OrderBreakersRequest, Pin,
        PinSpaceRequest, Reference, SubscribeRequest,
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

/// A server whose streams the test writes. Each subscriber takes the next stream; without one it is refused.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Vec<Updates>>>);

impl Script {
    fn next_stream(&self) -> mpsc::Sender<Result<ConfigUpdate, Status>> {
        let (sender, updates) = mpsc::channel(8);
        self.0.lock().unwrap().insert(0, updates);
        sender
    }
}

#[tonic::async_trait]
impl Config for Script {
    type SubscribeStream = ReceiverStream<Result<ConfigUpdate, Status>>;

    async fn subscribe(
        &self,
        _: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let stream = self.0.lock().unwrap().pop();
        let stream = stream.ok_or_else(|| Status::unavailable("not yet"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn pin_space(&self, _: Request<PinSpaceRequest>) -> Result<Response<Pin>, Status> {
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
    let options = Options { subscriber: "test", sections: vec![Section::Agents], disk_copy };
    let ready = readiness.condition("configuration");
    (Subscription::start(ConfigClient::new(transport), options, tasks, ready), readiness)
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
    let (damaged, readiness) = start(&Script::default(), Some(path), &tasks);
    assert!(!readiness.is_ready());
    assert_eq!(damaged.known(), None);
    assert_eq!(*damaged.current(), Snapshot::default());
}

#[test]
fn an_installation_without_agents_is_known_all_the_same() {
    assert_eq!(Subscription::unknown().known(), None);
    assert_eq!(Subscription::fixed(Snapshot::default()).known(), Some(Arc::default()));
}
