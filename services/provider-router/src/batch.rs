//! Texts that go to a provider together.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_providers::{BatchLimits, InputType};
use embermesh_types::{SpaceId, TenantId, TokenCount};

use crate::{
    domain::strategy::Strategy,
    text::{Asker, Text},
};

/// What an agent's configuration says about its calls; calls under other terms are not shared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub strategy: Strategy,
    /// Calls that may follow a failed one, whatever the deployment; absent: as many as the router makes at all.
    pub max_retries: Option<u32>,
    pub max_latency_p99: Option<Duration>,
    /// When a budget is spent, what costs less is better than nothing.
    pub cheaper: bool,
}

/// What the texts of a batch have in common.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub tenant: TenantId,
    pub model: Arc<CatalogModel>,
    pub space: SpaceId,
    pub input_type: InputType,
    pub terms: Terms,
}

impl Order {
    fn names(&self) -> (TenantId, &str, &SpaceId, InputType, &Terms) {
        (self.tenant, &self.model.id, &self.space, self.input_type, &self.terms)
    }
}

/// Orders are the same when their names are: of two versions of a catalog entry either will do for a call.
impl PartialEq for Order {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for Order {}

impl std::hash::Hash for Order {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.names().hash(state);
    }
}

/// Texts of one order that go to a provider together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub order: Arc<Order>,
    pub texts: Vec<Text>,
    /// Money is set aside by counted tokens: a budget did not hold the bound.
    pub exact: bool,
}

/// The texts of one request in a batch.
#[derive(Debug)]
pub(crate) struct Part {
    pub asker: Arc<Asker>,
    /// Positions in the batch.
    pub texts: Vec<usize>,
}

impl Batch {
    /// The batch by request, in the order of their first texts.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for (at, text) in self.texts.iter().enumerate() {
            // texts of a request lie together
            match parts.last_mut().filter(|part| Arc::ptr_eq(&part.asker, &text.asker)) {
                Some(part) => part.texts.push(at),
                None => parts.push(Part { asker: Arc::clone(&text.asker), texts: vec![at] }),
            }
        }
        parts
    }

    /// When the last of its requests gives up; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let mut latest = None;
        for text in self.texts.iter().filter(|text| text.lead.is_awaited()) {
            latest = Some(text.deadline()?).max(latest);
        }
        latest
    }

    /// Whether anybody still waits for any of it.
    pub fn is_awaited(&self) -> bool {
        self.texts.iter().any(|text| text.lead.is_awaited())
    }

    /// Its characters, for prices that count them.
    pub fn characters(&self) -> u64 {
        self.texts.iter().map(|text| text.text.chars().count() as u64).sum()
    }

    /// Fails all of it.
    pub fn fail(self, error: &Error) {
        let error = Arc::new(error.clone());
        self.texts.into_iter().for_each(|text| text.land(Err(Arc::clone(&error))));
    }

    /// Takes the texts at `positions`, which are in order, out into a batch of their own.
    pub fn split_off(&mut self, positions: &[usize]) -> Self {
        let (mut taken, mut rest) = (Vec::with_capacity(positions.len()), Vec::new());
        for (at, text) in std::mem::take(&mut self.texts).into_iter().enumerate() {
            if positions.binary_search(&at).is_ok() { taken.push(text) } else { rest.push(text) }
        }
        self.texts = rest;
        self.with(taken)
    }

    /// The same order with other texts.
    fn with(&self, texts: Vec<Text>) -> Self {
        Self { order: Arc::clone(&self.order), texts, exact: self.exact }
    }

    /// Cuts it into batches that each keep to `limits`.
    pub fn split(mut self, limits: BatchLimits) -> Vec<Self> {
        let texts = std::mem::take(&mut self.texts);
        let mut batches: Vec<Self> = Vec::new();
        let mut load = Load::default();
        for text in texts {
            if batches.is_empty() || !load.takes(&text, limits) {
                batches.push(self.with(Vec::new()));
                load = Load::default();
            }
            load.add(&text);
            if let Some(batch) = batches.last_mut() {
                batch.texts.push(text);
            }
        }
        batches
    }
}

/// What a batch carries so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    pub texts: u32,
    pub tokens: u64,
    pub bytes: u64,
}

impl Load {
    /// Whether `text` fits beside the rest; a first text always does, or it could never be sent.
    pub fn takes(&self, text: &Text, limits: BatchLimits) -> bool {
        self.texts == 0
            || (self.texts < limits.texts
                && self.tokens.saturating_add(text.tokens.0) <= limits.tokens
                && self.bytes.saturating_add(text.text.len() as u64) <= limits.bytes)
    }

    pub fn add(&mut self, text: &Text) {
        self.texts += 1;
        self.tokens = self.tokens.saturating_add(text.tokens.0);
        self.bytes = self.bytes.saturating_add(text.text.len() as u64);
    }
}

/// What both the catalog and the provider allow in one call.
pub(crate) fn limits(model: &CatalogModel, provider: BatchLimits) -> BatchLimits {
    let unless_zero = |limit: u32| if limit == 0 { u32::MAX } else { limit };
    BatchLimits {
        texts: provider.texts.min(unless_zero(model.max_batch)).max(1),
        tokens: match model.max_batch_tokens {
            0 => provider.tokens,
            most => provider.tokens.min(u64::from(most)),
        },
        bytes: provider.bytes,
    }
}

/// The tokens of some texts.
pub(crate) fn tokens(texts: &[Text]) -> TokenCount {
    texts.iter().map(|text| text.tokens).sum()
}
