//! The few calls of S3 that backups need: put (in parts where a file is large), get, list, delete. Signed with AWS Signature Version 4.
//!
//! Buckets are addressed in the path, which every server of the protocol knows.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::BehaviorVersion;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use embermesh_types::Clock;
use http::{Method, StatusCode};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::{Client, Response};

use crate::{BackupError, error::file, storage::Object};

/// Of a part, unless the file would have more than S3's 10,000 of them.
const PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 9_000;
const TRIES: u32 = 4;
const TIMEOUT: Duration = Duration::from_secs(300);
const DEFAULT_REGION: &str = "us-east-1";
/// What stands for itself in a path, and in a value of the query.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
const IN_VALUE: &AsciiSet = &IN_PATH.add(b'/');

/// A prefix of a bucket. Cheap to clone.
#[derive(Clone)]
pub struct S3(Arc<Inner>);

struct Inner {
    http: Client,
    endpoint: String,
    region: String,
    credentials: Option<SharedCredentialsProvider>,
    bucket: String,
    prefix: String,
}

/// One call.
struct Call<'a> {
    method: Method,
    /// Below the bucket; empty for the bucket itself.
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'a str, &'a str)],
    body: Bytes,
}

impl S3 {
    /// With what this machine knows of AWS.
    pub(crate) async fn open(bucket: String, prefix: String) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest()).load().await;
        let region = config.region().map_or_else(|| DEFAULT_REGION.to_owned(), ToString::to_string);
        // the variable of this service alone goes before that of all
        let own = std::env::var("AWS_ENDPOINT_URL_S3").ok().filter(|url| !url.is_empty());
        let endpoint = own
            .or_else(|| config.endpoint_url().map(str::to_owned))
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let http = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        Self(Arc::new(Inner {
            http: http.unwrap_or_default(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            region,
            credentials: config.credentials_provider(),
            bucket,
            prefix,
        }))
    }

    pub(crate) async fn put(&self, name: &str, source: &Path) -> Result<(), BackupError> {
        let mut input = File::open(source).map_err(file(source))?;
        let length = input.metadata().map_err(file(source))?.len();
        let size = PART.max(length / MOST_PARTS);
        let first = read_part(&mut input, size).map_err(file(source))?;
        if length <= size {
            return self.put_bytes(name, first, true).await.map(drop);
        }
        let key = self.key(name);
        let begun = self.text(&Call::new(Method::POST, &key).query(&[("uploads", "")])).await?;
        let upload = element(&begun, "UploadId").ok_or_else(|| self.fails("it gave no id for an upload"))?;
        let sent = self.put_parts(&key, &upload, first, (&mut input, size), source).await;
        if sent.is_err() {
            // its parts would be paid for until somebody looks
            let _best_effort =
                self.send(&Call::new(Method::DELETE, &key).query(&[("uploadId", &upload)])).await;
        }
        sent
    }

    async fn put_parts(
        &self,
        key: &str,
        upload: &str,
        first: Bytes,
        (input, size): (&mut File, u64),
        source: &Path,
    ) -> Result<(), BackupError> {
        let (mut part, mut number, mut list) = (first, 1_u32, String::new());
        while !part.is_empty() {
            let number_text = number.to_string();
            let query = [("partNumber", number_text.as_str()), ("uploadId", upload)];
            let call = Call { body: part, ..Call::new(Method::PUT, key).query(&query) };
            let answer = self.send(&call).await?;
            let tag = answer.headers().get(http::header::ETAG).and_then(|tag| tag.to_str().ok());
            let tag = tag.ok_or_else(|| self.fails("it gave no tag for a part"))?;
            list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"));
            part = read_part(input, size).map_err(file(source))?;
            number += 1;
        }
        let body = Bytes::from(format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>"));
        let query = [("uploadId", upload)];
        let call = Call { body, ..Call::new(Method::POST, key).query(&query) };
        // it may fail after it has said 200
        let said = self.text(&call).await?;
        if said.contains("<Error>") { Err(self.fails(&reason(&said))) } else { Ok(()) }
    }

    /// `false`: something is there, and `over` does not allow to take its place.
    pub(crate) async fn put_bytes(&self, name: &str, body: Bytes, over: bool) -> Result<bool, BackupError> {
        let key = self.key(name);
        let headers: &[(&str, &str)] = if over { &[] } else { &[("if-none-match", "*")] };
        if !over && self.get_bytes(name).await?.is_some() {
            return Ok(false);
        }
        let answer = self.exchange(&Call { body, headers, ..Call::new(Method::PUT, &key) }).await?;
        // of two at the same time the second one
        if matches!(answer.status(), StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT) && !over {
            return Ok(false);
        }
        self.good(answer).await.map(|_| true)
    }

    pub(crate) async fn get(&self, name: &str, to: &Path) -> Result<(), BackupError> {
        let mut answer = self.send(&Call::new(Method::GET, &self.key(name))).await?;
        let mut target =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(file(to))?;
        while let Some(piece) = answer.chunk().await.map_err(|error| self.fails(&chain(&error)))? {
            target.write_all(&piece).map_err(file(to))?;
        }
        Ok(())
    }

    pub(crate) async fn get_bytes(&self, name: &str) -> Result<Option<Bytes>, BackupError> {
        let answer = self.exchange(&Call::new(Method::GET, &self.key(name))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            let said = answer.text().await.map_err(|error| self.fails(&chain(&error)))?;
            // a bucket that is not there is no answer to whether a file is
            return if said.contains("NoSuchBucket") { Err(self.fails(&reason(&said))) } else { Ok(None) };
        }
        let answer = self.good(answer).await?;
        answer.bytes().await.map(Some).map_err(|error| self.fails(&chain(&error)))
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<Object>, BackupError> {
        let prefix = self.key(prefix);
        let (mut found, mut token) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("prefix", prefix.as_str())];
            if let Some(token) = &token {
                query.push(("continuation-token", token));
            }
            let page = self.text(&Call::new(Method::GET, "").query(&query)).await?;
            for entry in elements(&page, "Contents") {
                found.extend(self.object(entry));
            }
            token = element(&page, "NextContinuationToken")
                .filter(|_| element(&page, "IsTruncated").as_deref() == Some("true"));
            if token.is_none() {
                found.sort_by(|a: &Object, b| a.name.cmp(&b.name));
                return Ok(found);
            }
        }
    }

    fn object(&self, entry: &str) -> Option<Object> {
        let key = element(entry, "Key")?;
        let key = percent_decode_str(&key).decode_utf8().ok()?.into_owned();
        let below = if self.0.prefix.is_empty() { "" } else { &*format!("{}/", self.0.prefix) };
        Some(Object {
            name: key.strip_prefix(below)?.to_owned(),
            bytes: element(entry, "Size")?.parse().ok()?,
            modified: element(entry, "LastModified")?.parse::<Timestamp>().ok()?,
        })
    }

    pub(crate) async fn delete(&self, name: &str) -> Result<(), BackupError> {
        let answer = self.exchange(&Call::new(Method::DELETE, &self.key(name))).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        self.good(answer).await.map(drop)
    }

    fn key(&self, name: &str) -> String {
        match self.0.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        }
    }

    async fn text(&self, call: &Call<'_>) -> Result<String, BackupError> {
        self.send(call).await?.text().await.map_err(|error| self.fails(&chain(&error)))
    }

    async fn send(&self, call: &Call<'_>) -> Result<Response, BackupError> {
        let answer = self.exchange(call).await?;
        self.good(answer).await
    }

    async fn good(&self, answer: Response) -> Result<Response, BackupError> {
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, said) = (answer.status(), answer.text().await.unwrap_or_default());
        Err(self.fails(&format!("{status}: {}", reason(&said))))
    }

    /// Repeats what may pass; every call may be repeated.
    async fn exchange(&self, call: &Call<'_>) -> Result<Response, BackupError> {
        let mut attempt = 1;
        loop {
            let outcome = self.once(call).await;
            let passing = match &outcome {
                Ok(answer) => {
                    answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(BackupError::Storage { .. }) => true,
                Err(_) => false,
            };
            if !passing || attempt == TRIES {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(200) * 2_u32.pow(attempt)).await;
            attempt += 1;
        }
    }

    async fn once(&self, call: &Call<'_>) -> Result<Response, BackupError> {
        let Inner { http, endpoint, bucket, .. } = &*self.0;
        let encode = |text: &str, set| utf8_percent_encode(text, set).to_string();
        let query: Vec<String> =
            call.query.iter().map(|(name, value)| format!("{name}={}", encode(value, IN_VALUE))).collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let url = format!("{endpoint}/{bucket}/{}{query}", encode(call.key, IN_PATH));
        let signed = self.sign(call, &url).await?;
        let mut request = http.request(call.method.clone(), &url);
        for (name, value) in
            call.headers.iter().copied().chain(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())))
        {
            request = request.header(name, value);
        }
        request.body(call.body.clone()).send().await.map_err(|error| self.fails(&chain(&error)))
    }

    /// The headers that prove who asks.
    async fn sign(&self, call: &Call<'_>, url: &str) -> Result<Vec<(String, String)>, BackupError> {
        let failed = |what: &str, why: String| BackupError::Setting(format!("{self}: {what}: {why}"));
        let provider = self.0.credentials.as_ref();
        let provider = provider.ok_or_else(|| {
            failed("no credentials", "set AWS_ACCESS_KEY_ID, a profile, or a role".to_owned())
        })?;
        let credentials =
            provider.provide_credentials().await.map_err(|error| failed("no credentials", chain(&error)))?;
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let now: SystemTime = Clock::system().now();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.0.region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| failed("cannot sign", chain(&error)))?
            .into();
        let request = SignableRequest::new(
            call.method.as_str(),
            url,
            call.headers.iter().copied(),
            SignableBody::Bytes(&call.body),
        );
        let signed = request.and_then(|request| sign(request, &params));
        let (instructions, _) = signed.map_err(|error| failed("cannot sign", chain(&error)))?.into_parts();
        Ok(instructions.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn fails(&self, why: &str) -> BackupError {
        BackupError::Storage { storage: self.to_string(), why: why.to_owned() }
    }
}

