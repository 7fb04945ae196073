//! What processes before this one had written down and could not bring to the ledger: it is posted, attempts without an end are presumed,
//! and the session is ended.

use std::{collections::HashMap, io, path::PathBuf};

use embermesh_proto::internal::v1::{Entry, entry::Entry as Value};
use embermesh_types::{AttemptId, TenantId};

use super::{
    Poster, Session,
    backlog::{self, Page},
    record::Record,
    segments::{Place, numbers},
};

const TOGETHER: usize = 512;

/// Replays every session under `journal` whose process is gone.
pub(crate) async fn replay(journal: PathBuf, poster: Poster) {
    let sessions = match blocking(move || Session::left_behind(&journal)).await {
        Ok(sessions) => sessions,
        Err(error) => {
            tracing::error!(%error, "cannot look for journals of earlier processes, their leases stay presumed");
            return;
        }
    };
    for session in sessions {
        if let Err(error) = replay_one(&session, &poster).await {
            tracing::error!(session = session.id, %error, "cannot read the journal of an earlier process, it is left where it is");
        }
    }
}

async fn replay_one(session: &Session, poster: &Poster) -> io::Result<()> {
    let dir = session.dir.clone();
    let numbers = blocking(move || numbers(&dir)).await?;
    let mut open = Open::default();
    let (mut entries, mut damaged) = (0, false);
    if let (Some(first), Some(last)) = (numbers.first(), numbers.last()) {
        let mut from = Place { segment: *first, ..Place::default() };
        let to = Place { segment: *last, offset: u64::MAX, written: 0 };
        loop {
            let Page { records, next, damaged: bad } = read(session, from, to).await?;
            damaged |= bad;
            if records.is_empty() {
                break;
            }
            from = next;
            let posted: Vec<_> = records.into_iter().filter_map(|record| open.see(record)).collect();
            entries += posted.len();
            poster.post(&session.id, posted).await;
        }
    }
    let presumed = open.into_presumed();
    let presumptions = presumed.len();
    poster.post(&session.id, presumed).await;
    // a machine that went down may have taken the last records along; what they spent is set aside in the leases
    let closes = session.same_boot && !damaged;
    if closes {
        poster.close(&session.id).await;
    }
    tracing::info!(
        session = session.id,
        entries,
        presumed = presumptions,
        closes,
        "the journal of an earlier process is in the books"
    );
    session.remove()
}

async fn read(session: &Session, from: Place, to: Place) -> io::Result<Page> {
    let dir = session.dir.clone();
    blocking(move || backlog::read(&dir, from, to, TOGETHER)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Attempts that have begun, until they have ended.
#[derive(Debug, Default)]
struct Open(HashMap<AttemptId, TenantId>);

impl Open {
    /// Takes note of a record, and gives what is to be posted of it.
    fn see(&mut self, (tenant, record): (TenantId, Record)) -> Option<(TenantId, Entry)> {
        let entry = match record {
            Record::Entry(entry) => entry,
            Record::Noted(attempt) => {
                self.0.insert(attempt, tenant);
                return None;
            }
            Record::Unknown => return None,
        };
        match &entry.entry {
            Some(Value::Reserved(attempt)) => {
                let id = attempt.reserve.as_ref().and_then(|reserve| reserve.attempt_id.parse().ok());
                if let Some(id) = id {
                    self.0.insert(id, tenant);
                }
            }
            Some(Value::Settled(settled)) => self.end(&settled.attempt_id),
            Some(Value::PresumedAttemptId(id)) => self.end(id),
            Some(Value::Hit(_) | Value::Returned(_) | Value::Used(_)) | None => {}
        }
        Some((tenant, *entry))
    }

    fn end(&mut self, id: &str) {
        if let Ok(id) = id.parse() {
            self.0.remove(&id);
        }
    }

    fn into_presumed(self) -> Vec<(TenantId, Entry)> {
        let presumed = |id: AttemptId| Entry { entry: Some(Value::PresumedAttemptId(id.to_string())) };
        self.0.into_iter().map(|(id, tenant)| (tenant, presumed(id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use embermesh_proto::internal::v1::{LeasedAttempt, ReserveRequest, SettleRequest};
    use uuid::Uuid;

    use super::*;

    fn attempt(n: u128) -> AttemptId {
        AttemptId::new(Uuid::from_u128(n))
    }

    fn entry(value: Value) -> (TenantId, Record) {
        (TenantId::SYSTEM, Record::Entry(Box::new(Entry { entry: Some(value) })))
    }

    fn reserved(n: u128) -> (TenantId, Record) {
        let reserve = ReserveRequest { attempt_id: attempt(n).to_string(), ..ReserveRequest::default() };
        entry(Value::Reserved(LeasedAttempt { reserve: Some(reserve), ..LeasedAttempt::default() }))
    }

    fn settled(n: u128) -> (TenantId, Record) {
        let attempt_id = attempt(n).to_string();
        entry(Value::Settled(SettleRequest { attempt_id, ..SettleRequest::default() }))
    }

    #[test]
    fn attempts_without_an_end_are_presumed_and_others_are_not() {
        let mut open = Open::default();
        let noted = |n| (TenantId::SYSTEM, Record::Noted(attempt(n)));
        let presumed = entry(Value::PresumedAttemptId(attempt(4).to_string()));
        let seen =
            [reserved(1), noted(2), noted(3), reserved(4), settled(3), settled(1), presumed, reserved(5)];
        let posted = seen.into_iter().filter_map(|record| open.see(record)).count();
        assert_eq!(posted, 6, "a note is for the replay alone");
        let mut presumed: Vec<_> = open.into_presumed().into_iter().map(|(_, entry)| entry.entry).collect();
        presumed.sort_by_key(|value| format!("{value:?}"));
        let expected = [2, 5].map(|n| Some(Value::PresumedAttemptId(attempt(n).to_string())));
        assert_eq!(presumed, expected);
    }
}
