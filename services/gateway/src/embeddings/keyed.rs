//! Texts under idempotency keys: one, or a batch under its own key and those of its entries.

use std::collections::HashMap;

use embermesh_errors::Error;
use embermesh_proto::{
    internal::v1::{BeginReply, Claim, Finished, kept_answer::Kept},
    v1,
};
use embermesh_types::RequestId;

use super::{
    Embeddings,
    answer::{self, Refusal, Reply},
    answers::{End, Found, claim, embedding_ids, encode, found, other_body},
    caller::Caller,
    defect,
    embed::{Placed, Scrubbed},
    idempotency::{of_batch, of_entry},
    kept_size::check_kept,
};

/// What an error about the key of a batch names.
const HEADER: &str = "Idempotency-Key";
/// What one about the key of a text names.
const FIELD: &str = "request_id";

/// A batch, by what its entries' keys make of them.
#[derive(Debug, Default)]
struct Plan {
    /// Refused already.
    refused: Placed<Error>,
    /// Without a key.
    free: Placed<Scrubbed>,
    /// The first entry of each key, with its claim.
    keyed: Vec<(usize, Scrubbed, Claim)>,
    /// Entries that repeat an earlier one.
    again: Placed<usize>,
}

impl Plan {
    fn of(entries: Vec<Result<Scrubbed, Error>>, own: Option<&RequestId>) -> Self {
        let mut plan = Self::default();
        let mut firsts: HashMap<RequestId, (usize, [u8; 32])> = HashMap::new();
        for (place, entry) in entries.into_iter().enumerate() {
            let scrubbed = match entry {
                Ok(scrubbed) => scrubbed,
                Err(error) => {
                    plan.refused.push((place, error));
                    continue;
                }
            };
            let Some(key) = scrubbed.entry.request_id.clone() else {
                plan.free.push((place, scrubbed));
                continue;
            };
            let body_hash = of_entry(&scrubbed.entry);
            match firsts.get(&key) {
                _ if own == Some(&key) => {
                    let message =
                        "the Idempotency-Key header has the same key for the whole batch, choose another";
                    plan.refused.push((place, Error::invalid(FIELD, message)));
                }
                Some((first, hash)) if *hash == body_hash => plan.again.push((place, *first)),
                Some(_) => plan.refused.push((place, other_body(FIELD))),
                None => {
                    plan.keyed.push((place, scrubbed, claim(&key, body_hash)));
                    firsts.insert(key, (place, body_hash));
                }
            }
        }
        plan
    }
}

impl Embeddings {
    /// One text under a key.
    pub(super) async fn embed_under_key(
        &self,
        caller: &Caller,
        key: &RequestId,
        scrubbed: Scrubbed,
    ) -> Result<v1::EmbedResponse, Error> {
        check_kept(self.kept_bytes(&scrubbed))?;
        let param = if caller.idempotency_key.is_some() { HEADER } else { FIELD };
        let claim = claim(key, of_entry(&scrubbed.entry));
        let (this, of) = (self.clone(), caller.clone());
        let work = async move {
            match this.answer_one(&of, scrubbed).await {
                Ok(answer) => End::Keep(Kept::One(answer.into())),
                Err(refusal) => {
                    let paid = refusal.paid.as_ref().is_some_and(|answer| answer.cost_nano_usd > 0);
                    End::failed(&refusal.error, paid)
                }
            }
        };
        match self.0.once(&caller.context, param, claim, work).await? {
            Kept::One(answer) => Ok(*answer),
            _ => Err(defect("the answer that was kept is of another call")),
        }
    }

    /// A batch of which some key is known.
    pub(super) async fn embed_under_keys(
        &self,
        caller: &Caller,
        entries: Vec<Result<Scrubbed, Error>>,
    ) -> Result<v1::EmbedBatchResponse, Error> {
        let call = caller.idempotency_key.as_ref().map(|key| claim(key, of_batch(&entries)));
        let sizes = entries.iter().flatten().map(|scrubbed| {
            // what has both is kept twice
            let times = usize::from(call.is_some()) + usize::from(scrubbed.entry.request_id.is_some());
            self.kept_bytes(scrubbed).saturating_mul(times)
        });
        check_kept(sizes.fold(0, usize::saturating_add))?;
        let plan = Plan::of(entries, caller.idempotency_key.as_ref());
        if call.is_none() && plan.keyed.is_empty() {
            // every key was refused
            let replies = self.answer_plan(caller, plan, None).await?.0;
            return Ok(answer::batch(replies, caller));
        }
        let (this, caller) = (self.clone(), caller.clone());
        self.0.to_the_end(async move { this.embed_claimed(&caller, call, plan).await }).await
    }

