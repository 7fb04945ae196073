//! Copying rows: from the first to the last, then all that was missed, then what is written meanwhile.

use std::time::{Duration, SystemTime};

use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{CommitBatchRequest, CompareRequest, CountReply, ReportRequest, ScanReply, ScanRequest},
    v1::MigrationParity,
};
use embermesh_types::{NanoUsd, SpaceId};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    batch::{BATCH, Embedded, Target},
    pace,
    run::{FOLLOW, Run, Stop},
};
use crate::embeddings::{OnTooLong, defect, makers, usable};

/// Rows that one scan looks at.
const EXAMINE: u32 = 2_000;
/// A row gets its time before it is committed, by the clock of some replica: it may turn up so much later in the order of times.
const LATE: Duration = Duration::from_secs(60);
/// Between two looks at whether an index is built.
const INDEXING: Duration = Duration::from_secs(10);
/// How long one migration is worked on before another one that waits gets its turn.
const TURN: Duration = Duration::from_secs(30);
/// Rows whose neighbours are compared, and how many neighbours.
const SAMPLED: u32 = 50;
const K: u32 = 10;

/// A way through the rows of a space.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// From the new space into the old one.
    pub back: bool,
    /// The last row that was passed.
    pub after: String,
    /// Where it is goes on record.
    pub kept: bool,
    /// Rows that were handled on the way.
    pub handled: u64,
}

