//! Where access tokens come from: a service account's key file, or the metadata server of the machine.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use embermesh_config::{Provider as Entry, Secret};
use http::{HeaderValue, Request, Uri};
use http_body_util::Full;
use serde::Deserialize;

use super::{Grant, key_file::KeyFile};
use crate::{
    BadEntry, Failure, ProviderError, Surroundings,
    connect::options,
    http::{Answer, HttpClient, by_status},
};

const METADATA_URL: &str = "http://metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
/// For calls that wait for the token their own timeout counts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where tokens come from.
pub(crate) enum Source {
    /// Read anew for each token, so that a key that was rotated in place is found.
    KeyFile(PathBuf),
    /// The text of such a file.
    Key(Secret),
    /// Gives the token of the service account that the machine runs as.
    Metadata(Uri),
}

#[derive(Deserialize)]
struct Body {
    access_token: Secret,
    expires_in: u64,
}

impl Source {
    /// The entry's key file, else the machine's, else the metadata server.
    pub fn of(entry: &Entry, surroundings: &Surroundings) -> Result<Self, BadEntry> {
        if let Some(key) = &entry.service_account_key {
            if entry.credentials_file.is_some() || entry.metadata_url.is_some() {
                let option = "credentials_file or metadata_url beside service_account_key";
                return Err(BadEntry::Useless { kind: "vertex", option });
            }
            let unusable = |bad| BadEntry::Machine(format!("cannot use service_account_key: {bad}"));
            return KeyFile::parse(key.reveal().as_bytes()).map_err(unusable).map(|_| Self::Key(key.clone()));
        }
        let machines = surroundings.google_credentials.as_ref().filter(|_| entry.metadata_url.is_none());
        if let Some(path) = entry.credentials_file.as_ref().or(machines) {
            let checked = std::fs::read(path)
                .map_err(|error| error.to_string())
                .and_then(|text| KeyFile::parse(&text).map_err(|bad| bad.to_string()));
            return match checked {
                Ok(_) => Ok(Self::KeyFile(path.clone())),
                Err(why) => {
                    Err(BadEntry::Machine(format!("cannot use the key file {}: {why}", path.display())))
                }
            };
        }
        let url = entry.metadata_url.as_deref().unwrap_or(METADATA_URL);
        Ok(Self::Metadata(options::url("metadata_url", url, METADATA_PATH)?))
    }

    /// A new token.
    pub(super) async fn ask(&self, client: &HttpClient, now: SystemTime) -> Result<Grant, ProviderError> {
        let request = match self {
            Self::KeyFile(path) => {
                let unusable = |why: &dyn fmt::Display| {
                    let what = format!("cannot use the key file {}: {why}", path.display());
                    ProviderError::new(Failure::Local, what)
                };
                let text = tokio::fs::read(path).await.map_err(|error| unusable(&error))?;
                KeyFile::parse(&text).and_then(|key| key.request(now)).map_err(|bad| unusable(&bad))?
            }
            Self::Key(key) => KeyFile::parse(key.reveal().as_bytes())
                .and_then(|key| key.request(now))
                .map_err(|bad| ProviderError::new(Failure::Local, format!("cannot use {self}: {bad}")))?,
            Self::Metadata(url) => Request::get(url.clone())
                .header("metadata-flavor", "Google")
                .body(Full::default())
                .map_err(|error| ProviderError::new(Failure::Local, error.to_string()))?,
        };
        let answer =
            client.send(request, TIMEOUT, by_status).await.map_err(|error| self.explain(error.failure))?;
        if let Self::Metadata(_) = self
            && answer.headers.get("metadata-flavor") != Some(&HeaderValue::from_static("Google"))
        {
            // a captive portal or a stray proxy answers anything under that name
            return Err(self.no_token("what answers there is no metadata server"));
        }
        self.read(&answer)
    }

    fn read(&self, answer: &Answer) -> Result<Grant, ProviderError> {
        match serde_json::from_slice::<Body>(&answer.body) {
            Ok(Body { access_token, expires_in }) if expires_in > 0 => {
                Ok(Grant { access_token, expires_in: Duration::from_secs(expires_in) })
            }
            _ => Err(self.no_token("its answer holds no access token")),
        }
    }

    /// A refused key is the credential's fault; everything else leaves us without one, and nobody has refused anything.
    fn explain(&self, failure: Failure) -> ProviderError {
        match (self, failure) {
            (Self::KeyFile(path), Failure::Refused | Failure::Unauthorized | Failure::NotHere) => {
                ProviderError::new(
                    Failure::Unauthorized,
                    format!(
                        "the service account's key in {} is refused: check that it is not deleted or disabled and that this \
                         machine's clock is right",
                        path.display()
                    ),
                )
            }
            (Self::Key(_), Failure::Refused | Failure::Unauthorized | Failure::NotHere) => ProviderError::new(
                Failure::Unauthorized,
                "service_account_key is refused: check that it is not deleted or disabled and that this machine's clock is right",
            ),
            (Self::Metadata(_), Failure::NotHere) => self.no_token(
                "no service account is attached to this machine: attach one or set credentials_file",
            ),
            (Self::Metadata(_), Failure::Unreachable | Failure::TimedOut) => self.no_token(
                "it is not there: outside Google Cloud set credentials_file or GOOGLE_APPLICATION_CREDENTIALS",
            ),
            (_, failure) => self.no_token(failure.as_str()),
        }
    }

    fn no_token(&self, why: &str) -> ProviderError {
        ProviderError::new(Failure::Local, format!("no access token from {self}: {why}"))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => write!(f, "the service account in {}", path.display()),
            Self::Key(_) => f.write_str("service_account_key"),
            Self::Metadata(url) => {
                write!(f, "the metadata server at {}", url.authority().map_or("", |a| a.as_str()))
            }
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
