//! AWS Bedrock: Amazon's and Cohere's embedding models by `InvokeModel`.
//!
//! Amazon's SDK signs and sends. Its retries and its identity cache are off, and of its timeouts only that of connecting is on, since
//! a call is repeated by the router alone and bounded as a whole. What stands in a body depends on the model: `format` tells which,
//! `titan` and `cohere` write and read it.

mod cohere;
mod credentials;
mod failure;
mod format;
mod guarded;
#[cfg(test)]
mod tests;
mod titan;
mod witness;

use std::{fmt, time::Duration};

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_bedrockruntime::{
    Client, Config,
    config::{IdentityCache, StalledStreamProtectionConfig, retry::ReconnectMode},
    primitives::Blob,
};
use embermesh_config::Provider as Entry;
use embermesh_egress::Rules;
use embermesh_types::{Clock, TokenCount};
use tokio::time::timeout;

use crate::{
    BadEntry, BatchLimits, CatalogModel, Failure, Provider, ProviderAnswer, ProviderCall, ProviderError,
    Usage,
};
use credentials::AwsCredentials;
use format::Format;
use witness::{Stage, Witness};

/// As with the other providers' connections.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bedrock in one region with one source of credentials.
pub(crate) struct Bedrock {
    client: Client,
    credentials: AwsCredentials,
    region: Region,
}

impl fmt::Debug for Bedrock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client: _, credentials, region } = self;
        f.debug_struct("Bedrock")
            .field("region", region)
            .field("credentials", credentials)
            .finish_non_exhaustive()
    }
}

impl Bedrock {
    /// With `guard`, connects only where the rules allow. Reads no file of the machine's AWS configuration and calls nobody: credentials are looked for when the first call needs them.
    pub fn new(entry: &Entry, clock: Clock, guard: Option<Rules>) -> Result<Self, BadEntry> {
        let region = entry.region.clone().filter(|region| !region.is_empty());
        let region = Region::new(region.ok_or(BadEntry::Missing("region"))?);
        if let Some(rules) = &guard {
            guarded::check(rules, entry)?;
        }
        let http = guard.map(guarded::client);
        let credentials = AwsCredentials::new(entry, region.clone(), clock, http.clone())?;
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.clone())
            .credentials_provider(credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled().with_reconnect_mode(ReconnectMode::ReuseAllConnections))
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(url) = credentials::url("base_url", entry.base_url.as_deref())? {
            config = config.endpoint_url(url);
        }
        if let Some(http) = http {
            config = config.http_client(http);
        }
        Ok(Self { client: Client::from_conf(config.build()), credentials, region })
    }

    /// Sends `body` to the model and answers with the answer's body.
    async fn invoke(
        &self,
        call: &ProviderCall,
        body: Vec<u8>,
        witness: Witness,
    ) -> Result<Vec<u8>, ProviderError> {
        let seen = witness.seen();
        let request = self
            .client
            .invoke_model()
            .model_id(&*call.name)
            .content_type("application/json")
            .accept("application/json")
            .body(Blob::new(body))
            .customize()
            .interceptor(witness);
        let outcome = timeout(call.timeout, Box::pin(request.send())).await;
        let seconds = call.timeout.as_secs_f32();
        Err(match (outcome, seen.stage()) {
            (Ok(Ok(output)), _) => return Ok(output.body.into_inner()),
            (Ok(Err(error)), Stage::Unsigned) => self.credentials.explain(&error),
            (Ok(Err(error)), Stage::Unconnected | Stage::Connected) => {
                let refusal = failure::of(&error);
                if refusal.failure == Failure::Unauthorized {
                    self.credentials.distrust();
                }
                refusal
            }
            (Err(_), Stage::Unsigned) => self.credentials.none_within(seconds),
            (Err(_), Stage::Unconnected) => {
                ProviderError::new(Failure::Unreachable, format!("no connection within {seconds} s"))
            }
            (Err(_), Stage::Connected) => {
                ProviderError::new(Failure::TimedOut, format!("no answer within {seconds} s"))
            }
        })
    }
}

#[async_trait]
impl Provider for Bedrock {
    fn limits(&self, model: &CatalogModel) -> BatchLimits {
        let name = model.provider_names.get("bedrock").map_or("", String::as_str);
        Format::of(name, &model.id).map_or(BatchLimits::texts(1), Format::limits)
    }

    async fn embed(&self, call: ProviderCall) -> Result<ProviderAnswer, ProviderError> {
        let Some(format) = Format::of(&call.name, &call.model.id) else {
            let message = format!("this version does not know what bedrock's model {} takes", call.name);
            return Err(ProviderError::new(Failure::NotHere, message));
        };
        let body = format.write(&call)?;
        let witness = Witness::new(call.attempt)?;
        let seen = witness.seen();
        let body = self.invoke(&call, body, witness).await?;
        let answer = format.read(body.into(), call.texts.len()).await?;
        // the header is what is billed; Titan says the same in its body
        let tokens = seen.tokens().or(answer.tokens);
        Ok(ProviderAnswer {
            vectors: answer.vectors,
            usage: Usage { tokens: tokens.map(TokenCount), characters: None },
        })
    }
}