impl Run<'_> {
    /// Copies everything there is, waits for indexes, compares the spaces; then the migration is ready.
    pub(super) async fn back_fill(&mut self) -> Result<(), Stop> {
        self.tell("copying").await?;
        let begun = Instant::now();
        let mut walk = Walk { after: self.cursor.clone(), kept: true, ..Walk::default() };
        while !self.step(&mut walk).await? {
            if begun.elapsed() > TURN {
                return Err(Stop::Wait(Duration::ZERO));
            }
        }
        self.sweep().await?;
        let counted = self.count().await?;
        if counted.missing > 0 {
            // written meanwhile
            return Err(Stop::Wait(Duration::ZERO));
        }
        if counted.index_is_due {
            self.tell("indexing").await?;
            return Err(Stop::Wait(INDEXING));
        }
        self.tell("comparing").await?;
        let parity = self.compare(&counted).await?;
        self.report(ReportRequest {
            to: "ready".to_owned(),
            activity: "following".to_owned(),
            rows_left: Some(0),
            parity: Some(parity),
            release_for_ms: Some(millis(FOLLOW)),
            ..self.nothing_new()
        })
        .await?;
        self.migration.state = "ready".to_owned();
        self.migration.activity = Some("following".to_owned());
        Err(Stop::Wait(FOLLOW))
    }

    /// Copies what was written since the last look.
    pub(super) async fn follow(&mut self) -> Result<(), Stop> {
        self.tell("following").await?;
        self.catch_up().await?;
        Err(Stop::Wait(FOLLOW))
    }

    /// Copies what was written since the cursor, or turned up late before it.
    pub(super) async fn catch_up(&mut self) -> Result<(), Stop> {
        let mut walk = Walk { after: earlier(&self.cursor), kept: true, ..Walk::default() };
        while !self.step(&mut walk).await? {}
        Ok(())
    }

    /// Goes through all rows once more, for those that no cursor has met: such as rows of a month that came back from an archive.
    pub(super) async fn sweep(&mut self) -> Result<(), Stop> {
        loop {
            let mut walk = Walk::default();
            while !self.step(&mut walk).await? {}
            if walk.handled == 0 {
                return Ok(());
            }
        }
    }

    /// Goes some rows further; whether that was the end.
    pub(super) async fn step(&mut self, walk: &mut Walk) -> Result<bool, Stop> {
        let begun = Instant::now();
        let scan = ScanRequest {
            call: Some(self.call()),
            back: walk.back,
            after: walk.after.clone(),
            examine: EXAMINE,
            rows: BATCH,
        };
        let ScanReply { mut rows, position, at_end, standing } =
            self.store().scan(self.request(scan)).await?.into_inner();
        self.heed(&standing.unwrap_or_default())?;
        if walk.back {
            // only what pins have led there comes back
            rows.retain(|row| {
                self.moved.iter().any(|pin| pin.agent_id == row.agent_id && pin.task_type == row.task_type)
            });
        }
        if rows.is_empty() {
            if !position.is_empty() {
                walk.after.clone_from(&position);
                if walk.kept && position > self.cursor {
                    self.commit(walk, "", Embedded::default(), position).await?;
                }
            }
            return Ok(at_end);
        }
        let target = self.target(walk.back)?;
        let budget =
            self.migration.budget_nano_usd.map(|budget| NanoUsd(budget - self.migration.cost_nano_usd));
        let affordable = target.affordable(&rows, budget);
        if affordable == 0 {
            let message = "the next text could cost more than is left of the migration's budget; resume with a larger one";
            return Err(Stop::Pause("budget_reached", message.to_owned()));
        }
        let whole = affordable == rows.len();
        rows.truncate(affordable);
        let again = self.store().begin(self.request(self.call())).await?.into_inner().again;
        let mut embedded = self.holding(self.embed(&target, &rows, again)).await?;
        let (open, handled) = (embedded.open.take(), embedded.copies.len() + embedded.failures.len());
        let (calls, tokens) = (embedded.calls, embedded.called_tokens);
        // where every row has come to something, the next scan begins behind them
        let passed = match (&open, whole, rows.last()) {
            (Some(_), ..) | (_, _, None) => walk.after.clone(),
            (None, true, _) => position,
            (None, false, Some(last)) => last.embedding_id.clone(),
        };
        let handled = u64::try_from(handled).unwrap_or(u64::MAX);
        if handled > 0 {
            self.commit(walk, &target.model, embedded, passed.clone()).await?;
        }
        walk.handled += handled;
        walk.after = passed;
        if let Some(stop) = open {
            return Err(stop);
        }
        let wait = pace::wait(
            calls,
            tokens,
            u64::from(self.migration.requests_per_minute),
            self.migration.tokens_per_minute,
        );
        let wait = wait.saturating_sub(begun.elapsed());
        if !wait.is_zero() {
            self.wait(wait).await?;
        }
        Ok(at_end && whole)
    }

    async fn commit(
        &mut self,
        walk: &Walk,
        model: &str,
        embedded: Embedded,
        passed: String,
    ) -> Result<(), Stop> {
        let further = walk.kept && passed > self.cursor;
        let cost = embedded.cost;
        let commit = CommitBatchRequest {
            call: Some(self.call()),
            back: walk.back,
            model: model.to_owned(),
            copies: embedded.copies,
            failures: embedded.failures,
            cost_nano_usd: cost.0,
            tokens: embedded.tokens,
            cursor: if further { passed.clone() } else { String::new() },
        };
        let standing = self.keep(commit).await?;
        if further {
            self.cursor = passed;
        }
        self.migration.cost_nano_usd = self.migration.cost_nano_usd.saturating_add(cost.0);
        self.got_on();
        self.check(&standing)
    }

    /// Has a batch kept. Its vectors are paid for, so a store that is away is waited for.
    async fn keep(
        &self,
        commit: CommitBatchRequest,
    ) -> Result<embermesh_proto::internal::v1::MigrationStanding, Stop> {
        const ATTEMPTS: u32 = 40;
        let mut attempt = 1;
        loop {
            match self.store().commit(self.request(commit.clone())).await.map_err(Error::from) {
                Ok(standing) => return Ok(standing.into_inner()),
                Err(error) if error.code.is_retryable() && attempt < ATTEMPTS && !self.end.is_stopping() => {
                    attempt += 1;
                    sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn count(&mut self) -> Result<CountReply, Stop> {
        let call = self.request(self.call());
        let mut store = self.store();
        let counted = self.holding(store.count(call)).await??.into_inner();
        let rows_left = Some(counted.missing);
        let activity = self.migration.activity.clone().unwrap_or_default();
        self.report(ReportRequest { activity, rows_left, ..self.nothing_new() }).await?;
        Ok(counted)
    }

    /// Compares the neighbours of some rows in both spaces.
    async fn compare(&mut self, counted: &CountReply) -> Result<MigrationParity, Stop> {
        let (mut sampled, mut sum, mut least) = (0_u32, 0.0, 1.0_f64);
        for at in 0..SAMPLED {
            let compare = CompareRequest { call: Some(self.call()), at, k: K };
            let request = self.request(compare);
            let mut store = self.store();
            let compared = self.holding(store.compare(request)).await??.into_inner();
            if compared.none {
                break;
            }
            // a row without neighbours has the same ones in both
            let share =
                if compared.of == 0 { 1.0 } else { f64::from(compared.agreed) / f64::from(compared.of) };
            sampled += 1;
            sum += share;
            least = least.min(share);
        }
        // without a copy there is nothing that could differ
        let overlap = if sampled == 0 { 1.0 } else { sum / f64::from(sampled) };
        Ok(MigrationParity {
            sampled,
            k: K,
            overlap,
            least: if sampled == 0 { 1.0 } else { least },
            rows_from: counted.rows_from,
            rows_to: counted.rows_to,
            passed: overlap >= self.migration.min_overlap && counted.missing == 0 && counted.failed == 0,
        })
    }

    /// Where copies go: the new space, or back into the old one.
    fn target(&self, back: bool) -> Result<Target, Stop> {
        let snapshot = self.service.parts.subscription.current();
        let space = if back { &self.migration.from_space_id } else { &self.migration.to_space_id };
        let space: SpaceId = space.parse().map_err(|_| defect("a migration has a space that is none"))?;
        let model = if back {
            let makers = makers(&snapshot, &space);
            usable(&makers, &snapshot, self.context().principal.tenant).first().cloned()
        } else {
            snapshot.model(&self.migration.to_model).cloned()
        };
        let Some(model) = model else {
            let message =
                format!("no model of the catalog that the tenant may use makes the vectors of {space}");
            return Err(Stop::Pause("provider_error", message));
        };
        let on_too_long =
            if self.migration.on_too_long == "truncate" { OnTooLong::Truncate } else { OnTooLong::Error };
        Ok(Target::new(space, &model, on_too_long))
    }
}

/// The place of a time in the order of ids.
pub(super) fn place_of(time: SystemTime) -> String {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    Uuid::from_u128((millis & 0xffff_ffff_ffff) << 80).to_string()
}

/// A place so much before a row that nothing turns up before it any more.
fn earlier(cursor: &str) -> String {
    let Ok(id) = cursor.parse::<Uuid>() else { return String::new() };
    // 48 bits always fit
    let millis = (id.as_u128() >> 80) as u64;
    let before = Duration::from_millis(millis).saturating_sub(LATE);
    place_of(SystemTime::UNIX_EPOCH + before)
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_the_order_of_times() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let places = [place_of(at(0)), place_of(at(1_763_164_800)), place_of(at(1_763_164_861))];
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(earlier(&places[2]), place_of(at(1_763_164_801)));
        assert_eq!(earlier(""), "");
    }
}
