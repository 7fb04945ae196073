//! Troubleshooting.

use embermesh_testing::sim::Fault;
use serde_json::json;

use super::extension::SLOW;
use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump},
};
use crate::running::wait_until;

const DEBUG: &str = "
# Enable debug logging for specific components
logging:
  level: info
  components:
    embedding.router: debug
    embedding.provider.openai: debug
    embedding.circuit_breaker: debug
";

const COST: &str = "-- Check cost by agent
SELECT agent_id,
       SUM(cost_usd) as total_cost,
       COUNT(*) as request_count
FROM embedding_metrics
WHERE created_at > NOW() - INTERVAL '24 hours'
GROUP BY agent_id
ORDER BY total_cost DESC;";

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Troubleshooting");
    latency(book, system).await;
    failures(book, system).await;
    costs(book, system).await;
    logging(book);
}

fn it(name: &str) -> String {
    format!("integration-tests/tests/it/{name}.rs")
}

async fn latency(book: &mut Book, system: &System) {
    book.part("High latency");
    book.row(
        "`curl http://localhost:8081/api/v1/embeddings/providers/health`",
        system.curl("curl http://localhost:8081/api/v1/embeddings/providers/health", |answer| {
            answer["providers"]["openai"]["latency_ms"].is_number()
                && answer["providers"]["openai"]["circuit_breaker_state"] == "closed"
        }),
        Outcome::Improved("it asks for a key, because tenants come from keys; it makes no paid call"),
    );
    let sql = system.running.sql().await;
    let refused = sql.batch_execute(SLOW).await.err().map(|error| format!("{error:?}")).unwrap_or_default();
    book.row(
        "slow queries, from `pg_stat_statements`",
        Proof::test(
            "integration-tests/tests/it/guide/extension.rs",
            "slow_queries_amcheck_and_required_tls_work_where_postgresql_has_them",
        )
        .and(Proof::run(
            "the embedded PostgreSQL has no such relation",
            refused.contains("pg_stat_statements"),
            &refused,
        )),
        Outcome::Improved("`db_query_duration_seconds` tells it by operation, of every PostgreSQL; the query needs the extension"),
    );
    let kubectl = Outcome::NotHere("no cluster; the autoscaler does it, `kubectl scale` too");
    book.row(
        "more API servers",
        Proof::test(
            &it("propagation"),
            "an_update_of_an_agent_reaches_three_gateways_and_two_routers_under_load",
        ),
        kubectl,
    );
    book.row(
        "read replicas for the database",
        dump("database: {read_replica_pool: {max_open_conns: 200}}", &[])
            .has(&[("database/read_replica_pool/max_open_conns", "200")])
            .and(Proof::test(
                "integration-tests/tests/it/replicas.rs",
                "whoever_names_its_write_sees_it_and_whoever_does_not_gets_an_answer",
            )),
        Outcome::Improved("the block needs `urls`"),
    );
    let longer = system.embermesh(&["settings", "set", "cache.ttl=1h"]);
    let back = system.embermesh(&["settings", "clear", "cache"]);
    book.as_printed(
        "a longer TTL of the cache",
        longer
            .proves("`embermesh settings set cache.ttl=1h`", "1h")
            .and(back.proves("`settings clear cache`", ""))
            .and(Proof::test(
                &it("run_settings"),
                "the_age_of_cached_vectors_and_emergency_caching_are_turned",
            )),
    );
    let preference = json!({"model_preferences": [{"task_type": "general_qa", "primary_models": ["text-embedding-3-small"]}], "constraints": {"preferred_dimensions": 512}});
    let answer = system.running.admin().put("/api/v1/embeddings/agents/smaller", preference).await;
    book.row(
        "smaller models",
        Proof::run("`model_preferences` and `preferred_dimensions` of an agent", answer.status < 300, &answer.body)
            .and(Proof::test(&it("providers"), "spaces_never_mix_an_agent_stays_in_the_space_of_its_first_embedding")),
        Outcome::Improved("for new agents; rows that are there stay in their space, and are never compared with those of another"),
    );
}

