//! The way of a call: parse, scrub, look up repeats, embed by route, keep by space, and back in the order of the request.

use std::{collections::HashMap, time::Instant};

use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{FindRequestRequest, StoreGetRequest, StoreRow},
    v1,
};
use embermesh_types::{NanoUsd, RequestId};
use futures::{StreamExt, stream};

use super::{
    Embeddings, Item, MAX_BATCH, Route, about, caller::Caller, defect, entry, entry::Entry, fields,
    idempotency::fingerprint,
};
use crate::scrub::Tally;

/// Calls to other services that one batch may have open.
const MAX_OPEN_CALLS: usize = 16;

/// A text without personal data, waiting for its vector.
#[derive(Debug)]
pub(super) struct Scrubbed {
    pub entry: Entry,
    pub pii: v1::PiiReport,
    /// Of the entry, when it has an idempotency key.
    pub fingerprint: Option<[u8; 32]>,
}

/// A text with its vector.
#[derive(Debug)]
pub(super) struct Embedded {
    pub scrubbed: Scrubbed,
    pub model: String,
    pub item: Item,
    pub millis: u64,
    pub kept: Option<Kept>,
}

/// The row of a text.
#[derive(Debug)]
pub(super) struct Kept {
    pub embedding_id: String,
    /// The row existed already.
    pub deduplicated: bool,
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
    ) -> Result<Embedded, Error> {
        let mut entry = Entry::parse(request, caller, &self.0.limits)?;
        if let Some(key) = &caller.idempotency_key
            && entry.request_id.get_or_insert_with(|| key.clone()) != key
        {
            let message = "request_id and the Idempotency-Key header differ, send one of them";
            return Err(Error::invalid("request_id", message));
        }
        match self.run(caller, vec![Ok(entry)]).await.pop() {
            Some(outcome) => outcome.map_err(|refused| refused.error),
            None => Err(defect("one text gave no result")),
        }
    }

    /// Embeds many; each succeeds or fails alone, unless there are too many.
    pub(super) async fn embed_each(
        &self,
        caller: &Caller,
        requests: Vec<v1::EmbedRequest>,
    ) -> Result<Vec<Outcome>, Error> {
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
        let mut entries = Vec::with_capacity(count);
        for (place, request) in requests.into_iter().enumerate() {
            let of_header = caller.idempotency_key.as_ref().map(|key| of_entry(key, place)).transpose()?;
            entries.push(Entry::parse(request, caller, &self.0.limits).map(|mut entry| {
                entry.request_id = entry.request_id.or(of_header);
                entry
            }));
        }
        Ok(self.run(caller, entries).await)
    }

    async fn run(&self, caller: &Caller, entries: Vec<Result<Entry, Error>>) -> Vec<Outcome> {
        let mut done: Placed<Outcome> = Vec::with_capacity(entries.len());
        let mut waiting: Placed<Scrubbed> = Vec::with_capacity(entries.len());
        for (place, entry) in entries.into_iter().enumerate() {
            match entry.and_then(|entry| self.scrub(caller, entry)) {
                Ok(scrubbed) => waiting.push((place, scrubbed)),
                Err(error) => done.push((place, Err(error.into()))),
            }
        }
        let waiting = self.answer_repeats(caller, waiting, &mut done).await;
        let embedded = self.embed_routes(caller, waiting, &mut done).await;
        let (to_keep, answered) =
            embedded.into_iter().partition(|(_, embedded)| embedded.scrubbed.entry.store);
        let answered: Placed<Embedded> = answered;
        done.extend(answered.into_iter().map(|(place, embedded)| (place, Ok(embedded))));
        done.extend(self.keep(caller, to_keep).await);
        done.sort_unstable_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, outcome)| outcome).collect()
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
        let fingerprint = entry.request_id.is_some().then(|| fingerprint(&entry));
        Ok(Scrubbed { entry, pii: scrubber.report(tally), fingerprint })
    }

    /// Answers what an earlier call with the same key has made already, and hands back the rest.
    async fn answer_repeats(
        &self,
        caller: &Caller,
        waiting: Placed<Scrubbed>,
        done: &mut Placed<Outcome>,
    ) -> Placed<Scrubbed> {
        let (keyed, mut rest): (Placed<Scrubbed>, Placed<Scrubbed>) = waiting
            .into_iter()
            .partition(|(_, scrubbed)| scrubbed.entry.store && scrubbed.fingerprint.is_some());
        if keyed.is_empty() {
            return rest;
        }
        let lookups = keyed.into_iter().map(|(place, scrubbed)| async move {
            let found = self.earlier_row(caller, &scrubbed).await;
            (place, scrubbed, found)
        });
        let found: Vec<_> = stream::iter(lookups).buffered(MAX_OPEN_CALLS).collect().await;
        for (place, scrubbed, earlier) in found {
            match earlier {
                Ok(None) => rest.push((place, scrubbed)),
                Ok(Some(row)) => done.push((place, repeated(scrubbed, row).map_err(Refused::from))),
                Err(error) => done.push((place, Err(error.into()))),
            }
        }
        rest.sort_unstable_by_key(|(place, _)| *place);
        rest
    }

    async fn earlier_row(&self, caller: &Caller, scrubbed: &Scrubbed) -> Result<Option<StoreRow>, Error> {
        let (Some(key), Some(fingerprint)) = (&scrubbed.entry.request_id, &scrubbed.fingerprint) else {
            return Ok(None);
        };
        let request = FindRequestRequest { request_id: key.as_str().to_owned() };
        let found = self.0.store().find_request(caller.context.request(request)).await?.into_inner();
        if found.request_hash.is_empty() {
            return Ok(None);
        }
        if found.request_hash != fingerprint[..] {
            return Err(conflict());
        }
        // a row that was deleted since is made anew
        let Some(row) = found.row else { return Ok(None) };
        if !scrubbed.entry.return_vector || !row.vector.is_empty() {
            return Ok(Some(row));
        }
        let request = StoreGetRequest { embedding_id: row.embedding_id, return_vector: true };
        Ok(Some(self.0.store().get(caller.context.request(request)).await?.into_inner()))
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
                                let model = routed.model.clone();
                                embedded
                                    .push((place, Embedded { scrubbed, model, item, millis, kept: None }));
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

/// The idempotency key of one entry, from that of its batch.
fn of_entry(key: &RequestId, place: usize) -> Result<RequestId, Error> {
    let id = format!("{}#{place}", key.as_str()).parse();
    id.map_err(|_| Error::invalid("Idempotency-Key", "the key of a batch has at most 250 characters"))
}

/// The same key with another body.
pub(super) fn conflict() -> Error {
    Error::new(Code::Conflict, "this request_id was used with another body, choose a new one")
        .with_param("request_id")
}

/// The answer of an earlier call, from its row.
fn repeated(scrubbed: Scrubbed, row: StoreRow) -> Result<Embedded, Error> {
    let space = fields::space(&row.space_id).map_err(|_| defect("a stored row names no space"))?;
    let item = Item {
        vector: row.vector,
        space,
        provider: row.provider,
        tokens: row.tokens,
        cost: NanoUsd(row.cost_nano_usd),
        cached: true,
    };
    let kept = Some(Kept { embedding_id: row.embedding_id, deduplicated: true });
    Ok(Embedded { scrubbed, model: row.model, item, millis: 0, kept })
}
