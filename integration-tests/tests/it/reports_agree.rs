//! Everybody who is told what was spent is told the same, to the nano-dollar: the guide's query, reports in every grouping, as JSON and
//! as CSV, costs by agent, costs of each agent, and the command line.

use std::{collections::BTreeMap, process::Command};

use embermesh_proto::v1::{AgentCosts, BooksVerified, CostReport, CostsByAgent};
use serde::de::DeserializeOwned;

use crate::running::{Running, bin};

/// `EMBERMESH_TEST_ATTEMPTS` says otherwise.
const ATTEMPTS: i64 = 100_000;

/// Attempts of the last 20 hours as the ledger writes them: most of one request and settled, some shared by two, some voided, some
/// presumed, at prices that leave something to round up; then cache hits, and the balances that all of it comes to.
const RANDOM_BOOKS: &str = r"
SET search_path = ledger;
SELECT setseed(0.42);
CREATE TEMP TABLE made AS
SELECT n, gen_random_uuid() AS id, now() - random() * interval '20 hours' AS at,
       (ARRAY['settled', 'settled', 'settled', 'settled', 'settled', 'shared', 'shared', 'voided', 'presumed', 'settled'])
           [1 + floor(random() * 10)::int] AS kind,
       'agent-' || floor(97 * random() * random())::int AS agent, 'key-' || floor(random() * 5)::int AS key,
       'provider-' || floor(random() * 3)::int AS provider, 'model-' || floor(random() * 7)::int AS model,
       (ARRAY[20000000, 130000000, 100000001, 13, 7777777777])[1 + floor(random() * 5)::int]::bigint AS price,
       (1 + floor(random() * 8000))::bigint AS tokens
FROM generate_series(1, ATTEMPTS) AS n;
ALTER TABLE made ADD COLUMN cost bigint;
UPDATE made SET cost = CASE kind WHEN 'voided' THEN 0 ELSE ceil(tokens::numeric * price * 0.000001) END;
INSERT INTO attempts (tenant_id, attempt_id, created_at, agent_id, key_id, request_id, provider, deployment, model, space_id, state,
    reserved_nano_usd, amount_nano_usd, tokens_bound, tokens, price_per_million_nano_usd, day, reserved_at, settled_at, inputs)
SELECT 'TENANT'::uuid, id, at, CASE kind WHEN 'shared' THEN NULL ELSE agent END, CASE kind WHEN 'shared' THEN NULL ELSE key END,
    CASE kind WHEN 'shared' THEN NULL ELSE 'request-' || n END, provider, provider, model, 'acme/small@8',
    CASE kind WHEN 'shared' THEN 'settled' ELSE kind END,
    CASE kind WHEN 'presumed' THEN cost WHEN 'shared' THEN 2 * (cost + 5) ELSE cost + 5 END, cost, tokens + 9,
    CASE kind WHEN 'voided' THEN 0 ELSE tokens END, price, (at AT TIME ZONE 'UTC')::date, at, at, 2
FROM made;
INSERT INTO attempt_parts (tenant_id, attempt_id, created_at, part, request_id, agent_id, key_id, asked_nano_usd, tokens_bound, inputs)
SELECT 'TENANT'::uuid, id, at, part, 'request-' || n || '-' || part, CASE part WHEN 0 THEN agent ELSE 'agent-' || (n % 97) END, key,
    cost + 5, tokens + 9, 1
FROM made, generate_series(0, 1) AS part WHERE kind = 'shared';
INSERT INTO charges (tenant_id, charge_id, created_at, day, attempt_id, request_id, agent_id, key_id, provider, model, tokens, inputs,
    amount_nano_usd, presumed)
SELECT 'TENANT'::uuid, gen_random_uuid(), at, (at AT TIME ZONE 'UTC')::date, id, 'request-' || n, agent, key, provider, model, tokens, 2, cost,
    kind = 'presumed'
FROM made WHERE kind IN ('settled', 'presumed')
UNION ALL
SELECT 'TENANT'::uuid, gen_random_uuid(), at, (at AT TIME ZONE 'UTC')::date, id, 'request-' || n || '-' || part,
    CASE part WHEN 0 THEN agent ELSE 'agent-' || (n % 97) END, key, provider, model,
    CASE part WHEN 0 THEN tokens / 3 ELSE tokens - tokens / 3 END, 1, CASE part WHEN 0 THEN cost / 3 ELSE cost - cost / 3 END, false
FROM made, generate_series(0, 1) AS part WHERE kind = 'shared';
INSERT INTO charges (tenant_id, charge_id, created_at, day, request_id, agent_id, key_id, provider, model, tokens, inputs, amount_nano_usd,
    saved_nano_usd)
SELECT 'TENANT'::uuid, gen_random_uuid(), at, (at AT TIME ZONE 'UTC')::date, 'hit-' || n, agent, key, provider, model, tokens, 1, 0, cost
FROM made WHERE n % 10 = 0;
INSERT INTO balances (tenant_id, scope, subject, period, period_start, spent)
SELECT 'TENANT'::uuid, scope, subject, period, start, sum(amount_nano_usd)
FROM charges,
    LATERAL (VALUES ('tenant', ''), ('agent', agent_id), ('key', key_id), ('provider', provider)) AS account (scope, subject),
    LATERAL (VALUES ('day', day), ('month', date_trunc('month', day::timestamp)::date)) AS span (period, start)
