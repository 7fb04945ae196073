//! One simulated deployment: its name, its models, its credentials, its faults and conditions.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::api::{Api, AwsKeys};
use super::conditions::Conditions;
use super::dice::Dice;
use super::faults::{FaultQueue, Injection};
use super::google::{self, GoogleSpec};
use super::latency::Latency;
use super::limits::{Limits, Window};
pub(super) use super::model::ModelSpec;
use super::switch::Switch;
use super::{sigv4, wire};

/// What to start.
#[derive(Clone, Debug)]
pub struct DeploymentSpec {
    /// Its name in the call log.
    pub name: String,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The API that it speaks.
    pub api: Api,
    /// Path before the API's own, empty or beginning with a slash.
    pub prefix: String,
    /// Key to insist on, for APIs that have one.
    pub api_key: Option<String>,
    /// Keys that requests must be signed with, for Bedrock; without them nothing is checked.
    pub aws: Option<AwsKeys>,
    /// What Vertex insists on; without it nothing is checked.
    pub google: Option<GoogleSpec>,
    /// Models it serves.
    pub models: Vec<ModelSpec>,
    /// Deployments with another seed give other vectors under the same names.
    pub seed: u64,
    /// How it is at the start, and again after [`Deployment::heal`].
    pub conditions: Conditions,
    /// Whether the call log keeps the bodies of requests.
    pub record_bodies: bool,
}

impl DeploymentSpec {
    /// OpenAI's models without a key, on a free loopback port.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::of(Api::OpenAi, name)
    }

    /// An API's usual models without credentials, on a free loopback port.
    #[must_use]
    pub fn of(api: Api, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api,
            prefix: String::new(),
            api_key: None,
            aws: None,
            google: None,
            models: wire::of(api).models(),
            seed: 0,
            conditions: Conditions::default(),
            record_bodies: true,
        }
    }
}

/// A deployment that is listening.
#[derive(Debug)]
pub struct Deployment {
    spec: DeploymentSpec,
    address: SocketAddr,
    conditions: ArcSwap<Conditions>,
    latency_dice: Mutex<Dice>,
    pub(super) faults: FaultQueue,
    pub(super) window: Window,
    pub(super) switch: Switch,
    pub(super) sessions: sigv4::Sessions,
    pub(super) tokens: google::Tokens,
}

impl Deployment {
    pub(super) fn new(spec: DeploymentSpec, address: SocketAddr) -> Self {
        Self {
            address,
            conditions: ArcSwap::from_pointee(spec.conditions.clone()),
            latency_dice: Mutex::new(Dice::new(spec.seed, &format!("{} latency", spec.name))),
            faults: FaultQueue::new(Dice::new(spec.seed, &spec.name)),
            window: Window::default(),
            switch: Switch::new(!spec.conditions.down),
            spec,
            sessions: sigv4::Sessions::default(),
            tokens: google::Tokens::default(),
        }
    }

    /// Its name in the call log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was started from.
    #[must_use]
    pub const fn spec(&self) -> &DeploymentSpec {
        &self.spec
    }

    /// The address bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients of the API configure as its address: up to and including `/v1` for OpenAI and Voyage, without a path for others.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}{}", self.origin(), self.wire().base_path())
    }

    /// Scheme, address and prefix, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}{}", self.address, self.spec.prefix)
    }

    /// Where faults and calls are driven over HTTP.
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}/_sim", self.address)
    }

    /// Replaces all faults, those not yet used up included.
    pub fn inject(&self, injections: impl IntoIterator<Item = Injection>) {
        self.faults.replace(injections);
    }

    /// Removes all faults and brings the conditions back to those of the start.
    pub fn heal(&self) {
        self.faults.replace([]);
        self.set_conditions(self.spec.conditions.clone());
    }

    /// Faults still to come, with the times left.
    #[must_use]
    pub fn pending_faults(&self) -> Vec<Injection> {
        self.faults.all()
    }

    /// How it is now.
    #[must_use]
    pub fn conditions(&self) -> Arc<Conditions> {
        self.conditions.load_full()
    }

    /// How it is from now on. The socket follows soon; [`Self::settled`] waits for it.
    pub fn set_conditions(&self, conditions: Conditions) {
        let up = !conditions.down;
        self.conditions.store(Arc::new(conditions));
        self.switch.want(up);
    }

    fn change(&self, change: impl FnOnce(&mut Conditions)) {
        let mut conditions = (*self.conditions()).clone();
        change(&mut conditions);
        self.set_conditions(conditions);
    }

    /// How long answers take; `None` is as fast as it can.
    pub fn set_latency(&self, latency: Option<Latency>) {
        self.change(|conditions| conditions.latency = latency);
    }

    /// What it lets through in a minute. Calls before are not counted.
    pub fn limit(&self, limits: Limits) {
        self.change(|conditions| conditions.limits = limits);
    }

    /// Other vectors under the same names; 0 brings the right ones back.
    pub fn drift(&self, drift: u64) {
        self.change(|conditions| conditions.drift = drift);
    }

    /// Refuses requests with this in any text, as a content filter does.
    pub fn refuse_text(&self, marker: Option<&str>) {
        self.change(|conditions| conditions.refuses_text = marker.map(str::to_owned));
    }

    /// Closes every connection and refuses new ones; the port is kept.
    pub async fn go_down(&self) {
        self.change(|conditions| conditions.down = true);
        self.settled().await;
    }

    /// Listens again.
    pub async fn come_up(&self) {
        self.change(|conditions| conditions.down = false);
        self.settled().await;
    }

    /// Until the socket is as the conditions say.
    pub async fn settled(&self) {
        self.switch.settled().await;
    }

    /// Calls that limits refused so far.
    #[must_use]
    pub fn refused_by_limits(&self) -> u64 {
        self.window.refused()
    }

    /// How long the request at hand takes.
    pub(super) fn latency(&self, since_epoch: Duration) -> Duration {
        let Some(latency) = self.conditions().latency else { return Duration::ZERO };
        latency.sample(&mut self.latency_dice.lock().unwrap_or_else(PoisonError::into_inner), since_epoch)
    }

    pub(super) fn wire(&self) -> &'static dyn wire::WireFormat {
        wire::of(self.spec.api)
    }

    pub(super) fn model(&self, name: &str) -> Option<&ModelSpec> {
        self.spec.models.iter().find(|model| model.name == name)
    }
}
