//! Where a deployment's AWS credentials come from: the entry's own keys, a profile, or the machine's chain; with or without a role
//! taken on by them.
//!
//! Temporary ones are renewed well before they expire, by one caller while the others go on with what there is; a renewal that
//! fails is no failure of a call as long as the old ones are good.

mod renewal;

use std::{error::Error, fmt, iter, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, profile::ProfileFileCredentialsProvider,
    provider_config::ProviderConfig, retry::RetryConfig, sts::AssumeRoleProvider, timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError, future::ProvideCredentials as Providing},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use embermesh_config::Provider as Entry;
use embermesh_types::Clock;

use crate::{BadEntry, Failure, ProviderError, connect::options};
use renewal::Renewal;

/// Of one request to where credentials come from.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A source of credentials. Cheap to clone; clones share what was fetched.
#[derive(Clone)]
pub(super) struct AwsCredentials(Arc<Inner>);

struct Inner {
    source: Source,
    renewal: Renewal,
}

/// What the entry says.
struct Source {
    region: Region,
    base: Base,
    role: Option<Role>,
    /// Absent: the SDK's own.
    http: Option<SharedHttpClient>,
}

enum Base {
    Keys(Credentials),
    Profile(String),
    Machine,
}

struct Role {
    arn: String,
    external_id: Option<String>,
    sts_url: Option<String>,
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Source { base, role, .. } = &self.0.source;
        write!(f, "{base}")?;
        role.as_ref().map_or(Ok(()), |role| write!(f, " as {}", role.arn))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys(_) => f.write_str("the entry's access_key_id"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::Machine => f.write_str("the machine's own credentials"),
        }
    }
}

impl AwsCredentials {
    /// Reads the entry; fetches nothing.
    pub fn new(
        entry: &Entry,
        region: Region,
        clock: Clock,
        http: Option<SharedHttpClient>,
    ) -> Result<Self, BadEntry> {
        let source = Source { region, base: base(entry)?, role: role(entry)?, http };
        Ok(Self(Arc::new(Inner { source, renewal: Renewal::new(clock) })))
    }

    async fn current(&self) -> provider::Result {
        let Inner { source, renewal } = &*self.0;
        match source {
            Source { base: Base::Keys(keys), role: None, .. } => Ok(keys.clone()),
            _ => renewal.current(|| source.fetch()).await,
        }
    }

    /// AWS does not take what was fetched: it is fetched anew for the next call.
    pub fn distrust(&self) {
        self.0.renewal.distrust();
    }

    /// Why a request was never sent, and what to do about it.
    pub fn explain(&self, error: &(dyn Error + 'static)) -> ProviderError {
        let mut causes = iter::successors(Some(error), |&error| error.source());
        tracing::debug!(credentials = ?self, cause = %Causes(error), "no call to bedrock could be made");
        if causes.any(|cause| cause.is::<CredentialsError>()) {
            ProviderError::new(Failure::Local, self.advice())
        } else {
            ProviderError::new(
                Failure::Local,
                "the call could not be signed or addressed: check region and base_url",
            )
        }
    }

    /// They did not come in time.
    pub fn none_within(&self, seconds: f32) -> ProviderError {
        ProviderError::new(Failure::Local, format!("{}; waited {seconds} s", self.advice()))
    }

    fn advice(&self) -> String {
        let Source { base, role, .. } = &self.0.source;
        match (role, base) {
            (Some(Role { arn, .. }), base) => format!(
                "cannot take on {arn} by {base}: check that the role trusts them, external_id, and that STS can be reached"
            ),
            (None, Base::Keys(_)) => "no AWS credentials: check access_key_id and secret_access_key".to_owned(),
            (None, Base::Profile(name)) => {
                format!("no AWS credentials from profile {name}: check the machine's AWS configuration files")
            }
            (None, Base::Machine) => {
                "no AWS credentials on this machine: set access_key_id and secret_access_key, or profile, or give the machine a role"
                    .to_owned()
            }
        }
    }
}

impl ProvideCredentials for AwsCredentials {
    fn provide_credentials<'a>(&'a self) -> Providing<'a>
    where
        Self: 'a,
    {
        Providing::new(self.current())
    }
}

impl Source {
    /// Reads the machine's AWS configuration each time, for it may have changed. The region is given, so that nobody is asked for it.
    async fn fetch(&self) -> provider::Result {
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(self.region.clone())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(TIMEOUT).build());
        if let Some(http) = &self.http {
            loader = loader.http_client(http.clone());
        }
        loader = match &self.base {
            Base::Keys(keys) => loader.credentials_provider(keys.clone()),
            // by itself, not as one of the chain's links, where the environment's keys would go before it
            Base::Profile(name) => {
                let config = ProviderConfig::without_region().with_region(Some(self.region.clone()));
                let profile = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(name);
                loader.profile_name(name).credentials_provider(profile.build())
            }
            Base::Machine => loader,
        };
        if let Some(url) = self.role.as_ref().and_then(|role| role.sts_url.as_deref()) {
            loader = loader.endpoint_url(url);
        }
        let config = loader.load().await;
        match &self.role {
            Some(role) => role.taken_on(&config).await.provide_credentials().await,
            None => match config.credentials_provider() {
                Some(source) => source.provide_credentials().await,
                None => Err(CredentialsError::not_loaded("no source of credentials")),
            },
        }
    }
}

impl Role {
    async fn taken_on(&self, config: &SdkConfig) -> AssumeRoleProvider {
        let mut role = AssumeRoleProvider::builder(&self.arn).configure(config).session_name("embermesh");
        if let Some(id) = &self.external_id {
            role = role.external_id(id);
        }
        role.build().await
    }
}

fn base(entry: &Entry) -> Result<Base, BadEntry> {
    let Entry { access_key_id, secret_access_key, session_token, profile, .. } = entry;
    match (access_key_id, secret_access_key, session_token, profile) {
        (Some(_), Some(_), _, Some(_)) => {
            Err(BadEntry::Useless { kind: "bedrock", option: "profile beside access_key_id" })
        }
        (Some(id), Some(secret), token, None) => {
            let token = token.as_ref().map(|token| token.reveal().to_owned());
            Ok(Base::Keys(Credentials::new(id, secret.reveal(), token, None, "configuration")))
        }
        (Some(_), None, _, _) => Err(BadEntry::Missing("secret_access_key")),
        (None, Some(_), _, _) | (None, None, Some(_), _) => Err(BadEntry::Missing("access_key_id")),
        (None, None, None, Some(profile)) => Ok(Base::Profile(profile.clone())),
        (None, None, None, None) => Ok(Base::Machine),
    }
}

fn role(entry: &Entry) -> Result<Option<Role>, BadEntry> {
    let sts_url = url("sts_url", entry.sts_url.as_deref())?;
    let Some(arn) = entry.assume_role_arn.clone() else {
        let needs_role = sts_url.is_some() || entry.external_id.is_some();
        return if needs_role { Err(BadEntry::Missing("assume_role_arn")) } else { Ok(None) };
    };
    Ok(Some(Role { arn, external_id: entry.external_id.clone(), sts_url }))
}

/// An option that is a URL when it is there.
pub(super) fn url(option: &'static str, value: Option<&str>) -> Result<Option<String>, BadEntry> {
    let url = value.map(|value| options::url(option, value, "")).transpose()?;
    Ok(url.map(|url| url.to_string().trim_end_matches('/').to_owned()))
}

/// An error's text and those of its causes. Not their Debug view, which may show an answer of STS with the keys in it.
struct Causes<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        iter::successors(self.0.source(), |&error| error.source())
            .try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests;
