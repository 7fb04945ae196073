//! Takes entries out of Redis that are not served any more: the order went to the routers before the job began.

use embermesh_cache::{Away, Swept};
use embermesh_vector_key::Keys;
use tokio::time::{Instant, sleep};

use super::{AGAIN, PATIENCE, Run, Stop, Worker};
use crate::domain::job::Clear;

impl Worker {
    pub(super) async fn clear(&self, run: &mut Run<'_>, clear: &Clear) -> Result<Option<String>, Stop> {
        if clear.of_one_agent {
            let note = "the agent is served nothing that was kept before; the entries stay for the tenant's other agents";
            return Ok(Some(note.to_owned()));
        }
        if !self.redis.is_configured() {
            return Ok(Some("redis is not configured; the routers have cleared their memory".to_owned()));
        }
        let which =
            clear.tenant.map_or_else(Keys::default, |tenant| Keys::default().of_tenant(tenant.as_bytes()));
        let which = clear.space.as_ref().map_or(which, |space| which.in_space(space));
        let mut since = Instant::now();
        loop {
            match self.sweep(run, &which, clear.number, &mut since).await {
                Ok(()) => return Ok(None),
                Err(Sweeping::Stop(stop)) => return Err(stop),
                Err(Sweeping::Away(away)) if since.elapsed() > PATIENCE => {
                    return Err(Stop::Failed(format!(
                        "{away}; what is left in it is not served any more and goes when its time is over"
                    )));
                }
                // a node may have gone for good: from the beginning
                Err(Sweeping::Away(_)) => {
                    sleep(AGAIN).await;
                    run.tell(|_| {}).await?;
                }
            }
        }
    }

    async fn sweep(
        &self,
        run: &mut Run<'_>,
        which: &Keys,
        number: i64,
        since: &mut Instant,
    ) -> Result<(), Sweeping> {
        let mut sweep = self.redis.sweep().await?;
        run.tell(|progress| (progress.done, progress.total) = (0, Some(sweep.total()))).await?;
        while let Some(Swept { seen, removed }) = self.redis.sweep_on(&mut sweep, which, number).await? {
            *since = Instant::now();
            run.tell(|progress| {
                progress.changed += removed;
                progress.done += seen;
                // entries that came since it began
                progress.total = progress.total.map(|total| total.max(progress.done));
            })
            .await?;
        }
        // what is left are keys of other kinds
        run.tell(|progress| progress.total = Some(progress.done)).await?;
        Ok(())
    }
}

enum Sweeping {
    Away(Away),
    Stop(Stop),
}

impl From<Away> for Sweeping {
    fn from(away: Away) -> Self {
        Self::Away(away)
    }
}

impl From<Stop> for Sweeping {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}