impl<'a> Call<'a> {
    const fn new(method: Method, key: &'a str) -> Self {
        Self { method, key, query: &[], headers: &[], body: Bytes::new() }
    }

    fn query(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }
}

impl fmt::Display for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.0.bucket, self.0.prefix)
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.0.endpoint)
            .field("place", &self.to_string())
            .finish_non_exhaustive()
    }
}

/// As much as there is, up to a part.
fn read_part(input: &mut File, size: u64) -> std::io::Result<Bytes> {
    let mut part = Vec::new();
    input.take(size).read_to_end(&mut part)?;
    Ok(part.into())
}

/// What stands between the tags of that name. Keys come percent-encoded, so nothing else in these answers looks like a tag.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(&*open).skip(1).filter_map(|rest| Some(rest.split_once(&*close)?.0)).collect()
}

fn element(xml: &str, name: &str) -> Option<String> {
    let text = elements(xml, name).first()?.to_string();
    Some(
        text.replace("&quot;", "\"")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    )
}

/// Of an answer that says no.
fn reason(said: &str) -> String {
    match (element(said, "Code"), element(said, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code,
        _ => "it gives no reason".to_owned(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_a_list_is_read() {
        let page = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a%2Fb</Key><Size>3</Size></Contents>\
                    <Contents><Key>c</Key></Contents></ListBucketResult>";
        let keys: Vec<_> =
            elements(page, "Contents").into_iter().map(|entry| element(entry, "Key").unwrap()).collect();
        assert_eq!(keys, ["a%2Fb", "c"]);
        assert_eq!(element(page, "NextContinuationToken"), None);
        assert_eq!(
            reason("<Error><Code>NoSuchBucket</Code><Message>a &amp; b</Message></Error>"),
            "NoSuchBucket: a & b"
        );
    }
}
