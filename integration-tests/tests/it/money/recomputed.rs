//! L4 to L6: the books say the same when they are computed again from what they are made of.

use embermesh_testing::sim::Fault;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{
    balances::quiet,
    fleet::{COST, EMBED, EVEN, Fleet, one, text},
};
use crate::{
    running::Running,
    simulated::{SMALL, in_force},
};

const VERIFY: &str = "/api/v1/reports/costs/verify";

async fn verify(running: &Running) -> Value {
    running.admin().post(VERIFY, json!({})).await.ok()
}

/// Calls of both kinds of prices, shared and alone, answered, failed and lost, and hits.
async fn some_of_everything(fleet: &Fleet) {
    fleet.tally("ada", "one by one", 100, 8).await.exactly(100, 100);
    fleet.simulator.deployments()[0]
        .inject([Fault::ResetAfterRead.at_rate(0.3), Fault::status(500).at_rate(0.2)]);
    fleet.burst("bob", "with losses", 40, 8).await;
    fleet.simulator.deployments()[0].heal();
    fleet.running.admin().post("/api/v1/admin/circuit-breaker/reset", json!({})).await.ok();
    let batch: Vec<Value> = (0..30)
        .map(|n| json!({"agent_id": "cleo", "text": format!("{} of a batch", n % 20), "model": SMALL, "store": false}))
        .collect();
    fleet.clients[0].post("/api/v1/embeddings/batch", json!(batch)).await.ok();
    for _ in 0..3 {
        fleet.clients[0].post(EMBED, one("ada", &text("one by one", 0))).await.ok();
    }
}

#[tokio::test]
async fn l4_l5_verify_finds_no_difference_and_finds_one_that_is_made() {
    let fleet = Fleet::one().await;
    let sql = fleet.running.sql().await;
    some_of_everything(&fleet).await;
    quiet(&sql).await;
    let verified = verify(&fleet.running).await;
    assert_eq!(verified["differences"].as_array().map_or(0, Vec::len), 0, "{verified}");
    let attempts: i64 = count(&sql, "ledger.attempts").await;
    let charges: i64 = count(&sql, "ledger.charges").await;
    assert_eq!(
        (&verified["attempts"], &verified["charges"]),
        (&json!(attempts), &json!(charges)),
        "{verified}"
    );
    assert!(attempts > 50 && verified["balances"].as_u64() > Some(10), "{verified}");
    // each move has as many legs as there are scopes: all of them hold the same sum
    let sums =
        "SELECT DISTINCT sum(spent)::bigint FROM ledger.balances WHERE period = 'month' GROUP BY scope";
    let sums = sql.query(sums, &[]).await.unwrap();
    assert_eq!(sums.len(), 1, "{sums:?}");
    let spent: i64 = sums[0].get(0);
    let amounts = "SELECT sum(amount_nano_usd)::bigint FROM ledger.attempts";
    assert_eq!(sql.query_one(amounts, &[]).await.unwrap().get::<_, i64>(0), spent);

    // a nano-dollar here, a token there
    let wrongs = [
        "UPDATE ledger.balances SET spent = spent + 1 WHERE scope = 'agent' AND subject = 'ada' AND period = 'day'",
        "UPDATE ledger.balances SET reserved = 7 WHERE scope = 'key' AND period = 'month'",
        "UPDATE ledger.attempts SET tokens = tokens + 1000, amount_nano_usd = amount_nano_usd + 1
             WHERE attempt_id = (SELECT attempt_id FROM ledger.attempts WHERE state = 'settled' ORDER BY 1 LIMIT 1)",
        "DELETE FROM ledger.charges
             WHERE charge_id = (SELECT charge_id FROM ledger.charges WHERE amount_nano_usd > 0 ORDER BY 1 DESC LIMIT 1)",
    ];
    for wrong in wrongs {
        let before = verify(&fleet.running).await["differences"].as_array().map_or(0, Vec::len);
        assert_eq!(sql.execute(wrong, &[]).await.unwrap(), 1, "{wrong}");
        let after = verify(&fleet.running).await;
        let found = after["differences"].as_array().map_or(0, Vec::len);
        assert!(found > before, "{wrong} is not found: {after}");
    }
}

