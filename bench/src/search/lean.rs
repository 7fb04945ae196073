//! A client that costs little: what a bench takes of the cores is taken from what it measures, and `pgbench` takes little too. Requests
//! are encoded before the time begins, and of the answers only the last is decoded.

use bytes::{Buf as _, BufMut as _, Bytes};
use embermesh_proto::internal::v1::{StoreSearchReply, StoreSearchRequest};
use embermesh_transport::{CallContext, MAX_MESSAGE_BYTES, Transport};
use http::uri::PathAndQuery;
use prost::Message as _;
use tonic::{
    Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::SearchError;

/// Where searches go.
const SEARCH: PathAndQuery = PathAndQuery::from_static("/embermesh.internal.v1.Store/Search");

/// A client of the store.
#[derive(Debug)]
pub struct Lean {
    client: Grpc<Transport>,
    context: CallContext,
}

impl Lean {
    /// A client whose calls are made in this context.
    #[must_use]
    pub fn new(transport: Transport, context: CallContext) -> Self {
        let client = Grpc::new(transport)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, context }
    }

    /// The answer to an encoded search, encoded.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn search(&mut self, request: Bytes) -> Result<Bytes, SearchError> {
        self.client.ready().await?;
        Ok(self.client.unary(self.context.request(request), SEARCH, Encoded).await?.into_inner())
    }
}

/// What [`Lean::search`] is given.
#[must_use]
pub fn encode(request: &StoreSearchRequest) -> Bytes {
    request.encode_to_vec().into()
}

/// What [`Lean::search`] gave.
///
/// # Errors
/// When it is no answer.
pub fn decode(reply: Bytes) -> Result<StoreSearchReply, SearchError> {
    Ok(StoreSearchReply::decode(reply)?)
}

/// Messages that are encoded already, and stay so.
#[derive(Debug, Clone, Copy, Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
