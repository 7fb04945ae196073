//! Monitoring and alerting.

use super::{
    book::{Book, Outcome, Proof},
    system::System,
};
use crate::running::root;

const ALERTS: &str = "integration-tests/tests/it/guide/alerts.rs";
const FIRE: &str = "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something";
const PANELS: &str = "integration-tests/tests/it/deployment/alerts_and_panels.py";

/// Sizes of the tables of rows, largest first.
const SIZES: &str = "SELECT relname, n_live_tup, n_dead_tup, pg_size_pretty(pg_total_relation_size(relid))
FROM pg_stat_user_tables
WHERE schemaname = 'store'
ORDER BY pg_total_relation_size(relid) DESC";

/// What is to be watched: where it stands in the guide, the metrics, and the dashboard whose queries of them find something.
const WATCHED: [(&str, &str, &[&str], &str); 14] = [
    ("System", "requests a second by endpoint", &["http_requests_total"], "overview"),
    ("System", "latency at P50, P95, P99", &["http_request_duration_seconds_bucket"], "overview"),
    ("System", "rate of 4xx and 5xx", &["http_requests_total"], "overview"),
    ("System", "embeddings made a minute", &["embedding_items_total"], "overview"),
    (
        "Provider",
        "availability",
        &["embedding_provider_health", "embedding_provider_availability_ratio"],
        "providers",
    ),
    ("Provider", "latency", &["provider_request_duration_seconds_bucket"], "providers"),
    ("Provider", "state of circuit breakers", &["circuit_breaker_state"], "providers"),
    ("Provider", "failovers", &["embedding_failovers_total"], "providers"),
    ("Cost", "dollars an hour and a day, by agent and provider", &["embedding_cost_total"], "money"),
    ("Cost", "tokens by model", &["embedding_tokens_total"], "providers"),
    ("Cost", "share of the daily budget", &["embedding_budget_utilization_ratio"], "money"),
    ("Database", "slow queries", &["db_query_duration_seconds_bucket"], "cache-and-storage"),
    ("Database", "active and idle connections", &["db_pool_connections"], "cache-and-storage"),
    ("Database", "searches by index", &["vector_search_duration_seconds_bucket"], "cache-and-storage"),
];

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Monitoring and alerting");
    book.part("Key metrics");
    for (kind, item, metrics, dashboard) in WATCHED {
        let file = format!("monitoring/dashboards/{dashboard}.json");
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        let missing: Vec<&&str> = metrics.iter().filter(|metric| !text.contains(**metric)).collect();
        let how = format!("`{}`, dashboard [{dashboard}](../{file})", metrics.join("`, `"));
        let asked = Proof::run(&how, missing.is_empty(), format!("{dashboard} lacks {missing:?}"));
        book.as_printed(&format!("{kind}: {item}"), asked.and(Proof::test(ALERTS, FIRE)));
    }
    growth(book, system).await;
    alerts(book);
    panels(book, system);
}

async fn growth(book: &mut Book, system: &System) {
    let sizes = system.psql(SIZES).await;
    let text = std::fs::read_to_string(root().join("monitoring/dashboards/cache-and-storage.json")).unwrap();
    let shown = ["vector_rows", "vector_table_bytes"].iter().all(|metric| text.contains(metric));
    let how = "`vector_rows`, `vector_table_bytes`, dashboard [cache-and-storage](../monitoring/dashboards/cache-and-storage.json)";
    let in_psql = Proof::run(
        "sizes of the tables of rows, in psql",
        sizes.iter().any(|line| line.starts_with("space_")),
        sizes.join("\n"),
    );
    book.as_printed(
        "Database: growth of the table of embeddings",
        Proof::run(how, shown, "the dashboard lacks one").and(Proof::test(ALERTS, FIRE)).and(in_psql),
    );
}

fn alerts(book: &mut Book) {
    book.part("Alerts");
    let fires = || {
        Proof::test(ALERTS, FIRE).and(Proof::run(
            "promtool, with the guide's own `for`, over a run that was recorded",
            kept_trace(),
            "no recorded run is kept",
        ))
    };
    book.row(
        "`HighErrorRate`: `rate(http_requests_total{status=~\"5..\"}[5m]) > 0.05` for 5m",
        fires(),
        Outcome::Improved(
            "`ErrorRatioHigh` beside it, on a share: this one is absolute, and of each route and replica",
        ),
    );
    book.row(
        "`ProviderDown`: `embedding_provider_health{status=\"unhealthy\"} == 1` for 2m",
        fires(),
        Outcome::Improved("`ProviderUnhealthy` beside it, once for all gateways"),
    );
    book.row(
        "`HighCostRate`: `rate(embedding_cost_total[1h]) > 100` for 10m",
        fires(),
        Outcome::Improved("`CostRateHigh` beside it, in dollars an hour: this one compares dollars a second"),
    );
    book.row(
        "`CircuitBreakerOpen`: `circuit_breaker_state{state=\"open\"} == 1` for 5m",
        fires(),
        Outcome::Improved("`BreakerOpen` beside it, which leaves out what an operator holds open"),
    );
    book.as_printed(
        "group `embedding_alerts`, `interval: 30s`",
        Proof::test(PANELS, "rules_pass_their_tests"),
    );
}

fn kept_trace() -> bool {
    root().join("monitoring/tests/guide-recorded.yaml").is_file()
}

fn panels(book: &mut Book, system: &System) {
    book.part("Grafana");
    let file = root().join("monitoring/dashboards/guide.json");
    let dashboard: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let title = dashboard["title"] == "Embedding System Dashboard";
    book.as_printed(
        "dashboard \"Embedding System Dashboard\"",
        Proof::run("its title", title, &dashboard["title"]),
    );
    for (panel, query) in [
        ("Request Rate", "rate(http_requests_total[5m])"),
        ("Latency Percentiles", "histogram_quantile(0.95, http_request_duration_seconds_bucket)"),
        ("Provider Health", "embedding_provider_health"),
        ("Cost by Agent", "sum by (agent_id) (increase(embedding_cost_total[1h]))"),
    ] {
        let panels = dashboard["panels"].as_array().unwrap();
        let there = panels.iter().any(|of| of["title"] == panel && of["targets"][0]["expr"] == query);
        book.as_printed(
            &format!("panel \"{panel}\": `{query}`"),
            Proof::run("in the guide's dashboard, as printed", there, &dashboard)
                .and(Proof::test(ALERTS, FIRE)),
        );
    }
    let metrics = system.metrics();
    let labels =
        r#"embedding_cost_total{agent_id="prod-agent",model="text-embedding-3-small",provider="openai"}"#;
    let labels_of_spare = labels.replace("\"openai\"", "\"spare\"");
    book.as_printed(
        "labels that rules and panels ask for",
        Proof::test(PANELS, "labels_exist").and(Proof::run(
            "`embedding_cost_total` of the live system",
            metrics.contains(labels) || metrics.contains(&labels_of_spare),
            &metrics,
        )),
    );
}