WHERE amount_nano_usd > 0
GROUP BY 1, 2, 3, 4, 5;
ANALYZE attempts; ANALYZE charges; ANALYZE attempt_parts;
";

/// As printed.
const GUIDE: &str = "SELECT agent_id,
       SUM(cost_usd) as total_cost,
       COUNT(*) as request_count
FROM embedding_metrics
WHERE created_at > NOW() - INTERVAL '24 hours'
GROUP BY agent_id
ORDER BY total_cost DESC";

type Costs = BTreeMap<String, i64>;

/// The exact decimal digits of nano-USD, as everybody writes them.
fn nanos(usd: &str) -> i64 {
    let (whole, fraction) = usd.split_once('.').unwrap_or((usd, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

async fn text(running: &Running, path: &str) -> String {
    let answer = reqwest::Client::new()
        .get(format!("{}{path}", running.url))
        .header("x-api-key", running.keys["admin_key"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.text().await.unwrap()
}

/// The contracts' own types: their money is read by its digits.
async fn get<T: DeserializeOwned>(running: &Running, path: &str) -> T {
    let text = text(running, path).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
}

fn csv(text: &str) -> Costs {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("agent,cost_usd,request_count,tokens_used,cached_count"));
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[0].to_owned(), nanos(fields[1]))
        })
        .collect()
}

#[tokio::test]
async fn reports_of_100_000_random_attempts_agree_to_the_nano_dollar() {
    let running = Running::one("").await;
    let sql = running.sql().await;
    let attempts = std::env::var("EMBERMESH_TEST_ATTEMPTS").map_or(ATTEMPTS, |count| count.parse().unwrap());
    let books = RANDOM_BOOKS.replace("ATTEMPTS", &attempts.to_string());
    let books = books.replace("TENANT", running.keys["tenant_id"].as_str().unwrap());
    sql.batch_execute(&books).await.unwrap();

    sql.batch_execute("SET ROLE embermesh_operator; SET search_path = store, ledger, admin").await.unwrap();
    let rows = sql.query(&format!("SELECT agent_id, total_cost::text FROM ({GUIDE}) AS guide"), &[]).await;
    let guide: Costs = rows.unwrap().iter().map(|row| (row.get(0), nanos(row.get(1)))).collect();
    let total: i64 = guide.values().sum();
    assert!(guide.len() > 50 && total > attempts * 1000, "{guide:?}");

    let report: CostReport = get(&running, "/api/v1/reports/costs").await;
    let by_row: Costs = report.rows.iter().map(|row| (row.key.clone(), row.cost_nano_usd)).collect();
    assert_eq!(by_row, guide);
    assert_eq!(report.total_cost_nano_usd, total);
    assert!(report.saved_nano_usd > 0);
    for group_by in ["model", "provider", "day", "hour", "key"] {
        let path = format!("/api/v1/reports/costs?group_by={group_by}");
        let grouped: CostReport = get(&running, &path).await;
        // late in the day all of it is today's
        let least = if group_by == "day" { 1 } else { 2 };
        assert!(grouped.rows.len() >= least, "{group_by}");
        let sum: i64 = grouped.rows.iter().map(|row| row.cost_nano_usd).sum();
        assert_eq!((sum, grouped.saved_nano_usd), (total, report.saved_nano_usd), "{group_by}");
        let requests: u64 = grouped.rows.iter().map(|row| row.request_count).sum();
        let cached: u64 = grouped.rows.iter().map(|row| row.cached_count).sum();
        assert!(requests > 0 && cached == report.rows.iter().map(|row| row.cached_count).sum::<u64>());
    }

    assert_eq!(csv(&text(&running, "/api/v1/reports/costs?format=csv").await), guide);
    let by_agent: CostsByAgent = get(&running, "/api/v1/metrics/costs/by-agent").await;
    let by_agent: Costs =
        by_agent.agents.into_iter().map(|agent| (agent.agent_id, agent.total_cost_nano_usd)).collect();
    assert_eq!(by_agent, guide);
    for (agent, cost) in &guide {
        // today and yesterday, whatever the time is
        let path = format!("/api/v1/embeddings/agents/{agent}/costs?period_days=2");
        let costs: AgentCosts = get(&running, &path).await;
        assert_eq!(costs.total_cost_nano_usd, *cost, "{agent}");
        for parts in [&costs.by_provider, &costs.by_model, &costs.by_day] {
            assert_eq!(parts.values().sum::<i64>(), *cost, "{agent}");
        }
    }

    let costs = |arguments: &[&str]| {
        let mut command = Command::new(bin("embermesh"));
        command.arg("costs").args(arguments).arg("--data-dir").arg(&running.dir);
        let output = command.env("EMBERMESH_URL", &running.url).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, printed) = costs(&["report", "--csv"]);
    assert_eq!((code, csv(&printed)), (Some(0), guide));
    let (code, verified) = costs(&["verify", "--json"]);
    let verified: BooksVerified = serde_json::from_str(&verified).unwrap();
    assert_eq!(code, Some(0), "{:?}", verified.differences);
    assert_eq!(verified.attempts, u64::try_from(attempts).unwrap());

    // a nano-dollar is found wherever it went
    sql.batch_execute("RESET ROLE; UPDATE ledger.balances SET spent = spent + 1 WHERE scope = 'provider'")
        .await
        .unwrap();
    let (code, said) = costs(&["verify"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("balance.spent") && said.contains("provider provider-0 day"), "{said}");
}
