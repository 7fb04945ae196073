//! What a collector is told of requests: one trace through all services, with the right parents.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use embermesh_testing::sim::Simulator;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as Any,
    trace::v1::Span,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::{
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, entry, openai, yaml},
};

/// The caller's own place in a trace.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A span, and the service that made it.
#[derive(Debug, Clone)]
struct Told {
    service: String,
    span: Span,
}

/// Takes OTLP over gRPC.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Told>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut told = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            let name = attributes.into_iter().find(|attribute| attribute.key == "service.name").unwrap();
            let Some(Any::StringValue(service)) = name.value.unwrap().value else { panic!("no name") };
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                told.push(Told { service: service.clone(), span });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens; returns its URL.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(self.clone()));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        url
    }

    /// The spans of a trace by their ids.
    fn of(&self, trace: &str) -> HashMap<String, Told> {
        let told = self.0.lock().unwrap();
        let of_trace = told.iter().filter(|told| hex(&told.span.trace_id) == trace);
        of_trace.map(|told| (hex(&told.span.span_id), told.clone())).collect()
    }

    fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tracing(endpoint: &str, more: &str) -> String {
    format!("tracing: {{endpoint: '{endpoint}'{more}}}\n")
}

fn configuration(simulator: &Simulator, endpoint: &str, more: &str) -> String {
    let entries = [entry(&simulator.deployments()[0], &[SMALL], "")];
    yaml(&entries, &[QUIET]) + &tracing(endpoint, more)
}

/// Posts as part of the caller's trace; `flags` are `01` if the caller is traced itself.
async fn post(running: &Running, path: &str, body: &Value, flags: Option<&str>) {
    let mut request = reqwest::Client::new()
        .post(format!("{}{path}", running.url))
        .header("x-api-key", running.keys["agent_key"].as_str().unwrap())
        .json(body);
    if let Some(flags) = flags {
        request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-{flags}"));
    }
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

/// The names of a span and of those it is part of, up to the caller.
fn ancestry(spans: &HashMap<String, Told>, told: &Told) -> Vec<String> {
    let (mut names, mut at) = (vec![told.span.name.clone()], told);
    while hex(&at.span.parent_span_id) != CALLER {
        let parent = hex(&at.span.parent_span_id);
        at = spans.get(&parent).unwrap_or_else(|| panic!("{names:?} hang on {parent}, which nobody told of"));
        names.push(at.span.name.clone());
    }
    names
}

const EMBED: &str = "POST /api/v1/embeddings";
const TEXT: &str = "a canary text that no span may carry";

fn body() -> Value {
    json!({"agent_id": "traced", "text": TEXT, "model": SMALL, "metadata": {"canary": "zqx"}})
}

/// Asserts what a collector has to know of an embed request that keeps its vector.
fn assert_whole(collector: &Collector, simulator: &Simulator) -> HashMap<String, Told> {
    let spans = collector.of(TRACE);
    assert!(spans.len() >= 8, "{}: {spans:?}", spans.len());
    let lines: Vec<Vec<String>> = spans.values().map(|told| ancestry(&spans, told)).collect();
    for expected in [
        vec![EMBED],
        vec!["authenticate", EMBED],
        vec!["scrub", EMBED],
        vec!["embermesh.internal.v1.Router/Embed", EMBED],
        vec!["cache", "embermesh.internal.v1.Router/Embed", EMBED],
        vec!["attempt", "embermesh.internal.v1.Router/Embed", EMBED],
        vec!["provider", "attempt", "embermesh.internal.v1.Router/Embed", EMBED],
        vec!["embermesh.internal.v1.Store/Put", EMBED],
        vec!["postgresql", "embermesh.internal.v1.Store/Put", EMBED],
    ] {
        assert!(lines.iter().any(|line| *line == expected), "no {expected:?} in {lines:?}");
    }
    // the provider was told which part of the trace its call is
    let provider = spans.values().find(|told| told.span.name == "provider").unwrap();
    let call = simulator.calls().into_iter().find(|call| call.texts == [TEXT]).unwrap();
    let expected = format!("00-{TRACE}-{}-01", hex(&provider.span.span_id));
    assert_eq!(call.headers["traceparent"], expected.as_str());
    for told in spans.values() {
        let (begun, ended) = (told.span.start_time_unix_nano, told.span.end_time_unix_nano);
        assert!(begun <= ended && begun > 0, "{told:?}");
        let told = format!("{told:?}");
        assert!(!told.contains("canary") && !told.contains("zqx"), "{told}");
    }
    spans
}

/// The bucket that the request fell into leads to its trace, for whoever asks for the format that has a place for it.
async fn the_trace_is_an_exemplar(running: &Running) {
    let metrics = |accept: &'static str| async move {
        let request = reqwest::Client::new().get(format!("{}/metrics", running.url)).header("accept", accept);
        let answer = request.send().await.unwrap();
        let media_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (media_type, answer.text().await.unwrap())
    };
    let (media_type, text) = metrics("application/openmetrics-text;version=1.0.0, text/plain;q=0.5").await;
    assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"), "{media_type}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    let series = r#"http_request_duration_seconds_bucket{method="POST",path="/api/v1/embeddings",le=""#;
    let with: Vec<&str> =
        text.lines().filter(|line| line.starts_with(series) && line.contains(" # ")).collect();
    let [line] = with[..] else { panic!("{with:?} in {text}") };
    let exemplar = format!("}} 1 # {{trace_id=\"{TRACE}\"}} ");
    assert!(line.contains(&exemplar), "{line}");
    let (media_type, text) = metrics("text/plain").await;
    assert_eq!(media_type, "text/plain; version=0.0.4");
    assert!(!text.contains("trace_id") && text.contains("http_request_duration_seconds_bucket"), "{text}");
}

