//! Calls under an idempotency key: the key is taken before anything is done, and what is answered is kept under it for whoever asks
//! again. Two calls to the store; a request without a key never comes here.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use bytes::Bytes;
use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{
    BeginReply, BeginRequest, Claim, FinishRequest, Finished, KeptAnswer, KeyState, Standing,
    answers_client::AnswersClient, kept_answer::Kept,
};
use embermesh_transport::{CallContext, MAX_MESSAGE_BYTES, Transport};
use embermesh_types::RequestId;
use prost::Message;
use uuid::Uuid;

use super::{EmbeddingParts, defect};
use crate::api_calls;

/// How long a call without a deadline may hold its key.
const LONGEST: Duration = Duration::from_secs(60);
/// What the end of a call may take, beyond its deadline.
const GRACE: Duration = Duration::from_secs(5);
/// When it is worth asking again for what is under way; most calls take far less.
const POLL: Duration = Duration::from_secs(1);

/// What is done with the key of a call that has ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Repeats get this too.
    Keep(Kept),
    /// The call gets this, and a repeat begins anew.
    Free(Kept),
}

impl End {
    /// A failure. Nothing was done, or trying again may help, or what was paid is in the cache: so the key is free again, except where
    /// money was spent on what will fail every time.
    pub fn failed(error: &Error, paid: bool) -> Self {
        let may_pass = error.code.is_retryable()
            || matches!(error.code, Code::BudgetExceeded | Code::QuotaExceeded | Code::Cancelled);
        let failure = Kept::Failure(error.into());
        if paid && error.code.http().is_client_error() && !may_pass {
            Self::Keep(failure)
        } else {
            Self::Free(failure)
        }
    }
}

/// How a key stood when a call claimed it.
#[derive(Debug)]
pub(super) enum Found {
    Taken,
    Answered(Kept),
    /// In flight, or of another body.
    Refused(Error),
}

/// The keys that a call has taken.
#[derive(Debug)]
pub(super) struct Held {
    parts: EmbeddingParts,
    context: CallContext,
    holder: Bytes,
}

impl EmbeddingParts {
    fn answers(&self) -> AnswersClient<Transport> {
        AnswersClient::new(self.store.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Does `work` under a key that came as `param`, or answers what an earlier call under it has answered. A kept failure is an error
    /// again.
    pub async fn once(
        &self,
        context: &CallContext,
        param: &'static str,
        claim: Claim,
        work: impl Future<Output = End> + Send + 'static,
    ) -> Result<Kept, Error> {
        let (parts, context) = (self.clone(), context.clone());
        self.to_the_end(async move {
            let key = claim.key.clone();
            let (held, reply) = parts.begin(&context, Some(claim), Vec::new()).await?;
            let standing = reply.call.ok_or_else(|| defect("the store does not say how a key stands"))?;
            match found(standing, param)? {
                Found::Answered(kept) => Ok(kept),
                Found::Refused(error) => Err(error),
                Found::Taken => {
                    let (answer, kept) = match work.await {
                        End::Keep(kept) => (encode(&kept), kept),
                        End::Free(kept) => (Bytes::new(), kept),
                    };
                    let finished = Finished { key, answer, embedding_ids: embedding_ids(&kept) };
                    held.finish(vec![finished]).await?;
                    Ok(kept)
                }
            }
        })
        .await
        .and_then(|kept| match kept {
            Kept::Failure(failure) => Err(failure.into()),
            kept => Ok(kept),
        })
    }

    /// Claims the key of a call and those of its parts.
    pub(super) async fn begin(
        &self,
        context: &CallContext,
        call: Option<Claim>,
        parts: Vec<Claim>,
    ) -> Result<(Held, BeginReply), Error> {
        let holder = Bytes::copy_from_slice(Uuid::now_v7().as_bytes());
        let hold = context.time_left().unwrap_or(LONGEST) + 2 * GRACE;
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
        let request = BeginRequest { call, parts, holder: holder.clone(), hold_ms };
        let reply = self.answers().begin(context.request(request)).await.map_err(|status| {
            let error = Error::from(status);
            match error.code {
                Code::Unavailable => Error::unavailable(
                    "idempotency keys cannot be honoured now, try again or send the request without one",
                ),
                _ => error,
            }
        })?;
        Ok((Held { parts: self.clone(), context: context.clone(), holder }, reply.into_inner()))
    }

    /// Goes on when the client has gone away: it will ask again, and must find the answer that it has paid for.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.tasks.spawn("call under a key", api_calls::with_call_of(work)).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(Error::unavailable("the service is stopping, try again")),
            // the panic is in the log; the key is free when its time is up
            Err(_) => Err(Error::internal("the request met a defect, report its request id")),
        }
    }
}

