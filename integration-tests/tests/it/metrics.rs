//! What a running system tells at `/metrics`, held against `docs/metrics.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use embermesh_testing::sim::Latency;
use serde_json::json;

use crate::{
    running::{Running, SERVICES, root},
    secrets,
    simulated::{QUIET, SMALL, SMALL_SPACE, configure, entry, openai, system, yaml},
};

const EMBED: &str = "/api/v1/embeddings";
const SEARCH: &str = "/api/v1/embeddings/search";
/// Of the gateway alone: sums over all services never count one twice.
const GATEWAYS_OWN: [&str; 5] = [
    "http_requests_total",
    "http_request_duration_seconds",
    "embedding_provider_health",
    "embedding_cost_total",
    "circuit_breaker_state",
];
/// What clients, runbooks and dashboards of others rely on; it is not enough that the documentation and the code agree.
const PUBLIC: [&str; 24] = [
    "http_requests_total",
    "http_request_duration_seconds",
    "embedding_provider_health",
    "embedding_cost_total",
    "circuit_breaker_state",
    "embedding_requests_total",
    "embedding_request_duration_seconds",
    "embedding_tokens_total",
    "embedding_failovers_total",
    "embedding_cache_hits_total",
    "embedding_cache_misses_total",
    "embedding_budget_utilization_ratio",
    "embedding_items_total",
    "embedding_provider_availability_ratio",
    "provider_request_duration_seconds",
    "gateway_overhead_seconds",
    "pii_detections_total",
    "db_pool_connections",
    "db_query_duration_seconds",
    "vector_search_duration_seconds",
    "vector_rows",
    "vector_table_bytes",
    "vector_index_scans_total",
    "grpc_server_handled_total",
];

/// Names of labels by metric.
type Labels = BTreeMap<String, BTreeSet<String>>;

/// A metric as it is documented.
#[derive(Debug)]
struct Row {
    name: String,
    labels: BTreeSet<String>,
    services: BTreeSet<String>,
}

/// The rows of the tables below a heading of the documentation.
fn documented(heading: &str) -> Vec<Row> {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let (_, below) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let part = below.split("\n## ").next().unwrap();
    let words = |cell: &str| {
        let words = cell.split(',').map(|word| word.trim().trim_matches('`').to_owned());
        words.filter(|word| !word.is_empty()).collect::<BTreeSet<_>>()
    };
    let rows: Vec<Row> = part
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let name = cells[1].trim().trim_matches('`').to_owned();
            Row { name, labels: words(cells[2]), services: words(cells[3]) }
        })
        .collect();
    assert!(rows.len() > 10, "the documentation has lost its tables");
    rows
}

/// What a scrape has: metrics by their names, parts of histograms as one.
fn told(scrape: &str) -> Labels {
    let histograms: BTreeSet<&str> =
        scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")).collect();
    let mut told = Labels::new();
    for line in scrape.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let Some(end) = line.find(['{', ' ']) else { continue };
        let name = &line[..end];
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let name = whole.filter(|whole| histograms.contains(whole)).unwrap_or(name);
        let labels = line[end..].split("=\"").filter_map(|before| {
            let name = before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
            (!name.is_empty()).then(|| name.to_owned())
        });
        // what follows the last `="` is a value
        let mut labels: Vec<String> = labels.collect();
        if line[end..].contains("=\"") {
            labels.pop();
        } else {
            labels.clear();
        }
        labels.retain(|label| label != "le");
        told.entry(name.to_owned()).or_default().extend(labels);
    }
    told
}

fn scrapes(running: &Running) -> BTreeMap<&'static str, String> {
    SERVICES
        .into_iter()
        .map(|service| {
            let answer = secrets::metrics(running.port(service));
            let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
            (service, body.to_owned())
        })
        .collect()
}

/// What the scrapes lack of the documentation.
fn missing(rows: &[Row], scrapes: &BTreeMap<&'static str, String>) -> BTreeSet<String> {
    let mut missing = BTreeSet::new();
    for (service, scrape) in scrapes {
        let told = told(scrape);
        for row in rows.iter().filter(|row| row.services.contains(*service)) {
            match told.get(&row.name) {
                None => {
                    missing.insert(format!("{service} does not tell {}", row.name));
                }
                Some(labels) if *labels != row.labels => {
                    let told = format!("{service}: {} has {labels:?}, documented {:?}", row.name, row.labels);
                    missing.insert(told);
                }
                Some(_) => {}
            }
        }
    }
    missing
}

