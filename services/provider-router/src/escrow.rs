//! Sets money aside without asking anybody: drawn from leases, and written down before it counts.

use std::{io, path::PathBuf, sync::Arc};

use embermesh_escrow::{Amount, day_of};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{Entry, LeasedAttempt, entry::Entry as Value};
use embermesh_subscription::Subscription;
use embermesh_transport::Transport;
use embermesh_types::Clock;

use crate::{
    books::{Wanted, ledger_client},
    hold::Hold,
    ids::uuid_v7,
    journal::{Journal, Poster, replay, ship, sync},
    leases::{Drawn, Leases, keep, renew},
    metrics::JournalMetrics,
};

/// Leases and the journal of what becomes of them.
#[derive(Debug, Clone)]
pub(crate) struct Escrow {
    pub leases: Arc<Leases>,
}

impl Escrow {
    /// Begins a journal under `dir`, brings those of earlier processes there to the ledger, and starts what keeps leases and journal.
    pub fn start(
        dir: PathBuf,
        ledger: &Transport,
        subscription: Subscription,
        clock: Clock,
        metrics: &JournalMetrics,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let journal = Arc::new(Journal::create(&dir, uuid_v7(clock.now()))?);
        let poster = Poster::new(ledger.clone(), metrics.rejected.clone());
        tasks.spawn("replay", replay(dir, poster.clone()));
        tasks.spawn("journal", ship(Arc::clone(&journal), poster, tasks.clone()));
        tasks.spawn("journal sync", sync(Arc::clone(&journal), metrics.clone(), tasks.clone()));
        let (leases, asks) =
            Leases::new(journal, ledger_client(ledger), subscription, clock, metrics.leases.clone());
        tasks.spawn("leases", keep(Arc::clone(&leases), asks, tasks.clone()));
        tasks.spawn("renew", renew(Arc::clone(&leases), tasks.clone()));
        Ok(Self { leases })
    }

    /// Sets aside what every part can cost, and writes it down. `None`: some lease does not hold it, or nothing can be written; then
    /// nothing is set aside.
    pub fn take(&self, wanted: &mut Wanted<'_>) -> Option<Hold> {
        let free = wanted.request.price_per_million_nano_usd == 0;
        let count = wanted.request.parts.len();
        let mut drawn: Vec<Option<Drawn>> = Vec::with_capacity(count);
        for at in 0..count {
            if free {
                drawn.push(None);
                continue;
            }
            let amount = Amount(wanted.request.parts.get(at)?.amount_nano_usd);
            let taken = wanted.path(at).and_then(|path| self.leases.draw(&path, amount, wanted.now));
            let Some(taken) = taken else {
                self.give_back(&drawn);
                return None;
            };
            drawn.push(Some(taken));
        }
        for (part, drawn) in wanted.request.parts.iter_mut().zip(&drawn) {
            part.lease_id = drawn.as_ref().map(|drawn| drawn.lease.id.clone()).unwrap_or_default();
        }
        let day = drawn.iter().flatten().next().map(|drawn| drawn.lease.day.clone());
        self.session().clone_into(&mut wanted.request.session_id);
        let attempt = LeasedAttempt {
            reserve: Some(std::mem::take(&mut wanted.request)),
            reserved_at: Some(wanted.now.into()),
            day: day.unwrap_or_else(|| day_of(wanted.now).to_string()),
        };
        let price = attempt.reserve.as_ref().map_or(0, |reserve| reserve.price_per_million_nano_usd);
        let entry = Entry { entry: Some(Value::Reserved(attempt)) };
        match self.leases.journal.begin(wanted.tenant, entry) {
            Ok(kept) => {
                wanted.request.price_per_million_nano_usd = price;
                let leases = Arc::clone(&self.leases);
                Some(Hold::written(wanted.attempt, wanted.tenant, leases, drawn, kept))
            }
            Err(entry) => {
                self.give_back(&drawn);
                if let Some(Value::Reserved(attempt)) = entry.entry {
                    wanted.request = attempt.reserve.unwrap_or_default();
                }
                wanted.request.session_id.clear();
                wanted.request.parts.iter_mut().for_each(|part| part.lease_id.clear());
                None
            }
        }
    }

    /// Notes that the ledger is asked, for a replay to find.
    pub fn note(&self, wanted: &mut Wanted<'_>) -> Hold {
        match self.leases.journal.note(wanted.tenant, wanted.attempt) {
            Some(kept) => {
                wanted.request.session_id = self.session().to_owned();
                Hold::written(wanted.attempt, wanted.tenant, Arc::clone(&self.leases), Vec::new(), kept)
            }
            None => Hold::unwritten(wanted.attempt, wanted.tenant),
        }
    }

    fn session(&self) -> &str {
        self.leases.journal.session()
    }

    fn give_back(&self, drawn: &[Option<Drawn>]) {
        drawn.iter().flatten().for_each(|drawn| self.leases.end(drawn, Amount::ZERO));
    }
}

#[cfg(test)]
mod tests;