    async fn embed_claimed(
        &self,
        caller: &Caller,
        call: Option<Claim>,
        plan: Plan,
    ) -> Result<v1::EmbedBatchResponse, Error> {
        let key = call.as_ref().map(|call| call.key.clone());
        let claims = plan.keyed.iter().map(|(_, _, claim)| claim.clone()).collect();
        let (held, mut reply) = self.0.begin(&caller.context, call, claims).await?;
        if let Some(standing) = reply.call.take() {
            match found(standing, HEADER)? {
                Found::Taken => {}
                Found::Refused(error) => return Err(error),
                Found::Answered(kept) => return batch_of(kept),
            }
        }
        let (replies, mut finished) = self.answer_plan(caller, plan, Some(reply)).await?;
        let answer = answer::batch(replies, caller);
        // what gave nothing and cost nothing may be tried again under its key
        let is_worth_keeping = answer.failed < answer.count || answer.total_cost_nano_usd > 0;
        let kept = Kept::Batch(answer);
        if let Some(key) = key {
            finished.push(if is_worth_keeping { kept_under(key, &kept) } else { given_back(key) });
        }
        if !finished.is_empty() {
            held.finish(finished).await?;
        }
        batch_of(kept)
    }

    /// Embeds what no key has answered; the replies are in order. Also what becomes of the entries' keys.
    async fn answer_plan(
        &self,
        caller: &Caller,
        plan: Plan,
        begun: Option<BeginReply>,
    ) -> Result<(Vec<Reply>, Vec<Finished>), Error> {
        let Plan { refused, free: mut waiting, keyed, again } = plan;
        let standings = begun.map(|reply| reply.parts).unwrap_or_default();
        if standings.len() != keyed.len() {
            return Err(defect("the store does not say how each key stands"));
        }
        let mut done: HashMap<usize, Reply> = HashMap::new();
        done.extend(refused.into_iter().map(|(place, error)| (place, Err(error.into()))));
        let mut taken: Vec<(usize, String)> = Vec::new();
        for ((place, scrubbed, claim), standing) in keyed.into_iter().zip(standings) {
            let reply: Reply = match found(standing, FIELD).unwrap_or_else(Found::Refused) {
                Found::Taken => {
                    waiting.push((place, scrubbed));
                    taken.push((place, claim.key));
                    continue;
                }
                Found::Answered(Kept::One(answer)) => Ok(*answer),
                Found::Answered(Kept::Failure(failure)) => Err(Error::from(failure).into()),
                Found::Answered(_) => Err(defect("the answer that was kept is of another call").into()),
                Found::Refused(error) => Err(error.into()),
            };
            done.insert(place, reply);
        }
        waiting.sort_unstable_by_key(|(place, _)| *place);
        done.extend(self.answer_each(caller, waiting).await);
        let finished = taken.into_iter().map(|(place, key)| finished(key, done.get(&place))).collect();
        for (place, first) in again {
            let reply = done.get(&first).cloned();
            done.insert(place, reply.unwrap_or_else(|| Err(defect("one text gave no result").into())));
        }
        let mut replies: Vec<_> = done.into_iter().collect();
        replies.sort_unstable_by_key(|(place, _)| *place);
        Ok((replies.into_iter().map(|(_, reply)| reply).collect(), finished))
    }

    fn kept_bytes(&self, scrubbed: &Scrubbed) -> usize {
        let entry = &scrubbed.entry;
        let metadata = entry.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len());
        self.0.kept_bytes(&entry.route, entry.return_vector, metadata)
    }
}

/// What an entry's key stands for from now on.
fn finished(key: String, reply: Option<&Reply>) -> Finished {
    let end = match reply {
        Some(Ok(answer)) => End::Keep(Kept::One(answer.clone().into())),
        Some(Err(Refusal { error, paid })) => {
            End::failed(error, paid.as_ref().is_some_and(|answer| answer.cost_nano_usd > 0))
        }
        None => return given_back(key),
    };
    match end {
        End::Keep(kept) => kept_under(key, &kept),
        End::Free(_) => given_back(key),
    }
}

fn kept_under(key: String, kept: &Kept) -> Finished {
    Finished { key, answer: encode(kept), embedding_ids: embedding_ids(kept) }
}

fn given_back(key: String) -> Finished {
    Finished { key, ..Finished::default() }
}

fn batch_of(kept: Kept) -> Result<v1::EmbedBatchResponse, Error> {
    match kept {
        Kept::Batch(answer) => Ok(answer),
        _ => Err(defect("the answer that was kept is of another call")),
    }
}