/// The value of the one line that begins so.
fn value(scrape: &str, begins: &str) -> f64 {
    let lines: Vec<&str> = scrape.lines().filter(|line| line.starts_with(begins)).collect();
    assert_eq!(lines.len(), 1, "{begins}: {lines:?}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn after_one_embedding_and_one_search_every_metric_is_there_with_its_labels() {
    let (always, sometimes) = (
        documented("There after the first embedding and search"),
        documented("Only where there is something to tell"),
    );
    for name in PUBLIC {
        assert!(always.iter().any(|row| row.name == name), "{name} is not documented as always there");
    }
    let simulator = openai(&["first", "second"]).await;
    let entries: Vec<String> =
        simulator.deployments().iter().map(|one| entry(one, &[SMALL], ", timeout: 20s")).collect();
    let running = Running::five(&yaml(&entries, &[QUIET])).await;
    configure(&running, "a", json!({"constraints": {"max_cost_per_day": 1.0}})).await;
    // each request has one call that takes at least this
    let slow = 0.3;
    for one in simulator.deployments() {
        one.set_latency(Some(Latency::Fixed { ms: slow * 1000.0 }));
    }
    let agent = running.agent();
    agent
        .post(EMBED, json!({"agent_id": "a", "text": "The ferry leaves at noon.", "model": SMALL}))
        .await
        .ok();
    agent.post(SEARCH, json!({"agent_id": "a", "query": "ferries", "model": SMALL})).await.ok();

    let until = Instant::now() + Duration::from_secs(120);
    // what is of the last minute may be gone before the last one has come
    let mut never = None;
    let scrapes = loop {
        let scrapes = scrapes(&running);
        let missing = missing(&always, &scrapes);
        let left: BTreeSet<String> = match never {
            None => missing,
            Some(never) => missing.intersection(&never).cloned().collect(),
        };
        if left.is_empty() {
            break scrapes;
        }
        assert!(Instant::now() < until, "{left:#?}");
        never = Some(left);
        tokio::time::sleep(Duration::from_millis(500)).await;
    };

    // nothing is told that is not documented, or by others
    for (service, scrape) in &scrapes {
        for (name, labels) in told(scrape) {
            let is_it = |row: &&Row| row.name == name && row.services.contains(*service);
            let known = always.iter().chain(&sometimes).find(is_it);
            let known = known.unwrap_or_else(|| panic!("{service} tells {name}, which is not documented"));
            assert_eq!(labels, known.labels, "{service}: {name}");
            assert!(
                *service == "gateway" || !GATEWAYS_OWN.contains(&name.as_str()),
                "{service} tells {name}"
            );
        }
    }

    let (gateway, store) = (&scrapes["gateway"], &scrapes["vector-store"]);
    assert!(value(store, &format!("vector_table_bytes{{space=\"{SMALL_SPACE}\"}}")) > 0.0);
    assert!(value(store, &format!("vector_rows{{space=\"{SMALL_SPACE}\"}}")) <= 1.0);
    // the time at the provider is not the gateway's
    let took = |path: &str| {
        value(gateway, &format!("http_request_duration_seconds_sum{{method=\"POST\",path=\"{path}\"}}"))
    };
    let beside = value(gateway, "gateway_overhead_seconds_sum");
    assert_eq!(value(gateway, "gateway_overhead_seconds_count"), 2.0);
    let at_providers = took(EMBED) + took(SEARCH) - beside;
    assert!(beside > 0.0 && at_providers >= 2.0 * slow, "{at_providers} s at providers, {beside} s beside");

    // a client makes up paths, names of methods and ids of agents
    let http = reqwest::Client::new();
    for path in ["/made/up/one", "/embermesh.v1.Embeddings/MadeUpTwo", "/api/v1/embeddings/made-up-three"] {
        for content_type in ["application/json", "application/grpc"] {
            let request = http.post(format!("{}{path}", running.url)).header("content-type", content_type);
            request.body("{}").send().await.unwrap();
        }
    }
    for (service, scrape) in self::scrapes(&running) {
        let lower = scrape.to_lowercase();
        assert!(
            !lower.contains("made-up") && !lower.contains("madeup") && !lower.contains("made/up"),
            "{service}"
        );
    }
}

#[tokio::test]
async fn in_one_process_all_of_it_is_at_one_port_and_nothing_is_registered_twice() {
    let (_simulator, running) = system(&["first", "second"], &[SMALL], &[QUIET]).await;
    configure(&running, "a", json!({"constraints": {"max_cost_per_day": 1.0}})).await;
    let agent = running.agent();
    agent.post(EMBED, json!({"agent_id": "a", "text": "The ferry leaves.", "model": SMALL})).await.ok();
    agent.post(SEARCH, json!({"agent_id": "a", "query": "ferries", "model": SMALL})).await.ok();
    let mut left: BTreeSet<&str> = PUBLIC.into();
    let until = Instant::now() + Duration::from_secs(120);
    let scrape = loop {
        let scrape = reqwest::get(format!("{}/metrics", running.url)).await.unwrap().text().await.unwrap();
        let told = told(&scrape);
        left.retain(|name| !told.contains_key(*name));
        if left.is_empty() {
            break scrape;
        }
        assert!(Instant::now() < until, "{left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    for pool in ["admin", "ledger", "store"] {
        assert!(value(&scrape, &format!("db_pool_connections{{pool=\"{pool}\",state=\"max\"}}")) > 0.0);
    }
    assert!(!running.logs().contains("metric is not exported"), "{}", running.logs());
}

#[test]
fn labels_of_a_scrape_are_read() {
    let scrape = "# TYPE a histogram\na_bucket{path=\"/x{id}=\",le=\"1\"} 2\na_sum{path=\"/\"} 1\nb 3\nc_count{d=\"e f\",g=\"h\"} 1\n";
    let told = told(scrape);
    let labels = |name: &str| told[name].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(told.len(), 3);
    assert_eq!((labels("a"), labels("b"), labels("c_count")), (vec!["path"], vec![], vec!["d", "g"]));
}
