//! A REST request that has been let in: its body, query and path become a message, the rest of it travels with the message.

use axum::{
    RequestPartsExt,
    body::Body,
    extract::{RawPathParams, Request},
};
use embermesh_errors::Error;
use embermesh_transport::CallContext;
use http::request::Parts;
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::{admit_method, body, json};
use crate::{authorise::Method, edge::App, embeddings::IdempotencyKey, rest::query};

/// A request whose key is good for it.
pub(crate) struct Incoming<'a> {
    app: &'a App,
    parts: Parts,
    body: Body,
    /// Who asks, as which request, until when.
    pub context: CallContext,
}

impl<'a> Incoming<'a> {
    /// Lets a request in whose key is good for `method`. Nothing of the body is read for anybody else.
    pub fn admit(app: &'a App, request: Request, method: &Method) -> Result<Self, Error> {
        let (mut parts, body) = request.into_parts();
        let context = admit_method(app, &parts.headers, &mut parts.extensions, method)?;
        Ok(Self { app, parts, body, context })
    }

    /// The body as a message, where nothing is taken from the query string. An empty body is `{}`.
    pub async fn object<T: DeserializeOwned + Default>(&mut self) -> Result<T, Error> {
        self.query::<NoFields>()?;
        self.body().await
    }

    /// The body as a message or a list of messages. An empty body is an empty one.
    pub async fn body<T: DeserializeOwned + Default>(&mut self) -> Result<T, Error> {
        let body = std::mem::take(&mut self.body);
        let app = self.app;
        let bytes = body::read_json(&self.parts.headers, body, app.max_body_bytes, &app.tasks).await?;
        if bytes.is_empty() { Ok(T::default()) } else { json::decode(&bytes) }
    }

    /// The query string as a message, where nothing but a list is taken from the body.
    pub fn query<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        query::decode(self.parts.uri.query().unwrap_or_default())
    }

    /// The query string as a message, where nothing is taken from a body.
    pub fn query_alone<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        if !self.body.is_end_stream() && self.body.size_hint().exact() != Some(0) {
            return Err(Error::invalid(
                "body",
                "this call takes no body, put its fields into the query string",
            ));
        }
        self.query()
    }

    /// Sets a field that the path names. Naming it elsewhere too is no error as long as both say the same.
    pub async fn bind(&mut self, name: &str, field: &mut String) -> Result<(), Error> {
        let params = self.parts.extract::<RawPathParams>().await;
        let params =
            params.map_err(|_| Error::invalid(name, format!("{name} in the path is not valid UTF-8")))?;
        let value =
            params.iter().find(|(param, _)| *param == name).map(|(_, value)| value).unwrap_or_default();
        if !field.is_empty() && field != value {
            return Err(Error::invalid(
                name,
                format!("{name} is one thing in the path and another in the request"),
            ));
        }
        value.clone_into(field);
        Ok(())
    }

    /// The call to a service of this process: the context is beside the message.
    pub fn own<T>(mut self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(key) = self.parts.extensions.remove::<IdempotencyKey>() {
            request.extensions_mut().insert(key);
        }
        request.extensions_mut().insert(self.context);
        request
    }

    /// The call to another service: the context is in its metadata.
    pub fn forwarded<T>(self, message: T) -> tonic::Request<T> {
        self.context.request(message)
    }
}

/// What a query string may hold where the body holds everything.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}
