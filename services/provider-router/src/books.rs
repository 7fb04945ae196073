//! The router's side of the ledger: money is set aside before bytes leave, and every attempt gets its end.
//!
//! With a journal both happen here: a reservation is a draw from a lease and a record, an end is a record. Without one, and where no lease
//! has the money, the ledger is asked.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    AttemptOutcome, Charge, Hit, RefusedPart, ReserveRequest, SettleRequest, ledger_client::LedgerClient,
};
use embermesh_transport::{CallContext, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::{AttemptId, TenantId, TokenCount};
use rand::RngExt;
use tokio::time::timeout;

use crate::{
    batch::Part, domain::usage::Share, escrow::Escrow, hits::Hits, hold::Hold, leases::PathKey,
    metrics::Reservations, quotas::Quotas, text::Asker,
};

/// Tries to settle; after them the ledger's own sweep books the attempt at its bound.
const SETTLE_TRIES: u32 = 8;
/// After so many rounds a reservation that is not there was never made.
const ABSENT_ROUNDS: u32 = 2;
/// How long one try may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the ledger may take to set money aside, calling leases back included; when it is there it takes as long only if thousands
/// ask it at once.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an answer waits for its settlement.
const KEEP_CALLER: Duration = Duration::from_secs(2);

/// A client of the ledger.
pub(crate) fn ledger_client(ledger: &Transport) -> LedgerClient<Transport> {
    LedgerClient::new(ledger.clone())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

#[derive(Debug)]
pub(crate) struct Books {
    pub ledger: LedgerClient<Transport>,
    pub hits: Hits,
    pub tasks: Tasks,
    pub reservations: Reservations,
    /// Absent without a place for a journal: the ledger is asked for everything.
    pub escrow: Option<Escrow>,
    pub quotas: Quotas,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub attempt: AttemptId,
    pub outcome: AttemptOutcome,
    pub tokens: TokenCount,
    /// What the price counts, where that is not tokens; else 0.
    pub billed_units: u64,
    /// Who pays what for how many texts; sums to the whole.
    pub charges: Vec<(Arc<Asker>, Share, usize)>,
}

/// What is asked for: an attempt for some requests at a provider entry.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub attempt: AttemptId,
    /// When the attempt was made up; its id says the same.
    pub now: SystemTime,
    pub tenant: TenantId,
    pub provider: &'a Arc<str>,
    /// Those of `request`.
    pub parts: &'a [Part],
    pub request: ReserveRequest,
}

impl Wanted<'_> {
    /// Who spends for a part.
    pub fn path(&self, at: usize) -> Option<PathKey> {
        let asker = &self.parts.get(at)?.asker;
        Some(PathKey {
            tenant: self.tenant,
            agent: asker.agent.clone(),
            key: asker.ctx.principal.key.clone(),
            provider: Arc::clone(self.provider),
        })
    }
}

impl Books {
    /// Sets money aside, or says why not; says which parts got none while others did.
    pub async fn reserve(
        &self,
        ctx: &CallContext,
        mut wanted: Wanted<'_>,
    ) -> Result<(Hold, Vec<(usize, Error)>), Error> {
        if let Some(escrow) = &self.escrow
            && let Some(hold) = escrow.take(&mut wanted)
        {
            let free = wanted.request.price_per_million_nano_usd == 0;
            if free { &self.reservations.free } else { &self.reservations.leased }.inc();
            return Ok((hold, Vec::new()));
        }
        self.reservations.direct.inc();
        let mut hold = match &self.escrow {
            Some(escrow) => escrow.note(&mut wanted),
            None => Hold::unwritten(wanted.attempt, wanted.tenant),
        };
        let paths: Vec<Option<PathKey>> = match &self.escrow {
            Some(_) => (0..wanted.parts.len()).map(|at| wanted.path(at)).collect(),
            None => Vec::new(),
        };
        match self.ask(ctx, wanted.request).await {
            Ok(refused) => {
                let short = refused.iter().filter(|(_, error)| error.code == Code::BudgetExceeded);
                short.for_each(|(at, _)| self.run_short(paths.get(*at)));
                Ok((hold, refused))
            }
            Err(error) => {
                if error.code == Code::BudgetExceeded {
                    paths.iter().for_each(|path| self.run_short(Some(path)));
                }
                if error.code.is_retryable() || error.code == Code::Internal {
                    // it may stand all the same, and would be charged although nothing was sent
                    self.void_if_reserved(ctx, hold);
                } else {
                    hold.forget();
                }
                Err(if is_away(&error) { self.away() } else { error })
            }
        }
    }

    async fn ask(&self, ctx: &CallContext, request: ReserveRequest) -> Result<Vec<(usize, Error)>, Error> {
        let (ctx, hurried) = with_end(ctx);
        let reply = self.ledger.clone().reserve(ctx.request(request)).await;
        let reply = reply.map_err(|status| late(status.into(), hurried))?.into_inner();
        let refused = |one: RefusedPart| {
            let error = one.failure.map(Error::from);
            let error = error.unwrap_or_else(|| Error::internal("the ledger refuses without a reason"));
            (usize::try_from(one.part).unwrap_or(usize::MAX), error)
        };
        Ok(reply.refused.into_iter().map(refused).collect())
    }

