//! A text on its way to a provider, and who waits for it.

use std::{sync::Arc, time::Instant};

use embermesh_errors::Error;
use embermesh_resilience::{Flight, Lead};
use embermesh_telemetry::Trace;
use embermesh_transport::CallContext;
use embermesh_types::{AgentId, NanoUsd, TokenCount};

use crate::{
    cache::{Cached, Key},
    provider_time::ProviderTime,
};

/// A request, as the texts see it that it is the first to ask for.
#[derive(Debug)]
pub(crate) struct Asker {
    pub ctx: CallContext,
    pub agent: AgentId,
    /// What the request is part of: calls to providers are made in tasks of their own.
    pub trace: Option<Trace>,
    pub at_providers: ProviderTime,
}

/// A vector that has come.
#[derive(Debug, Clone)]
pub(crate) struct Vector {
    pub cached: Cached,
    /// What it cost whoever asked first.
    pub cost: NanoUsd,
    /// When the provider was called, and when it had answered.
    pub called: (Instant, Instant),
}

/// What becomes of a text.
pub(crate) type Landed = Result<Vector, Arc<Error>>;

/// Somebody's wait for a text.
pub(crate) type Waiting = Flight<Landed>;

/// A text that goes to a provider.
#[derive(Debug)]
pub(crate) struct Text {
    pub text: Arc<str>,
    pub key: Key,
    /// No fewer than it can cost.
    pub bound: TokenCount,
    /// What it counts for in limits of tokens: counted where a provider has one and the tokenizer is known, else `bound`.
    pub tokens: TokenCount,
    pub asker: Arc<Asker>,
    /// Whether its vector may be kept.
    pub keep: bool,
    /// Version of the configuration when it was asked for.
    pub stamp: i64,
    pub lead: Lead<Key, Landed>,
}

impl Text {
    /// Ends the wait of everybody who waits for it.
    pub fn land(self, landed: Landed) {
        self.lead.land(landed);
    }

    /// When the request that asked first gives up.
    pub fn deadline(&self) -> Option<Instant> {
        self.asker.ctx.deadline
    }
}
