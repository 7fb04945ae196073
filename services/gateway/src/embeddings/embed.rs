//! The way of a call: parse, scrub, embed by route, keep by space, and back in the order of the request.

use std::{collections::HashMap, time::Instant};

use embermesh_errors::Error;
use embermesh_proto::v1;
use embermesh_telemetry::Span;
use embermesh_types::{SpaceId, WriteToken};
use futures::{StreamExt, stream};

use super::{
    Embeddings, Item, MAX_BATCH, Route, about,
    answer::{self, Refusal, Reply},
    caller::Caller,
    defect, entry,
    entry::Entry,
};
use crate::scrub::Tally;

/// Calls to other services that one batch may have open.
const MAX_OPEN_CALLS: usize = 16;

/// A text without personal data, waiting for its vector.
#[derive(Debug)]
pub(super) struct Scrubbed {
    pub entry: Entry,
    pub pii: v1::PiiReport,
}

/// A text with its vector.
#[derive(Debug)]
pub(super) struct Embedded {
    pub scrubbed: Scrubbed,
    pub model: String,
    /// The agent's own space, when a fallback model answered for it.
    pub instead_of: Option<SpaceId>,
    pub item: Item,
    pub millis: u64,
    pub kept: Option<Kept>,
}

/// The rows of a text.
#[derive(Debug)]
pub(super) struct Kept {
    /// One for each piece of a text in chunks, else one.
    pub embedding_ids: Vec<String>,
    /// They existed already.
    pub deduplicated: bool,
    /// Stands for them.
    pub token: WriteToken,
}

/// A text that was not served.
#[derive(Debug)]
pub(super) struct Refused {
    pub error: Error,
    /// What was paid for nevertheless.
    pub embedded: Option<Box<Embedded>>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, embedded: None }
    }
}

pub(super) type Outcome = Result<Embedded, Refused>;

/// What is under way, with its place in the request.
pub(super) type Placed<T> = Vec<(usize, T)>;

impl Embeddings {
    /// Embeds one text; its failure is the call's.
    pub(super) async fn embed_one(
        &self,
        caller: &Caller,
        request: v1::EmbedRequest,
    ) -> Result<v1::EmbedResponse, Error> {
        let mut entry = Entry::parse(request, caller, &self.0.limits)?;
        if let Some(key) = &caller.idempotency_key
            && entry.request_id.get_or_insert_with(|| key.clone()) != key
        {
            let message = "request_id and the Idempotency-Key header differ, send one of them";
            return Err(Error::invalid("request_id", message));
        }
        let key = entry.request_id.clone();
        let span = Span::new("scrub");
        let scrubbed = self.scrub(caller, entry)?;
        drop(span);
        match key {
            None => self.answer_one(caller, scrubbed).await.map_err(|refusal| refusal.error),
            Some(key) => self.embed_under_key(caller, &key, scrubbed).await,
        }
    }

    /// Answers one text.
    pub(super) async fn answer_one(&self, caller: &Caller, scrubbed: Scrubbed) -> Reply {
        match self.answer_each(caller, vec![(0, scrubbed)]).await.pop() {
            Some((_, reply)) => reply,
            None => Err(defect("one text gave no result").into()),
        }
    }

    /// Embeds many; each succeeds or fails alone, unless there are too many.
    pub(super) async fn embed_each(
        &self,
        caller: &Caller,
        requests: Vec<v1::EmbedRequest>,
    ) -> Result<v1::EmbedBatchResponse, Error> {
        let count = requests.len();
        if !(1..=MAX_BATCH).contains(&count) {
            let message = format!("a batch has 1 to {MAX_BATCH} entries, this one has {count}");
            return Err(Error::invalid("requests", message)
                .with_detail("count", count)
                .with_detail("max", MAX_BATCH));
        }
        entry::check_total(
            requests.iter().map(|request| request.text.len()).sum(),
            self.0.limits.max_total_bytes,
        )?;
        let parse = |request| {
            Entry::parse(request, caller, &self.0.limits).and_then(|entry| self.scrub(caller, entry))
        };
        let span = Span::new("scrub");
        let entries: Vec<Result<Scrubbed, Error>> = requests.into_iter().map(parse).collect();
        drop(span);
        let has_key = |scrubbed: &Scrubbed| scrubbed.entry.request_id.is_some();
        if caller.idempotency_key.is_some() || entries.iter().flatten().any(has_key) {
            return self.embed_under_keys(caller, entries).await;
        }
        let mut done: Placed<Reply> = Vec::with_capacity(count);
        let mut waiting: Placed<Scrubbed> = Vec::with_capacity(count);
        for (place, entry) in entries.into_iter().enumerate() {
            match entry {
                Ok(scrubbed) => waiting.push((place, scrubbed)),
                Err(error) => done.push((place, Err(error.into()))),
            }
        }
        done.extend(self.answer_each(caller, waiting).await);
        done.sort_unstable_by_key(|(place, _)| *place);
        Ok(answer::batch(done.into_iter().map(|(_, reply)| reply).collect(), caller))
    }