    fn run_short(&self, path: Option<&Option<PathKey>>) {
        if let (Some(escrow), Some(Some(path))) = (&self.escrow, path) {
            escrow.leases.run_short(path);
        }
    }

    fn away(&self) -> Error {
        Error::unavailable(match self.escrow {
            Some(_) => "the ledger is away and no leased budget is left for this call, try again",
            None => "the ledger is away, so no budget can be set aside for this call, try again",
        })
    }

    /// Ends an attempt: at once in the journal. Without one it goes on trying while the ledger is away, but keeps its caller for a moment
    /// only: the money is set aside, and the answer is there.
    pub async fn settle(&self, ctx: &CallContext, mut hold: Hold, settlement: Settlement) {
        if let Some(message) = hold.settle(message(settlement)) {
            let settling = settle(self.ledger.clone(), ctx.clone(), message, false);
            let _ended = timeout(KEEP_CALLER, self.tasks.spawn("settle", settling)).await;
        }
    }

    /// Ends an attempt that nobody waits for.
    pub fn settle_later(&self, ctx: &CallContext, mut hold: Hold, settlement: Settlement) {
        if let Some(message) = hold.settle(message(settlement)) {
            self.tasks.spawn("settle", settle(self.ledger.clone(), ctx.clone(), message, false));
        }
    }

    /// Gives back what a reservation without an answer may have set aside. Nobody waits for it.
    fn void_if_reserved(&self, ctx: &CallContext, mut hold: Hold) {
        let message = message(voided(hold.attempt));
        let settling = settle(self.ledger.clone(), ctx.clone(), message, true);
        self.tasks.spawn("void", async move {
            // a ledger that cannot be told hears later that nobody knows
            if settling.await { hold.forget() } else { hold.presume() }
        });
    }

    /// Books cache hits, later and without making anybody wait.
    pub fn record_hit(&self, ctx: &CallContext, now: SystemTime, hit: Hit) {
        self.hits.record(ctx, now, hit);
    }
}

/// For a call to the ledger that sets something aside: with an end, and whether the caller's own end is that one.
pub(crate) fn with_end(ctx: &CallContext) -> (CallContext, bool) {
    let mut ctx = ctx.clone();
    let longest = Instant::now() + RESERVE_TIMEOUT;
    let hurried = ctx.deadline.is_some_and(|deadline| deadline <= longest);
    if !hurried {
        ctx.deadline = Some(longest);
    }
    (ctx, hurried)
}

/// A caller who has more time than the ledger takes when it is there is not told that its own is up.
pub(crate) fn late(error: Error, hurried: bool) -> Error {
    if error.code == Code::DeadlineExceeded && !hurried { Error::unavailable(error.message) } else { error }
}

/// The end of an attempt for which nothing was billed.
pub(crate) const fn voided(attempt: AttemptId) -> Settlement {
    Settlement {
        attempt,
        outcome: AttemptOutcome::Voided,
        tokens: TokenCount(0),
        billed_units: 0,
        charges: Vec::new(),
    }
}

/// Nobody has decided anything. A ledger whose budgets are closed has.
fn is_away(error: &Error) -> bool {
    matches!(error.code, Code::Unavailable) && !error.details.contains_key("budgets")
}

/// `may_be_absent`: the reservation may still be on its way to the ledger, or was never made. Whether it came to an end.
async fn settle(
    ledger: LedgerClient<Transport>,
    mut ctx: CallContext,
    message: SettleRequest,
    may_be_absent: bool,
) -> bool {
    let attempt = message.attempt_id.clone();
    for round in 0..SETTLE_TRIES {
        ctx.deadline = Some(Instant::now() + SETTLE_TIMEOUT);
        let Err(status) = ledger.clone().settle(ctx.request(message.clone())).await else { return true };
        let error = Error::from(status);
        let absent = may_be_absent && error.code == Code::NotFound;
        if absent && round >= ABSENT_ROUNDS {
            return true;
        }
        if !absent && !error.code.is_retryable() {
            tracing::error!(attempt, code = error.code.as_str(), %error, "the ledger refuses a settlement");
            return false;
        }
        let most = 100_u64 << round;
        let pause = rand::rng().random_range(most / 2..=most);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    if !may_be_absent {
        tracing::error!(attempt, "cannot settle, the ledger will presume the bound");
    }
    false
}

fn message(settlement: Settlement) -> SettleRequest {
    let Settlement { attempt, outcome, tokens, billed_units, charges } = settlement;
    let total: Share = charges.iter().map(|(_, share, _)| *share).sum();
    let charges = charges.into_iter().map(|(asker, share, inputs)| Charge {
        request_id: asker.ctx.request_id.as_str().to_owned(),
        agent_id: asker.agent.as_str().to_owned(),
        key_id: asker.ctx.principal.key.as_str().to_owned(),
        tokens: share.tokens.0,
        amount_nano_usd: share.cost.0,
        inputs: u32::try_from(inputs).unwrap_or(u32::MAX),
    });
    SettleRequest {
        attempt_id: attempt.text(),
        outcome: outcome.into(),
        amount_nano_usd: total.cost.0,
        tokens: tokens.0,
        charges: charges.collect(),
        billed_units,
    }
}