async fn failures(book: &mut Book, system: &System) {
    book.part("Failing providers");
    let failing = system.simulator.deployment("openai").unwrap();
    failing.inject([Fault::status(401).forever()]);
    let refused = system.embermesh(&["providers", "check", "openai", "--json"]);
    book.as_printed(
        "keys of providers are valid",
        Proof::run(
            "`embermesh providers check openai`, of a provider that refuses the key",
            refused.text.contains("\"healthy\":false") && refused.text.contains("401"),
            &refused.text,
        ),
    );
    failing.heal();
    system.running.admin().post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    let health = system.embermesh(&["providers", "health"]);
    book.as_printed(
        "status of the provider's service",
        health.proves("`embermesh providers health`", "openai"),
    );
    book.row(
        "`kubectl logs -l app=embedding-api | grep ERROR`",
        Proof::test("integration-tests/tests/it/deployment/manifests.py", "the_guides_names_are_there"),
        Outcome::NotHere("no cluster; the label is there, `-n developer-mesh` and `--tail=-1` have to be said, and `ERROR` is in each such line"),
    );
    let breakers = || system.sh("curl --silent http://localhost:8081/metrics | grep circuit_breaker");
    wait_until(|| async { breakers().text.contains("circuit_breaker_state{") }).await;
    book.as_printed(
        "`curl http://localhost:8081/metrics | grep circuit_breaker`",
        breakers().proves("as printed, without a key from loopback", "state=\"closed\""),
    );
    let higher = system.embermesh(&["settings", "set", "circuit_breaker.failure_threshold=10"]);
    system.embermesh(&["settings", "clear", "circuit_breaker"]);
    book.as_printed(
        "higher thresholds of breakers",
        higher
            .proves("`embermesh settings set circuit_breaker.failure_threshold=10`", "10")
            .and(Proof::test(&it("run_settings"), "the_thresholds_of_breakers_are_turned")),
    );
    book.as_printed(
        "more providers to fall back to",
        Proof::test(
            &it("runtime_providers"),
            "a_provider_comes_changes_its_credential_and_goes_under_load_without_a_failed_request",
        ),
    );
}

async fn costs(book: &mut Book, system: &System) {
    book.part("Cost overruns");
    wait_until(|| async { !system.psql(COST).await.is_empty() }).await;
    let lines = system.psql(COST).await;
    book.as_printed(
        "cost by agent, from `embedding_metrics`",
        Proof::run(
            "in psql as `embermesh_operator`",
            lines.iter().any(|line| line.starts_with("prod-agent|")),
            lines.join("\n"),
        )
        .and(Proof::test(
            &it("reports_agree"),
            "reports_of_100_000_random_attempts_agree_to_the_nano_dollar",
        )),
    );
    book.as_printed(
        "lower limits of agents",
        Proof::test(&it("money"), "a_spent_day_budget_refuses_before_the_provider_is_called"),
    );
    let cheap = system
        .running
        .admin()
        .put("/api/v1/embeddings/agents/cheaper", json!({"embedding_strategy": "cost"}))
        .await;
    book.as_printed(
        "cheaper models",
        Proof::run("`embedding_strategy: cost` of an agent", cheap.status < 300, &cheap.body).and(
            Proof::test(
                &it("choice"),
                "four_strategies_put_the_same_candidates_into_four_orders_and_say_why",
            ),
        ),
    );
    let emergency = system.embermesh(&["settings", "set", "cache.emergency=true"]);
    system.embermesh(&["settings", "clear", "cache"]);
    book.as_printed(
        "more caching",
        emergency.proves("`embermesh settings set cache.emergency=true`", "true").and(Proof::test(
            &it("run_settings"),
            "the_age_of_cached_vectors_and_emergency_caching_are_turned",
        )),
    );
    book.as_printed(
        "requests are throttled",
        Proof::test(&it("throttles"), "an_agents_own_rates_are_refused_with_the_time_to_wait"),
    );
}

fn logging(book: &mut Book) {
    book.part("Debug logging");
    let loaded = dump(DEBUG, &[]);
    let of = |component: &str| format!("logging/components/{component}");
    let turned = || {
        Proof::test(
            &it("run_settings"),
            "the_log_level_of_five_processes_is_turned_and_outlives_a_restart_without_admin",
        )
    };
    book.as_printed("`logging.level: info`", loaded.has(&[("logging/level", "info")]).and(turned()));
    for component in ["embedding.router", "embedding.provider.openai", "embedding.circuit_breaker"] {
        book.as_printed(
            &format!("`logging.components`: `{component}: debug`"),
            loaded
                .has(&[(&of(component), "debug")])
                .and(Proof::test("crates/telemetry/src/logs.rs", "the_guides_components_load")),
        );
    }
}
