//! One migration in the hands of a worker.

use std::time::Duration;

use embermesh_auth::Principal;
use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{
        ClaimedMigration, MigrationStanding, MovedPin, ReportRequest, WorkerCall,
        migration_store_client::MigrationStoreClient,
    },
    v1::Migration,
};
use embermesh_transport::{CallContext, Transport};
use embermesh_types::RequestId;
use tokio::time::{Instant, sleep};
use tonic::Request;
use uuid::Uuid;

use super::{
    Migrations,
    worker::{LEASE, lease_ms},
};

/// The longest wait for one answer of another service.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what was written meanwhile.
pub(super) const FOLLOW: Duration = Duration::from_secs(1);
/// Between two attempts at what fails.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const MOST_PAUSE: Duration = Duration::from_secs(30);
/// Of a message about a failure, so many characters are kept.
const MESSAGE: usize = 300;

/// Why a worker stops working on a migration for now.
#[derive(Debug)]
pub(super) enum Stop {
    /// Nothing to do before this time is over.
    Wait(Duration),
    /// It failed, and is worth another attempt.
    Again(Error),
    /// It pauses until an operator has done something.
    Pause(&'static str, String),
    /// Another worker's word, or an operator's: begin again with what is on record.
    Changed,
}

impl From<tonic::Status> for Stop {
    fn from(status: tonic::Status) -> Self {
        Error::from(status).into()
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        // that of a worker's call: somebody else has the migration
        if error.code == Code::Conflict { Self::Changed } else { Self::Again(error) }
    }
}

/// A migration and its worker.
pub(super) struct Run<'a> {
    pub service: &'a Migrations,
    pub migration: Migration,
    /// The last row that the copying has passed.
    pub cursor: String,
    pub moved: Vec<MovedPin>,
    /// When it was told to cut over.
    pub cutting_since: Option<std::time::SystemTime>,
    pub end: &'a Tasks,
    principal: Principal,
    worker: Uuid,
    /// Since when its provider fails, by the wall clock.
    failing_since: Option<std::time::SystemTime>,
    patience: Duration,
}

impl<'a> Run<'a> {
    pub fn new(
        service: &'a Migrations,
        worker: Uuid,
        principal: Principal,
        claimed: ClaimedMigration,
        patience: Duration,
        end: &'a Tasks,
    ) -> Option<Self> {
        let failing_since = claimed.failing_since.and_then(|since| since.try_into().ok());
        Some(Self {
            service,
            migration: claimed.migration?,
            cursor: claimed.cursor,
            moved: claimed.moved,
            cutting_since: claimed.cutting_since.and_then(|since| since.try_into().ok()),
            end,
            principal,
            worker,
            failing_since,
            patience,
        })
    }

    /// Works until there is nothing to do for a while.
    pub async fn work(mut self) {
        let stop = match self.migration.state.as_str() {
            "running" => self.back_fill().await,
            "ready" | "cut_over" => self.follow().await,
            "cutting_over" => self.cut_over().await,
            "rolling_back" => self.roll_back().await,
            "finishing" => self.finish().await,
            _ => Ok(()),
        };
        let reported = match stop {
            Ok(()) => self.release(Duration::ZERO).await,
            Err(Stop::Wait(wait)) => self.release(wait).await,
            Err(Stop::Changed) => self.release(Duration::ZERO).await,
            Err(Stop::Pause(reason, message)) => self.pause(reason, &message).await,
            Err(Stop::Again(error)) => self.fail(&error).await,
        };
        if let Err(Stop::Again(error)) = reported {
            // the lease ends by itself
            tracing::debug!(migration = self.migration.migration_id, %error, "a migration cannot be given back");
            sleep(LEAST_PAUSE).await;
        }
    }

    /// Gives the migration back.
    async fn release(&mut self, wait: Duration) -> Result<(), Stop> {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let activity = self.migration.activity.clone().unwrap_or_default();
        self.report(ReportRequest { activity, release_for_ms: Some(wait), ..self.nothing_new() }).await
    }

    async fn pause(&mut self, reason: &str, message: &str) -> Result<(), Stop> {
        tracing::warn!(migration = self.migration.migration_id, reason, message, "a migration pauses");
        self.report(ReportRequest {
            to: "paused".to_owned(),
            activity: self.migration.activity.clone().unwrap_or_default(),
            reason: reason.to_owned(),
            message: short(message),
            release_for_ms: Some(0),
            ..self.nothing_new()
        })
        .await
    }

