//! Configuration management.

use serde_json::json;

use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump},
};

const PRODUCTION: &str = r#"
embedding:
  providers:
    openai:
      rate_limit:
        requests_per_minute: 3000
        tokens_per_minute: 1000000
    bedrock:
      rate_limit:
        requests_per_minute: 1000

  circuit_breaker:
    failure_threshold: 5
    success_threshold: 3
    timeout: "30s"

  router:
    selection_strategy: "smart"
    cache_ttl: "15m"

  security:
    api_key_rotation:
      enabled: true
      rotation_period: "30d"

    pii_detection:
      enabled: true
      redact_pii: true
"#;

const UPDATE: &str = r#"curl -X PUT http://api.example.com/api/v1/embeddings/agents/prod-agent \
  -H "X-API-Key: admin-key" \
  -H "Content-Type: application/json" \
  -d '{
    "embedding_strategy": "quality",
    "constraints": {
      "max_cost_per_day": 150.0
    }
  }'"#;

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Configuration management");
    blocks(book);
    book.part("Changes at run time");
    let answer = system.sh(&format!("{UPDATE} --silent"));
    let agent = system.running.admin().get("/api/v1/embeddings/agents/prod-agent").await.ok();
    let took = agent.to_string().contains("quality") && agent.to_string().contains("150");
    book.as_printed(
        "`curl -X PUT …/agents/prod-agent` with strategy and daily limit",
        Proof::run("by curl, then the agent is read", answer.ok && took, format!("{}\n{agent}", answer.text))
            .and(Proof::test(
                "integration-tests/tests/it/propagation.rs",
                "an_update_of_an_agent_reaches_three_gateways_and_two_routers_under_load",
            )),
    );
    // the commands after this one need a provider and money
    let back = json!({"embedding_strategy": "smart"});
    system.running.admin().put("/api/v1/embeddings/agents/prod-agent", back).await.ok();
}

fn blocks(book: &mut Book) {
    book.part("production.yaml");
    let loaded = dump(PRODUCTION, &[]);
    let it = |name: &str| format!("integration-tests/tests/it/{name}.rs");
    let rates = "embedding/providers/openai/rate_limit";
    book.as_printed("the block as a whole", loaded.has(&[]));
    book.as_printed(
        "`providers.openai.rate_limit`",
        loaded
            .has(&[
                (&format!("{rates}/requests_per_minute"), "3000"),
                (&format!("{rates}/tokens_per_minute"), "1000000"),
            ])
            .and(Proof::test(
                &it("throttles"),
                "more_requests_than_the_provider_allows_calls_share_calls_and_none_is_refused",
            )),
    );
    book.as_printed(
        "`providers.bedrock.rate_limit`",
        loaded.has(&[("embedding/providers/bedrock/rate_limit/requests_per_minute", "1000")]),
    );
    book.row(
        "`circuit_breaker` of 5 failures, 3 successes, 30s",
        loaded
            .has(&[
                ("embedding/circuit_breaker/failure_threshold", "5"),
                ("embedding/circuit_breaker/success_threshold", "3"),
                ("embedding/circuit_breaker/timeout", "30s"),
            ])
            .and(Proof::test(&it("outage"), "background_errors_open_no_breaker_and_hardly_reach_anybody")),
        Outcome::Improved("joined by a rate and a least volume: five failures in a row are nothing at a thousand calls a second"),
    );
    book.as_printed(
        "`router.selection_strategy: \"smart\"`",
        loaded.has(&[("embedding/router/selection_strategy", "smart")]).and(Proof::test(
            &it("choice"),
            "four_strategies_put_the_same_candidates_into_four_orders_and_say_why",
        )),
    );
    book.as_printed(
        "`router.cache_ttl: \"15m\"`",
        loaded.has(&[("embedding/router/cache_ttl", "15m")]).and(Proof::test(
            &it("run_settings"),
            "the_age_of_cached_vectors_and_emergency_caching_are_turned",
        )),
    );
    book.as_printed(
        "`security.api_key_rotation` every `30d`",
        loaded
            .has(&[
                ("embedding/security/api_key_rotation/enabled", "true"),
                ("embedding/security/api_key_rotation/rotation_period", "30days"),
            ])
            .and(Proof::test(
                &it("key_handover"),
                "a_key_ends_once_its_successor_is_used_and_one_that_nobody_replaces_goes_on",
            )),
    );
    book.as_printed(
        "`security.pii_detection` with `redact_pii`",
        loaded
            .has(&[
                ("embedding/security/pii_detection/enabled", "true"),
                ("embedding/security/pii_detection/redact_pii", "true"),
            ])
            .and(Proof::test(&it("privacy"), "scrub_first_nothing_behind_the_gateway_sees_personal_data")),
    );
}
