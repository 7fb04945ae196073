//! Batches of rows one after another: each is answered once it is durable, and the next one is read meanwhile.
//!
//! A task of its own stores them, so that a caller who reads no answers holds none of the database's connections: the task waits until
//! there is room for the answer and reads no further, and HTTP/2's flow control stops the caller.

use std::pin::pin;

use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{PutReply, PutRequest};
use embermesh_telemetry::{Trace, within};
use futures::{
    StreamExt as _, future,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc::{self, Sender};
use tonic::{Status, Streaming};

use super::StoreService;
use crate::domain::row::MAX_BATCH_ROWS;

/// Answers that wait for their reader.
const UNREAD: usize = 1;

pub(super) type Replies = BoxStream<'static, Result<PutReply, Status>>;

impl StoreService {
    /// Stores the batches of a stream, in order.
    pub(super) fn keep_all(&self, principal: Principal, batches: Streaming<PutRequest>) -> Replies {
        let (replies, mut unread) = mpsc::channel(UNREAD);
        let service = self.clone();
        let work = async move {
            tokio::select! {
                () = service.follow(&principal, batches, &replies) => {}
                // the batch that was begun is committed whole or not at all
                () = replies.closed() => {}
            }
        };
        let task = self.tasks.spawn("put stream", within(Trace::current(), work));
        // a task that did not come to its end must not look as if it had
        let cut_off = stream::once(task).filter_map(|ended| {
            future::ready(match ended {
                Ok(Some(())) => None,
                Ok(None) => Some(Err(stopping().into())),
                Err(_) => {
                    let advice = "the stream met a defect, report the request id";
                    Some(Err(Error::internal(advice).into()))
                }
            })
        });
        stream::poll_fn(move |cx| unread.poll_recv(cx)).chain(cut_off).boxed()
    }

    async fn follow(
        &self,
        principal: &Principal,
        mut batches: Streaming<PutRequest>,
        replies: &Sender<Result<PutReply, Status>>,
    ) {
        let mut ahead = None;
        for number in 0_u64.. {
            let next = match ahead.take() {
                Some(next) => next,
                None => tokio::select! {
                    biased;
                    next = batches.next() => next,
                    () = self.tasks.stopping() => Some(Err(stopping().into())),
                },
            };
            let reply = match next {
                None => return,
                Some(Ok(_)) if self.tasks.is_stopping() => Err(stopping().into()),
                Some(Ok(batch)) => {
                    let mut kept = pin!(self.keep(principal, batch, MAX_BATCH_ROWS));
                    let kept = loop {
                        tokio::select! {
                            biased;
                            kept = &mut kept => break kept,
                            next = batches.next(), if ahead.is_none() => ahead = Some(next),
                        }
                    };
                    kept.map_err(|error| error.with_detail("batch", number).into())
                }
                Some(Err(status)) => Err(status),
            };
            let is_last = reply.is_err();
            if replies.send(reply).await.is_err() || is_last {
                return;
            }
        }
    }
}

fn stopping() -> Error {
    Error::unavailable("the vector store is stopping, put what was not acknowledged again")
}