    async fn fail(&mut self, error: &Error) -> Result<(), Stop> {
        let now = self.service.clock.now();
        let since = *self.failing_since.get_or_insert(now);
        let lasted = now.duration_since(since).unwrap_or_default();
        let what = format!("{}: {}", error.code.as_str(), error.message);
        // half-way through a cut-over there is nothing to do but to go on
        if lasted >= self.patience && self.migration.state != "cutting_over" {
            return self.pause("provider_error", &what).await;
        }
        tracing::info!(migration = self.migration.migration_id, %error, "a migration does not get on, it is tried again");
        // the longer it lasts, the longer the next attempt waits, or as long as was asked for
        let wait = (lasted / 4).clamp(LEAST_PAUSE, MOST_PAUSE);
        let wait = wait.max(error.retry_after.unwrap_or_default().min(MOST_PAUSE));
        self.report(ReportRequest {
            activity: self.migration.activity.clone().unwrap_or_default(),
            reason: "provider_error".to_owned(),
            message: short(&what),
            failing: true,
            release_for_ms: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            ..self.nothing_new()
        })
        .await
    }

    pub fn nothing_new(&self) -> ReportRequest {
        ReportRequest {
            call: Some(self.call()),
            from: self.migration.state.clone(),
            failing: self.failing_since.is_some(),
            ..ReportRequest::default()
        }
    }

    /// Tells the store how the migration stands.
    pub async fn report(&mut self, report: ReportRequest) -> Result<(), Stop> {
        let request = self.request(report);
        self.store().report(request).await?;
        Ok(())
    }

    /// Tells what is being done.
    pub async fn tell(&mut self, activity: &str) -> Result<(), Stop> {
        if self.migration.activity.as_deref() == Some(activity) {
            return Ok(());
        }
        self.migration.activity = Some(activity.to_owned());
        self.report(ReportRequest { activity: activity.to_owned(), ..self.nothing_new() }).await
    }

    /// The provider works again.
    pub const fn got_on(&mut self) {
        self.failing_since = None;
    }

    /// Goes on only in the state that the migration was taken in.
    pub fn check(&self, standing: &MigrationStanding) -> Result<(), Stop> {
        if self.end.is_stopping() {
            return Err(Stop::Wait(Duration::ZERO));
        }
        if standing.state == self.migration.state { Ok(()) } else { Err(Stop::Changed) }
    }

    /// Takes over what an operator has changed; goes on only in the state that the migration was taken in.
    pub fn heed(&mut self, standing: &MigrationStanding) -> Result<(), Stop> {
        self.migration.budget_nano_usd = standing.budget_nano_usd;
        self.migration.requests_per_minute = standing.requests_per_minute;
        self.migration.tokens_per_minute = standing.tokens_per_minute;
        self.check(standing)
    }

    /// Waits, unless an operator says otherwise meanwhile.
    pub async fn wait(&mut self, span: Duration) -> Result<(), Stop> {
        let until = Instant::now() + span;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            sleep(left.min(LEASE / 4)).await;
            let (pace, request) = (self.pace(), self.request(self.call()));
            let standing = self.store().hold(request).await?.into_inner();
            self.heed(&standing)?;
            if self.pace() != pace {
                return Ok(());
            }
        }
    }

    fn pace(&self) -> (u32, u64) {
        (self.migration.requests_per_minute, self.migration.tokens_per_minute)
    }

    /// Does what takes long, and keeps the lease meanwhile.
    pub async fn holding<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let hold = async {
            loop {
                sleep(LEASE / 4).await;
                match self.store().hold(self.request(self.call())).await.map_err(Error::from) {
                    Err(error) if error.code == Code::Conflict => return,
                    // the next word of it may come through
                    Ok(_) | Err(_) => {}
                }
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = hold => Err(Stop::Changed),
        }
    }

    pub fn store(&self) -> MigrationStoreClient<Transport> {
        self.service.store()
    }

    pub fn call(&self) -> WorkerCall {
        WorkerCall {
            migration_id: self.migration.migration_id.clone(),
            worker: self.worker.as_bytes().to_vec().into(),
            lease_ms: lease_ms(),
        }
    }

    /// The circumstances of one call, as whoever began the migration.
    pub fn context(&self) -> CallContext {
        CallContext {
            principal: self.principal.clone(),
            request_id: RequestId::from(Uuid::now_v7()),
            deadline: Some(std::time::Instant::now() + PATIENCE),
        }
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        self.context().request(message)
    }
}

fn short(text: &str) -> String {
    text.chars().take(MESSAGE).collect()
}