#[tokio::test]
async fn one_trace_crosses_all_services() {
    let (collector, simulator) = (Collector::default(), openai(&["only"]).await);
    let endpoint = collector.start().await;
    let running = Running::five(&configuration(&simulator, &endpoint, "")).await;
    post(&running, "/api/v1/embeddings", &body(), Some("01")).await;
    the_trace_is_an_exemplar(&running).await;
    let told = |name: &'static str| {
        let collector = collector.clone();
        move || {
            let told = collector.of(TRACE).values().any(|told| told.span.name == name);
            async move { told }
        }
    };
    for name in [EMBED, "provider", "postgresql"] {
        wait_until(told(name)).await;
    }
    let spans = assert_whole(&collector, &simulator);
    let services: std::collections::BTreeSet<_> = spans.values().map(|told| told.service.as_str()).collect();
    for service in ["embermesh-gateway", "embermesh-provider-router", "embermesh-vector-store"] {
        assert!(services.contains(service), "{services:?}");
    }
    // whoever is not traced stays untraced in every service
    let before = collector.all().len();
    post(&running, "/api/v1/embeddings/search", &json!({"query": TEXT, "model": SMALL}), Some("00")).await;
    // a search of a caller who says nothing is the beginning of a trace
    post(&running, "/api/v1/embeddings/search", &json!({"query": TEXT, "model": SMALL}), None).await;
    let roots = || {
        let roots = collector.all().split_off(before);
        roots.into_iter().filter(|told| told.span.parent_span_id.is_empty()).collect::<Vec<_>>()
    };
    wait_until(|| async { !roots().is_empty() }).await;
    let roots = roots();
    assert_eq!(roots.len(), 1, "{roots:?}");
    assert_eq!(roots[0].span.name, "POST /api/v1/embeddings/search");
    let trace = hex(&roots[0].span.trace_id);
    wait_until(|| async {
        collector.of(&trace).values().any(|told| told.span.name == "embermesh.internal.v1.Store/Search")
    })
    .await;
}

// the collector answers while this waits for the end of the process
#[tokio::test(flavor = "multi_thread")]
async fn one_process_tells_the_same_and_only_of_those_it_should() {
    let (collector, simulator) = (Collector::default(), openai(&["only"]).await);
    let endpoint = collector.start().await;
    let yaml = configuration(&simulator, &endpoint, ", sample_ratio: 0, service_name: mesh");
    let mut running = Running::one(&yaml).await;
    post(&running, "/api/v1/embeddings", &json!({"agent_id": "a", "text": "b", "model": SMALL}), None).await;
    post(&running, "/api/v1/embeddings", &body(), Some("01")).await;
    // what it still has is sent before it ends
    assert!(running.processes[0].terminate().success());
    let spans = assert_whole(&collector, &simulator);
    assert!(spans.values().all(|told| told.service == "mesh"), "{spans:?}");
    assert_eq!(spans.len(), collector.all().len(), "others were traced");
}
