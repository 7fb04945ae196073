//! Looks at each replica, and at the primary, all the time: no read has to ask how far a replica has come. The one connection
//! of a watch is also what finds a replica dead, hanging or back.

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{Generation, Replicas, look};
use crate::{Database, DbError, direct::with_connection_within};

/// Looks are not closer together, however many reads wait.
const CLOSEST: Duration = Duration::from_millis(5);
/// Between two looks at the primary.
const PRIMARY_PAUSE: Duration = Duration::from_millis(50);
/// After a loss, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl Replicas {
    /// Watches one replica for ever.
    pub(super) async fn watch(&self, at: usize) {
        let Some(host) = self.hosts.get(at) else { return };
        let mut pause = FIRST_PAUSE;
        let mut is_told = false;
        loop {
            let mut was_there = false;
            let watch = with_connection_within(self.limits.connect_timeout, &host.dsn, async |client| {
                let server = self.in_time(look::server(client)).await?;
                let database = Database::of_one_server(
                    &host.dsn,
                    self.role,
                    self.schema,
                    &self.limits,
                    server.incarnation,
                )?;
                let (gone, _) = tokio::sync::watch::channel(false);
                self.board().connected(at, server.system, Arc::new(Generation { database, gone }));
                self.follow_server(at, client, &mut was_there).await
            });
            let Err(error) = watch.await.map(|never: Infallible| match never {});
            if let Some(generation) = self.board().lost(at) {
                // whoever reads there now begins anew on the primary
                generation.gone.send_replace(true);
            }
            if was_there {
                (pause, is_told) = (FIRST_PAUSE, false);
            }
            if !is_told {
                tracing::warn!(replica = host.name, %error, "a replica does not answer, the primary reads in its place");
                is_told = true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn follow_server(
        &self,
        at: usize,
        client: &tokio_postgres::Client,
        was_there: &mut bool,
    ) -> Result<Infallible, DbError> {
        let name = self.hosts.get(at).map(|host| host.name.as_str()).unwrap_or_default();
        let mut told = None;
        loop {
            let seen = self.in_time(look::look(client)).await?;
            *was_there = true;
            self.board().looked(at, seen);
            self.progress.send_modify(|looks| *looks += 1);
            let standing = self.board().standing(Instant::now(), at).0;
            if told != Some(standing) {
                tracing::info!(
                    replica = name,
                    standing = standing.as_str(),
                    timeline = seen.timeline,
                    "replica"
                );
                told = Some(standing);
            }
            if let Some(host) = self.hosts.get(at) {
                let mut asked = pin!(host.asked.notified());
                tokio::select! {
                    () = &mut asked => sleep(CLOSEST).await,
                    () = sleep(self.settings.poll_interval.max(CLOSEST)) => {}
                }
            }
        }
    }

    /// Watches the primary for ever. While it does not answer, its last place stands.
    pub(super) async fn watch_primary(&self) {
        loop {
            let watch = with_connection_within(self.limits.connect_timeout, &self.primary, async |client| {
                self.follow_primary(client).await
            });
            let Err(error) = watch.await.map(|never: Infallible| match never {});
            tracing::debug!(%error, "the primary's place in its log is not known now");
            sleep(FIRST_PAUSE * 4).await;
        }
    }

    async fn follow_primary(&self, client: &tokio_postgres::Client) -> Result<Infallible, DbError> {
        loop {
            let position = self.in_time(look::primary(client)).await?;
            self.board().primary(Instant::now(), position);
            sleep(PRIMARY_PAUSE).await;
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, DbError>>) -> Result<T, DbError> {
        let late = || DbError::Unavailable("it did not answer in time".to_owned());
        timeout(self.settings.lost_after, work).await.unwrap_or_else(|_| Err(late()))
    }
}
