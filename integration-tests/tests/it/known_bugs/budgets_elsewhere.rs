//! What other gateways do not count at all: providers that nobody charged, tokens that were taken for none, models without a price.

use embermesh_testing::sim::{Api, AwsKeys, DeploymentSpec, Simulator};
use serde_json::{Value, json};

use crate::{
    books,
    money::{
        balances::balance,
        budgets::Budget,
        fleet::{COST, EMBED, EVEN, Fleet, PROVIDER, UNKNOWN, one, text},
        nanos,
    },
    running::{Running, wait_until},
    simulated::{QUIET, SMALL, in_force, yaml},
};

/// maximhq/bifrost#3547: each replica had a budget of its own.
#[tokio::test]
async fn replicas_share_one_budget_of_a_provider_that_embeddings_count_in() {
    let fleet = Fleet::of(2).await;
    let sql = fleet.running.sql().await;
    // BerriAI/litellm#37877: a provider's budget did not count embeddings
    let budget = Budget::create(&fleet.running, "provider", PROVIDER, "day", fleet.spent() + 11 * COST).await;
    let mut admitted = [0, 0];
    for n in 0..20 {
        let answer = fleet.clients[n % 2].post(EMBED, one(&format!("agent-{n}"), &text("in turn", n))).await;
        if answer.status == 200 {
            admitted[n % 2] += 1;
        } else {
            answer.refused(402, "budget_exceeded");
        }
    }
    assert_eq!(admitted, [6, 5]);
    wait_until(|| async { budget.balance(&sql).await.spent == fleet.spent() }).await;
}

/// BerriAI/litellm#35524: a reservation was left out when the cost could not be estimated, so that what had no price was free.
#[tokio::test]
async fn a_model_without_a_price_is_refused_and_not_free() {
    let fleet = Fleet::one().await;
    let model = json!({
        "id": UNKNOWN, "family": "test/even", "native_dimensions": 64, "max_input_tokens": 8191, "max_batch": 10,
        "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "normalized": true, "provider_names": {"openai": EVEN},
        "prices": [{"per_million_tokens_usd": 1.0, "effective_from": "2199-01-01T00:00:00Z", "source": "made up for this test"}],
    });
    let admin = fleet.running.admin();
    admin.post("/api/v1/embedding-models/catalog", model).await.ok();
    in_force().await;
    let body = json!({"agent_id": "bargain", "text": "for nothing", "model": UNKNOWN, "store": false});
    let before = fleet.simulator.calls().len();
    let answer = fleet.clients[0].post(EMBED, body.clone()).await;
    let message = answer.refused(503, "unavailable");
    assert!(message.contains("price"), "{message}");
    assert_eq!(fleet.simulator.calls().len(), before);
    // it is the price that was missing
    let price = json!({"per_million_tokens_usd": 2.0, "source": "made up for this test"});
    admin.post(&format!("/api/v1/embedding-models/catalog/{UNKNOWN}/prices"), price).await.ok();
    wait_until(|| async { fleet.clients[0].post(EMBED, body.clone()).await.status == 200 }).await;
    let other = json!({"agent_id": "bargain", "text": "for something", "model": UNKNOWN, "store": false});
    let answer = fleet.clients[0].post(EMBED, other).await;
    assert!(nanos(answer.header("x-embermesh-cost-usd")) > 0, "{}", answer.body);
}

fn bedrock(simulator: &Simulator) -> String {
    let url = simulator.deployments()[1].base_url();
    format!(
        "bedrock: {{kind: bedrock, base_url: '{url}', region: eu-central-1, access_key_id: AKIASIMULATED, \
         secret_access_key: secret-for-tests, timeout: 5s}}"
    )
}

/// BerriAI/litellm#41750: batches of embeddings at Bedrock were billed at nothing; QuantumNous/new-api#1318: embeddings had no tokens.
#[tokio::test]
async fn every_text_of_a_batch_is_billed_for_its_tokens_in_whatever_form_it_comes() {
    let aws = AwsKeys {
        access_key_id: "AKIASIMULATED".to_owned(),
        secret_access_key: "secret-for-tests".to_owned(),
        session_token: None,
        region: "eu-central-1".to_owned(),
    };
    let specs = [
        DeploymentSpec::named("a-one"),
        DeploymentSpec { aws: Some(aws), ..DeploymentSpec::of(Api::Bedrock, "bedrock") },
    ];
    let simulator = Simulator::start(&specs).await.unwrap();
    let entries = [crate::simulated::entry(&simulator.deployments()[0], &[SMALL], ""), bedrock(&simulator)];
    let running = Running::one(&yaml(&entries, &[QUIET])).await;
    let (client, sql) = (running.agent(), running.sql().await);
    let titan = "titan-embed-text-v2";
    let models = running.admin().get("/api/v1/embedding-models/catalog?page_size=1000").await.ok();
    let price = |id: &str| {
        let model = models["models"].as_array().unwrap().iter().find(|model| model["id"] == id);
        nanos(
            &model.unwrap_or_else(|| panic!("{id}: {models}"))["prices"][0]["per_million_tokens_usd"]
                .to_string(),
        )
    };

    // seven texts, which Titan takes one by one
    let texts: Vec<String> = (0..7).map(|n| format!("text {n} of seven {}", "words ".repeat(n))).collect();
    let answer = client.post("/v1/embeddings", json!({"model": titan, "input": texts})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let calls = simulator.calls();
    let billed: i64 = calls.iter().map(|call| call.tokens as i64).sum();
    assert!(billed > 0 && calls.len() == 7, "{calls:?}");
    assert_eq!(answer.body["usage"]["total_tokens"].as_i64(), Some(billed));
    let each = |tokens: u64| (tokens as i64 * price(titan) + 999_999) / 1_000_000;
    let owed: i64 = calls.iter().map(|call| each(call.tokens)).sum();
    assert_eq!(nanos(answer.header("x-embermesh-cost-usd")), owed);
    books::match_calls(&simulator, &sql).await;
    let spent = balance(&sql, "provider", "bedrock", "day").await;
    assert_eq!(spent.spent, owed);

    // a string, strings, tokens, lists of tokens
    simulator.clear_calls();
    let forms: [Value; 4] = [
        json!("a string alone"),
        json!(["two strings", "and the second"]),
        json!([9906, 1917]),
        json!([[9906, 1917, 0], [1917, 9906]]),
    ];
    for input in forms {
        let seen = simulator.calls().len();
        let answer = client.post("/v1/embeddings", json!({"model": SMALL, "input": input})).await;
        let sent: u64 = simulator.calls()[seen..].iter().map(|call| call.tokens).sum();
        assert!(sent > 0, "{input}");
        assert_eq!(answer.body["usage"]["prompt_tokens"].as_u64(), Some(sent), "{input}: {}", answer.body);
        assert_eq!(nanos(answer.header("x-embermesh-cost-usd")), sent as i64 * 20, "{input}");
        let select = "SELECT coalesce(sum(tokens), 0)::bigint FROM ledger.charges WHERE request_id = $1";
        let request = answer.header("x-request-id").to_owned();
        wait_until(|| async {
            sql.query_one(select, &[&request]).await.unwrap().get::<_, i64>(0) == sent as i64
        })
        .await;
    }
}
