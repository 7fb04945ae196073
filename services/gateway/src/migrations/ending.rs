//! Cutting over, finishing and rolling back. Every step can be repeated: who takes a migration over begins the step anew.

use std::time::{Duration, SystemTime};

use embermesh_proto::internal::v1::{
    MovePinsRequest, MovedPin, Pin, ReportRequest, config_client::ConfigClient,
};
use tokio::time::sleep;

use super::{
    copying::{Walk, place_of},
    run::{Run, Stop},
};

/// Within this every router follows pins that have moved, also when the configuration stream is broken.
const PROPAGATION: Duration = Duration::from_secs(6);
/// A row may have got its time by another clock, so much before the cut-over.
const SKEW: Duration = Duration::from_secs(60);

impl Run<'_> {
    /// Moves the pins into the new space.
    pub(super) async fn cut_over(&mut self) -> Result<(), Stop> {
        self.catch_up().await?;
        let moved = self.move_pins(false).await?;
        let pin = |pin: Pin| MovedPin { agent_id: pin.agent_id, task_type: pin.task_type };
        self.report(ReportRequest {
            to: "cut_over".to_owned(),
            activity: "following".to_owned(),
            moved: moved.into_iter().map(pin).collect(),
            release_for_ms: Some(0),
            ..self.nothing_new()
        })
        .await
    }

    /// Copies the last of what late gateways wrote, then deletes the old vectors of what has new ones.
    pub(super) async fn finish(&mut self) -> Result<(), Stop> {
        self.tell("copying").await?;
        self.settle_down().await?;
        self.catch_up().await?;
        self.sweep().await?;
        self.tell("deleting").await?;
        self.drop_all().await?;
        self.end("finished").await
    }

    /// Brings back what was written in the new space, then the pins, then deletes the copies.
    pub(super) async fn roll_back(&mut self) -> Result<(), Stop> {
        if let Some(cut_over_at) = self.cut_over_at() {
            self.tell("copying").await?;
            // from when it was told to, not from when that was done: the pins were moving in between, however long it took
            let since = self.cutting_since.unwrap_or(cut_over_at);
            let since = place_of(since.checked_sub(SKEW).unwrap_or(SystemTime::UNIX_EPOCH));
            self.bring_back(&since).await?;
            self.move_pins(true).await?;
            // what routers write that do not know yet
            self.holding(sleep(PROPAGATION)).await?;
            self.bring_back(&since).await?;
        }
        self.tell("deleting").await?;
        self.drop_all().await?;
        self.end("rolled_back").await
    }

    async fn bring_back(&mut self, since: &str) -> Result<(), Stop> {
        if self.moved.is_empty() {
            return Ok(());
        }
        let mut walk = Walk { back: true, after: since.to_owned(), ..Walk::default() };
        while !self.step(&mut walk).await? {}
        Ok(())
    }

    async fn move_pins(&mut self, back: bool) -> Result<Vec<Pin>, Stop> {
        let (from, to) = (&self.migration.from_space_id, &self.migration.to_space_id);
        let (from, to) = if back { (to, from) } else { (from, to) };
        let request = MovePinsRequest {
            agent_id: self.migration.agent_id.clone().unwrap_or_default(),
            from_space_id: from.clone(),
            to_space_id: to.clone(),
            model: self.migration.to_model.clone(),
            back,
        };
        let mut admin = ConfigClient::new(self.service.admin.clone());
        let request = self.request(request);
        Ok(self.holding(admin.move_pins(request)).await??.into_inner().moved)
    }

    /// Waits until nobody reads or writes by the old pins any more.
    async fn settle_down(&self) -> Result<(), Stop> {
        let Some(cut_over_at) = self.cut_over_at() else { return Ok(()) };
        let since = self.service.clock.now().duration_since(cut_over_at).unwrap_or_default();
        self.holding(sleep(PROPAGATION.saturating_sub(since))).await
    }

    fn cut_over_at(&self) -> Option<SystemTime> {
        self.migration.cut_over_at.and_then(|at| at.try_into().ok())
    }

    async fn drop_all(&mut self) -> Result<(), Stop> {
        while self.store().drop(self.request(self.call())).await?.into_inner().rows > 0 {
            if self.end.is_stopping() {
                return Err(Stop::Wait(Duration::ZERO));
            }
        }
        Ok(())
    }

    async fn end(&mut self, state: &str) -> Result<(), Stop> {
        self.report(ReportRequest {
            to: state.to_owned(),
            rows_left: Some(0),
            release_for_ms: Some(0),
            ..self.nothing_new()
        })
        .await
    }
}