impl Held {
    /// Keeps answers and gives keys back.
    ///
    /// # Errors
    /// When an answer cannot be kept: it must not be given out, because a repeat would get another one.
    pub async fn finish(&self, finished: Vec<Finished>) -> Result<(), Error> {
        let context = CallContext { deadline: Some(Instant::now() + GRACE), ..self.context.clone() };
        let request = FinishRequest { holder: self.holder.clone(), finished };
        let keeps = request.finished.iter().any(|finished| !finished.answer.is_empty());
        let mut answers = self.parts.answers();
        let mut reply = answers.finish(context.request(request.clone())).await;
        if reply.is_err() {
            reply = answers.finish(context.request(request)).await;
        }
        match reply {
            Ok(reply) if reply.get_ref().lost.is_empty() => Ok(()),
            Ok(_) => {
                tracing::warn!("a call took so long that its idempotency key was taken by another one");
                Err(in_flight())
            }
            // it is free when its time is up
            Err(error) if !keeps => {
                tracing::warn!(%error, "an idempotency key could not be given back");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "an answer that was paid for could not be kept under its key");
                let message = "the texts were embedded but the answer could not be kept under its idempotency key, try again: \
                     cached vectors cost nothing more";
                Err(Error::unavailable(message).with_detail("embedded", true))
            }
        }
    }
}

/// A key as it is claimed.
pub(crate) fn claim(key: &RequestId, body_hash: [u8; 32]) -> Claim {
    Claim { key: key.as_str().to_owned(), body_hash: Bytes::copy_from_slice(&body_hash) }
}

/// How a key stands that came as `param`.
pub(super) fn found(standing: Standing, param: &str) -> Result<Found, Error> {
    Ok(match standing.state() {
        KeyState::Taken => Found::Taken,
        KeyState::InFlight => Found::Refused(in_flight().with_param(param)),
        KeyState::OtherBody => Found::Refused(other_body(param)),
        KeyState::Answered => {
            let kept = KeptAnswer::decode(standing.answer).ok().and_then(|answer| answer.kept);
            Found::Answered(kept.ok_or_else(|| defect("an answer that was kept cannot be read"))?)
        }
        KeyState::Unspecified => return Err(defect("the store does not say how a key stands")),
    })
}

/// The bytes of an answer.
pub(super) fn encode(kept: &Kept) -> Bytes {
    // the message around it, without a copy of it
    let mut bytes = Vec::with_capacity(kept.encoded_len());
    kept.encode(&mut bytes);
    bytes.into()
}

/// The rows that an answer names.
pub(super) fn embedding_ids(kept: &Kept) -> Vec<String> {
    let chunks = |cut: &embermesh_proto::v1::TooLong| {
        cut.chunks.iter().filter_map(|chunk| chunk.embedding_id.clone()).collect::<Vec<_>>()
    };
    let of = |id: &Option<String>, cut: Option<&embermesh_proto::v1::TooLong>| {
        let mut ids: Vec<String> = cut.map(chunks).unwrap_or_default();
        ids.extend(id.clone().filter(|id| !ids.contains(id)));
        ids
    };
    match kept {
        Kept::One(answer) => of(&answer.embedding_id, answer.too_long.as_ref()),
        Kept::Batch(answer) => {
            answer.embeddings.iter().flat_map(|one| of(&one.embedding_id, one.too_long.as_ref())).collect()
        }
        Kept::Vectors(_) | Kept::Failure(_) => Vec::new(),
    }
}

/// The same key and body, not answered yet.
fn in_flight() -> Error {
    let message = "a request with this idempotency key is under way, ask again for its answer";
    Error::new(Code::Conflict, message).with_retry_after(POLL)
}

/// The same key with another body.
pub(super) fn other_body(param: &str) -> Error {
    Error::new(Code::Conflict, "this idempotency key was used with another body, choose a new one")
        .with_param(param)
}
