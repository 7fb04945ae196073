//! The router's side of the ledger: money is set aside before bytes leave, and every attempt gets its end.

use std::time::{Duration, Instant};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{
    AttemptOutcome, Charge, Hit, ReserveRequest, SettleRequest, ledger_client::LedgerClient,
};
use embermesh_transport::{CallContext, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::{AttemptId, NanoUsd, TokenCount};
use rand::RngExt;
use tokio::time::timeout;

use crate::hits::Hits;

/// Tries to settle; after them the ledger's own sweep books the attempt at its bound.
const SETTLE_TRIES: u32 = 8;
/// After so many rounds a reservation that is not there was never made.
const ABSENT_ROUNDS: u32 = 2;
/// How long one try may take.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer waits for its settlement.
const KEEP_CALLER: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(crate) struct Books {
    ledger: LedgerClient<Transport>,
    hits: Hits,
    tasks: Tasks,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// Answered and billed.
    Settled { tokens: TokenCount, amount: NanoUsd, inputs: u32 },
    /// Provably not billed.
    Voided,
    /// Nobody knows: charged at the bound.
    Presumed { tokens: TokenCount, amount: NanoUsd, inputs: u32 },
}

impl Books {
    pub fn new(ledger: Transport, tasks: Tasks) -> Self {
        let ledger = LedgerClient::new(ledger)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { hits: Hits::start(ledger.clone(), &tasks), ledger, tasks }
    }

    /// Sets money aside, or says why not.
    pub async fn reserve(&self, ctx: &CallContext, request: ReserveRequest) -> Result<(), Error> {
        let reply = self.ledger.clone().reserve(ctx.request(request)).await;
        reply.map(drop).map_err(Error::from)
    }

    /// Ends an attempt. Goes on trying while the ledger is away, but keeps its caller for a moment only: the money is set aside,
    /// and the answer is there.
    pub async fn settle(&self, ctx: &CallContext, attempt: AttemptId, agent_id: &str, end: End) {
        let message = settlement(ctx, attempt, agent_id, end);
        let settling = settle(self.ledger.clone(), ctx.clone(), message, false);
        let _ended = timeout(KEEP_CALLER, self.tasks.spawn("settle", settling)).await;
    }

    /// Gives back what a reservation without an answer may have set aside. Nobody waits for it.
    pub fn void_if_reserved(&self, ctx: &CallContext, attempt: AttemptId, agent_id: &str) {
        let message = settlement(ctx, attempt, agent_id, End::Voided);
        self.tasks.spawn("void", settle(self.ledger.clone(), ctx.clone(), message, true));
    }

    /// Books cache hits, later and without making anybody wait.
    pub fn record_hit(&self, ctx: &CallContext, hit: Hit) {
        self.hits.record(ctx, hit);
    }
}

/// `may_be_absent`: the reservation may still be on its way to the ledger, or was never made.
async fn settle(
    ledger: LedgerClient<Transport>,
    mut ctx: CallContext,
    message: SettleRequest,
    may_be_absent: bool,
) {
    let attempt = message.attempt_id.clone();
    for round in 0..SETTLE_TRIES {
        ctx.deadline = Some(Instant::now() + SETTLE_TIMEOUT);
        let Err(status) = ledger.clone().settle(ctx.request(message.clone())).await else { return };
        let error = Error::from(status);
        let absent = may_be_absent && error.code == Code::NotFound;
        if absent && round >= ABSENT_ROUNDS {
            return;
        }
        if !absent && !error.code.is_retryable() {
            tracing::error!(attempt, code = error.code.as_str(), %error, "the ledger refuses a settlement");
            return;
        }
        let most = 100_u64 << round;
        let pause = rand::rng().random_range(most / 2..=most);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    if !may_be_absent {
        tracing::error!(attempt, "cannot settle, the ledger will presume the bound");
    }
}

fn settlement(ctx: &CallContext, attempt: AttemptId, agent_id: &str, end: End) -> SettleRequest {
    let (outcome, tokens, amount, inputs) = match end {
        End::Settled { tokens, amount, inputs } => (AttemptOutcome::Settled, tokens, amount, inputs),
        End::Voided => (AttemptOutcome::Voided, TokenCount(0), NanoUsd::ZERO, 0),
        End::Presumed { tokens, amount, inputs } => (AttemptOutcome::Presumed, tokens, amount, inputs),
    };
    let charge = Charge {
        request_id: ctx.request_id.to_string(),
        agent_id: agent_id.to_owned(),
        key_id: ctx.principal.key.to_string(),
        tokens: tokens.0,
        amount_nano_usd: amount.0,
        inputs,
    };
    SettleRequest {
        attempt_id: attempt.to_string(),
        outcome: outcome.into(),
        amount_nano_usd: amount.0,
        tokens: tokens.0,
        charges: if inputs == 0 { Vec::new() } else { vec![charge] },
    }
}