    /// Embeds and keeps texts; the replies are in no order.
    pub(super) async fn answer_each(&self, caller: &Caller, waiting: Placed<Scrubbed>) -> Placed<Reply> {
        let mut done: Placed<Outcome> = Vec::with_capacity(waiting.len());
        let embedded = self.embed_routes(caller, waiting, &mut done).await;
        let (to_keep, answered) =
            embedded.into_iter().partition(|(_, embedded)| embedded.scrubbed.entry.store);
        let answered: Placed<Embedded> = answered;
        done.extend(answered.into_iter().map(|(place, embedded)| (place, Ok(embedded))));
        done.extend(self.keep(caller, to_keep).await);
        let reply = |outcome: Outcome| match outcome {
            Ok(embedded) => Ok(embedded.into_response(caller)?),
            Err(Refused { error, embedded }) => {
                let paid = embedded.map(|embedded| embedded.into_response(caller)).transpose()?;
                Err(Refusal { error, paid: paid.map(Box::new) })
            }
        };
        done.into_iter().map(|(place, outcome)| (place, reply(outcome))).collect()
    }

    fn scrub(&self, caller: &Caller, mut entry: Entry) -> Result<Scrubbed, Error> {
        let scrubber = self.0.scrubber(caller.context.principal.tenant, Some(&entry.route.agent))?;
        let mut tally = Tally::default();
        if let std::borrow::Cow::Owned(clean) = scrubber.text("text", &entry.text, &mut tally)? {
            entry.text = clean;
        }
        entry.metadata = match entry.metadata.take() {
            // what is not kept is only echoed, and an echo should not differ from what would be kept
            Some(metadata) => Some(scrubber.metadata(metadata, &mut tally)?),
            None => None,
        };
        if let Some(context_id) = &entry.context_id {
            scrubber.name("context_id", context_id, &mut tally)?;
        }
        Ok(Scrubbed { entry, pii: scrubber.report(tally) })
    }

    /// One call to the router for each route, side by side.
    async fn embed_routes(
        &self,
        caller: &Caller,
        waiting: Placed<Scrubbed>,
        done: &mut Placed<Outcome>,
    ) -> Placed<Embedded> {
        let mut groups: Vec<(Route, Placed<Scrubbed>)> = Vec::new();
        let mut group_of: HashMap<Route, usize> = HashMap::new();
        for (place, scrubbed) in waiting {
            let route = &scrubbed.entry.route;
            let group = match group_of.get(route) {
                Some(group) => *group,
                None => {
                    groups.push((route.clone(), Vec::new()));
                    group_of.insert(route.clone(), groups.len() - 1);
                    groups.len() - 1
                }
            };
            groups[group].1.push((place, scrubbed));
        }
        let calls = groups.into_iter().map(|(by, group)| async move {
            let started = Instant::now();
            let texts = group.iter().map(|(_, scrubbed)| scrubbed.entry.text.clone()).collect();
            let routed = self.0.route(&caller.context, &by, texts).await;
            (group, routed, u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
        });
        let routed: Vec<_> = stream::iter(calls).buffer_unordered(MAX_OPEN_CALLS).collect().await;
        let mut embedded = Vec::new();
        for (group, routed, millis) in routed {
            match routed {
                Err(error) => {
                    done.extend(group.into_iter().map(|(place, _)| (place, Err(error.clone().into()))))
                }
                Ok(routed) => {
                    for ((place, scrubbed), item) in group.into_iter().zip(routed.items) {
                        match item {
                            Err(error) => done.push((place, Err(about(error, "text").into()))),
                            Ok(item) => {
                                let (model, instead_of) = (routed.model.clone(), routed.instead_of.clone());
                                let one = Embedded { scrubbed, model, instead_of, item, millis, kept: None };
                                embedded.push((place, one));
                            }
                        }
                    }
                }
            }
        }
        embedded.sort_unstable_by_key(|(place, _)| *place);
        embedded
    }
}