/// The price in force is that of the attempt's entry, else of its kind, else of everybody.
const WRONGLY_PRICED: &str = "
    SELECT a.attempt_id::text, a.state, a.amount_nano_usd, a.price_per_million_nano_usd, p.price
    FROM ledger.attempts a CROSS JOIN LATERAL (
        SELECT per_million_tokens_nano_usd AS price FROM admin.prices
        WHERE model_id = a.model AND effective_from <= a.created_at AND provider IN (a.provider, 'openai', '')
        ORDER BY array_position(ARRAY[a.provider, 'openai', ''], provider), effective_from DESC LIMIT 1) p
    WHERE a.price_per_million_nano_usd <> p.price
       OR a.amount_nano_usd IS DISTINCT FROM CASE a.state
            WHEN 'settled' THEN ceil(coalesce(a.billed_units, a.tokens)::numeric * p.price / 1000000)::bigint
            WHEN 'presumed' THEN a.reserved_nano_usd
            WHEN 'voided' THEN 0 END";

#[tokio::test]
async fn l6_every_cost_is_its_tokens_at_the_price_that_was_in_force_rounded_up() {
    let fleet = Fleet::one().await;
    let (sql, admin) = (fleet.running.sql().await, fleet.running.admin());
    some_of_everything(&fleet).await;
    // a third of a nano-dollar more a token, and half the price a character at this entry; dearer ones only next year
    let prices = [
        (SMALL, json!({"per_million_tokens_usd": 0.020333333, "source": "made up for this test"})),
        (
            EVEN,
            json!({"per_million_tokens_usd": 0.5, "unit": "characters", "provider": super::fleet::PROVIDER, "source": "made up for this test"}),
        ),
        (
            SMALL,
            json!({"per_million_tokens_usd": 9, "effective_from": "2199-01-01T00:00:00Z", "source": "made up for this test"}),
        ),
    ];
    for (model, price) in prices {
        admin.post(&format!("/api/v1/embedding-models/catalog/{model}/prices"), price).await.ok();
    }
    in_force().await;
    in_force().await;
    let answers = fleet.burst("ada", "cheaper", 40, 8).await;
    for answer in answers {
        assert_eq!(super::nanos(answer.header("x-embermesh-cost-usd")), COST / 2, "{}", answer.body);
    }
    let body = |n: usize| json!({"agent_id": "ada", "text": format!("{n} {}", "word ".repeat(n)), "model": SMALL, "store": false});
    for n in 0..20 {
        fleet.clients[0].post(EMBED, body(n)).await.ok();
    }
    quiet(&sql).await;
    let wrong = sql.query(WRONGLY_PRICED, &[]).await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    let prices = "(SELECT DISTINCT model, price_per_million_nano_usd FROM ledger.attempts) priced";
    assert_eq!(count(&sql, prices).await, 4, "both prices of both models");
    let rounded =
        "ledger.attempts WHERE state = 'settled' AND tokens * price_per_million_nano_usd % 1000000 <> 0";
    assert!(count(&sql, rounded).await > 0, "nothing had to be rounded");
    // and it can fail
    let other = "UPDATE ledger.attempts SET amount_nano_usd = amount_nano_usd - 1
                 WHERE attempt_id = (SELECT attempt_id FROM ledger.attempts WHERE state = 'settled' LIMIT 1)";
    assert_eq!(sql.execute(other, &[]).await.unwrap(), 1);
    assert_eq!(sql.query(WRONGLY_PRICED, &[]).await.unwrap().len(), 1);
}

async fn count(sql: &Client, from: &str) -> i64 {
    sql.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get(0)
}
