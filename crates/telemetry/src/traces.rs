//! Traces: which parts of the system a request went through, and for how long. They leave by OTLP over gRPC.
//!
//! What is under way in a task is that task's [`Trace`]; parts of it are [`Span`]s, each from its making to its drop. Only a request that
//! is chosen has any: of all others nothing is made, kept or sent, so that a trace costs whoever is not traced a look at a task's memory.

mod header;
mod settings;
mod within;

use std::{borrow::Cow, sync::OnceLock, time::Duration};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider},
};

pub use header::TRACEPARENT;
pub use settings::TraceSettings;
pub use within::{Within, within};

/// How long the end of a process waits for the spans it still has.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Set once, where traces are wanted.
static TRACER: OnceLock<Sampling> = OnceLock::new();

struct Sampling {
    tracer: SdkTracer,
    ratio: f64,
}

/// Sends the traces of this process away until it ends.
#[derive(Debug)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Starts sending, where an endpoint is configured; inside of a runtime. `service` is the process's name.
    ///
    /// # Errors
    /// When the endpoint is no URL.
    pub fn start(settings: &TraceSettings, service: &str) -> Result<Self, ExporterBuildError> {
        let Some(endpoint) = &settings.endpoint else { return Ok(Self(None)) };
        let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
        let service = settings.service_name.clone().unwrap_or_else(|| service.to_owned());
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        let sampling = Sampling { tracer: provider.tracer("embermesh"), ratio: settings.sample_ratio };
        if TRACER.set(sampling).is_err() {
            tracing::warn!("traces were started before in this process, the first endpoint stays");
        }
        Ok(Self(Some(provider)))
    }

    /// Sends what is left.
    pub async fn stop(self) {
        let Some(provider) = self.0 else { return };
        // it waits for an answer that this thread may have to carry
        let stopping = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_WORDS));
        if let Ok(Err(error)) = stopping.await {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// A place in a trace, under which spans can be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace(SpanContext);

impl Trace {
    /// What is under way in this task, if it is traced.
    pub fn current() -> Option<Self> {
        TRACER.get()?;
        within::current()
    }

    /// What another process says that its call is part of, if that is traced and this process traces at all.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        TRACER.get()?;
        let context = header::read(headers)?;
        context.is_sampled().then_some(Self(context))
    }

    /// What collectors know it by.
    pub fn id(&self) -> String {
        self.0.trace_id().to_string()
    }

    /// Tells another process what a call is part of: writes the header `traceparent`.
    pub fn write(&self, headers: &mut HeaderMap) {
        header::write(&self.0, headers);
    }
}

#[cfg(test)]
impl Trace {
    /// One of many.
    pub(crate) fn numbered(number: u128) -> Self {
        use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
        let (trace, span) = (TraceId::from(number), SpanId::from(1));
        Self(SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default()))
    }
}

/// A part of a trace, from now until it is dropped; nothing, where there is no trace.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Of what is under way in this task.
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self::under(Trace::current().as_ref(), name)
    }

    /// Of `trace`.
    pub fn under(trace: Option<&Trace>, name: impl Into<Cow<'static, str>>) -> Self {
        Self::made(trace, name, SpanKind::Internal)
    }

    /// A call of another system, of what is under way in this task.
    pub fn calling(name: impl Into<Cow<'static, str>>) -> Self {
        Self::made(Trace::current().as_ref(), name, SpanKind::Client)
    }

    /// What a service does for another: of what is under way in this task, else of what the call's headers tell.
    pub fn serving(headers: &HeaderMap, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        match Trace::current().or_else(|| Trace::from_headers(headers)) {
            Some(trace) => Self::made(Some(&trace), name(), SpanKind::Server),
            None => Self(None),
        }
    }

    /// A request from outside: of what its headers tell, else the beginning of a trace of its own, which as many have as are wanted.
    pub fn arriving(headers: &HeaderMap, name: impl FnOnce() -> Cow<'static, str>) -> Self {
        let Some(Sampling { tracer, ratio }) = TRACER.get() else { return Self(None) };
        let parent = match header::read(headers) {
            // whoever began the trace has decided
            Some(context) if !context.is_sampled() => return Self(None),
            Some(context) => Context::new().with_remote_span_context(context),
            None if rand::random::<f64>() >= *ratio => return Self(None),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name()).with_kind(SpanKind::Server);
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }

    fn made(trace: Option<&Trace>, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        let (Some(Trace(parent)), Some(Sampling { tracer, .. })) = (trace, TRACER.get()) else {
            return Self(None);
        };
        let parent = Context::new().with_remote_span_context(parent.clone());
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        Self(Some(Box::new(tracer.build_with_context(builder, &parent))))
    }

    /// Adds what is worth knowing: ids, counts, names. Never a text, a vector or a secret.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Marks it as failed. `why` is a code or a sentence of ours, nothing that was received.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why));
        }
    }

    /// What can be made under it.
    pub fn trace(&self) -> Option<Trace> {
        self.0.as_ref().map(|span| Trace(span.span_context().clone()))
    }
}
