//! `COPY` in and out, in pieces as they come.

use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};

use crate::{DbError, Transaction};

impl Transaction {
    /// Runs `COPY … TO STDOUT` and gives every piece to `take`.
    ///
    /// # Errors
    /// See [`DbError`]; what `take` fails with ends the transaction.
    pub async fn copy_out<E: From<DbError>>(
        &self,
        sql: &str,
        mut take: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let stream = self.tracked(async { self.client().copy_out(sql).await }).await?;
        let mut stream = pin!(stream);
        while let Some(piece) = self.tracked(async { stream.next().await.transpose() }).await? {
            take(piece)?;
        }
        Ok(())
    }

    /// Runs `COPY … FROM STDIN` on these pieces; returns the number of rows.
    ///
    /// # Errors
    /// See [`DbError`]; a failed piece is that of its source, and ends the transaction.
    pub async fn copy_in<E: From<DbError>>(
        &self,
        sql: &str,
        pieces: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<u64, E> {
        let sink = self.tracked(async { self.client().copy_in::<_, Bytes>(sql).await }).await?;
        let (mut sink, mut pieces) = (pin!(sink), pin!(pieces));
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            self.tracked(async { sink.feed(piece).await }).await?;
        }
        Ok(self.tracked(async { sink.finish().await }).await?)
    }
}
