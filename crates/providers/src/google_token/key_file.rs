//! A service account's key file, and the signed assertion that is traded for an access token.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use embermesh_config::Secret;
use http::{Request, Uri, header};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The longest that Google takes.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Google refuses assertions from its future: this is how far ahead our clock may be.
const SKEW: Duration = Duration::from_secs(10);

/// What of the file is needed.
pub(super) struct KeyFile {
    client_email: String,
    key_id: Option<String>,
    key: EncodingKey,
    token_uri: Uri,
}

/// Why a file is of no use. Never quotes it.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadKeyFile {
    #[error("it is not the JSON key file of a service account (line {line} column {column})")]
    Form { line: usize, column: usize },
    #[error("it is of type '{0}', give the key file of a service account")]
    Type(String),
    #[error("its private_key is not an RSA key in PEM")]
    Key,
    #[error("its token_uri is not a URL")]
    TokenUri,
    #[error("its key cannot sign")]
    Sign,
}

#[derive(Deserialize)]
struct Type {
    r#type: String,
}

#[derive(Deserialize)]
struct Fields {
    client_email: String,
    private_key_id: Option<String>,
    private_key: Secret,
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'static str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

impl KeyFile {
    /// Reads a file's text.
    pub fn parse(text: &[u8]) -> Result<Self, BadKeyFile> {
        let form = |error: serde_json::Error| BadKeyFile::Form { line: error.line(), column: error.column() };
        let Type { r#type } = serde_json::from_slice(text).map_err(form)?;
        if r#type != "service_account" {
            return Err(BadKeyFile::Type(r#type));
        }
        let fields: Fields = serde_json::from_slice(text).map_err(form)?;
        let key = EncodingKey::from_rsa_pem(fields.private_key.reveal().as_bytes());
        let token_uri: Uri = fields.token_uri.parse().map_err(|_| BadKeyFile::TokenUri)?;
        if token_uri.authority().is_none() || !matches!(token_uri.scheme_str(), Some("http" | "https")) {
            return Err(BadKeyFile::TokenUri);
        }
        Ok(Self {
            client_email: fields.client_email,
            key_id: fields.private_key_id,
            key: key.map_err(|_| BadKeyFile::Key)?,
            token_uri,
        })
    }

    /// The question for a token (RFC 7523).
    pub fn request(&self, now: SystemTime) -> Result<Request<Full<Bytes>>, BadKeyFile> {
        let issued = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(SKEW);
        let claims = Claims {
            iss: &self.client_email,
            scope: SCOPE,
            aud: &self.token_uri.to_string(),
            iat: issued.as_secs(),
            exp: (issued + LIFETIME).as_secs(),
        };
        let header = Header { kid: self.key_id.clone(), ..Header::new(Algorithm::RS256) };
        let assertion = encode(&header, &claims, &self.key).map_err(|_| BadKeyFile::Sign)?;
        // an assertion is base64url and dots, which a form takes as they are
        let form =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        Request::post(self.token_uri.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .map_err(|_| BadKeyFile::TokenUri)
    }
}
