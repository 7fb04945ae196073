//! What the SDK does not tell its caller: how far a call that failed had come, and what the answer's headers say.

use std::sync::{Arc, OnceLock};

use aws_sdk_bedrockruntime::config::{
    ConfigBag, Intercept, RuntimeComponents,
    interceptors::{
        BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextMut,
        BeforeTransmitInterceptorContextRef,
    },
};
use aws_sdk_bedrockruntime::error::BoxError;
use aws_smithy_runtime_api::client::{connection::CaptureSmithyConnection, interceptors::dyn_dispatch_hint};
use aws_smithy_types::body::SdkBody;
use embermesh_types::AttemptId;
use http::HeaderValue;
use http_body_util::Limited;

use crate::{Failure, ProviderError, json::ATTEMPT};

/// 96 vectors of 1,536 dimensions as JSON floats are 3 MB.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// What Bedrock bills.
const INPUT_TOKENS: &str = "x-amzn-bedrock-input-token-count";

/// Goes with one call.
#[derive(Debug)]
pub(super) struct Witness {
    attempt: HeaderValue,
    seen: Arc<Seen>,
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There were no credentials to sign it with.
    Unsigned,
    /// There was no connection to send it over.
    Unconnected,
    /// Bytes may have left.
    Connected,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// There once the request is signed and handed to the HTTP client; tells whether that has a connection for it.
    connection: OnceLock<CaptureSmithyConnection>,
    tokens: OnceLock<u64>,
}

impl Witness {
    pub fn new(attempt: AttemptId) -> Result<Self, ProviderError> {
        let attempt = HeaderValue::try_from(attempt.to_string()).map_err(|_| {
            ProviderError::new(Failure::Local, "the attempt has no name that a header can carry")
        })?;
        Ok(Self { attempt, seen: Arc::default() })
    }

    pub fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }
}

impl Seen {
    /// How far it came.
    pub fn stage(&self) -> Stage {
        match self.connection.get().map(CaptureSmithyConnection::get) {
            None => Stage::Unsigned,
            Some(None) => Stage::Unconnected,
            Some(Some(_)) => Stage::Connected,
        }
    }

    /// Billed tokens, as far as the answer's headers tell.
    pub fn tokens(&self) -> Option<u64> {
        self.tokens.get().copied()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().try_insert(ATTEMPT, self.attempt.clone())?;
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // put there by the SDK's own interceptor, which has run by now
        let connection = config.load::<CaptureSmithyConnection>().cloned().unwrap_or_default();
        let _ = self.seen.connection.set(connection);
        Ok(())
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response_mut();
        if let Some(tokens) = response.headers().get(INPUT_TOKENS).and_then(|value| value.trim().parse().ok())
        {
            let _ = self.seen.tokens.set(tokens);
        }
        let body = std::mem::replace(response.body_mut(), SdkBody::taken());
        *response.body_mut() = SdkBody::from_body_1_x(Limited::new(body, MAX_ANSWER_BYTES));
        Ok(())
    }
}
