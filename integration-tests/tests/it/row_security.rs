//! The last line between tenants: what the database itself shows when every line of the services is wrong.

use std::collections::BTreeSet;

use serde_json::json;
use tokio_postgres::error::SqlState;

use crate::{
    books,
    providers::two_deployments,
    tenants::{AGENT, AGENTS, Tenant},
};

/// What only some requests leave behind, for every tenant: a call that several shared, a lease, a budget that is nearly used up, an answer
/// under a key, an anchor of the audit chain, an order to clear a cache, a job, the use of a row, a migration and what it could not embed,
/// a promotion, an archived row.
const RARE_ROWS: [&str; 14] = [
    "INSERT INTO ledger.attempt_parts
         (tenant_id, attempt_id, created_at, part, request_id, agent_id, key_id, asked_nano_usd, tokens_bound, inputs)
     SELECT tenant_id, attempt_id, created_at, 0, 'r', 'a', 'k', 0, 0, 1 FROM ledger.attempts",
    "INSERT INTO ledger.leases
         (tenant_id, lease_id, session_id, agent_id, key_id, provider, day, granted, returned, state, granted_at)
     SELECT tenant_id, gen_random_uuid(), gen_random_uuid(), 'a', 'k', 'p', now()::date, 1, 1, 'closed', now()
     FROM admin.tenants",
    "INSERT INTO ledger.budget_alerts
         (tenant_id, scope, subject, period, period_start, percent, limit_nano_usd, used_nano_usd, reached_at)
     SELECT tenant_id, 'tenant', '', 'month', now()::date, 80, 10, 9, now() FROM admin.tenants",
    "INSERT INTO store.answers
         (tenant_id, shard_key, agent_id, key, body_hash, holder, created_at, locked_until, embedding_ids)
     SELECT tenant_id, 0, '', 'k', sha256('b'), gen_random_uuid(), now(), now(), '{}' FROM admin.tenants",
    "INSERT INTO admin.audit_anchors (tenant_id, number, hash, anchored_at, public_key, signature)
     SELECT tenant_id, 1, sha256(''), now(), sha256('k'), sha256('') || sha256('') FROM admin.tenants",
    "INSERT INTO admin.api_requests
         (tenant_id, api_key_id, user_id, method, endpoint, status, cost_usd, created_at, share)
     SELECT tenant_id, 'k', 'a', 'GET', '/', 200, 0, now(), 1 FROM admin.tenants",
    "INSERT INTO admin.api_request_journals (tenant_id, session_id, last_batch, kept_at)
     SELECT tenant_id, gen_random_uuid(), 1, now() FROM admin.tenants",
    "INSERT INTO admin.cache_clears (tenant_id, agent_id, space_id, number, ordered_by, ordered_at)
     SELECT tenant_id, '', '', 1, 'k', now() FROM admin.tenants",
    "INSERT INTO store.jobs (tenant_id, shard_key, job_id, kind, request, state, created_at)
     SELECT tenant_id, 0, gen_random_uuid(), 'warm', '{}', 'done', now() FROM admin.tenants",
    "INSERT INTO store.row_uses (tenant_id, shard_key, embedding_id, space_no, agent_id, uses, last_used)
     SELECT tenant_id, 0, gen_random_uuid(), 1, 'a', 1, now() FROM admin.tenants",
    "INSERT INTO store.migrations (tenant_id, shard_key, migration_id, agent_id, from_space, to_space, to_model, key_id, state,
         on_too_long, min_overlap, requests_per_minute, tokens_per_minute, estimated_rows, estimated_tokens,
         estimated_cost_nano_usd, rows_there, rows_left, created_at)
     SELECT tenant_id, 0, gen_random_uuid(), '', 1, 1, 'm', 'k', 'finished', 'error', 0, 1, 1, 0, 0, 0, 0, 0, now()
     FROM admin.tenants",
    "INSERT INTO store.migration_failures
         (tenant_id, shard_key, migration_id, embedding_id, code, message, failed_at)
     SELECT tenant_id, 0, gen_random_uuid(), gen_random_uuid(), 'c', 'm', now() FROM admin.tenants",
    "INSERT INTO store.promoted_tenants (tenant_id, shard_key, space_no, promoted_at)
     SELECT tenant_id, 0, 1, now() FROM admin.tenants",
    "INSERT INTO store.embeddings_archive SELECT * FROM store.embeddings",
];

#[tokio::test]
async fn the_database_itself_shows_rows_to_their_tenant_alone() {
    let (_simulator, running) = two_deployments("").await;
    let (one, two) = (Tenant::first(&running), Tenant::second(&running).await);
    for tenant in [&one, &two] {
        tenant.embed("the same words in both").await;
        tenant.admin.put(&format!("{AGENTS}/{AGENT}"), json!({"embedding_strategy": "cost"})).await.ok();
        let budget = json!({"scope": "tenant", "period": "month", "limit_usd": 1000});
        tenant.admin.post("/api/v1/admin/budgets", budget).await.ok();
        tenant.admin.put("/api/v1/admin/policies/pii", json!({"action": "detect"})).await.ok();
    }
    let sql = running.sql().await;
    books::ended(&sql, 2).await;
    for rows in RARE_ROWS {
        sql.execute(rows, &[]).await.unwrap();
    }
    // partitions have no policies of their own: nobody but the owner may reach them directly
    let tables = "SELECT format('%I.%I', n.nspname, c.relname), c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
                         EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid),
                         has_table_privilege('embermesh_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
                           OR has_any_column_privilege('embermesh_app', c.oid, 'SELECT, INSERT, UPDATE')
                  FROM information_schema.columns i
                  JOIN pg_namespace n ON n.nspname = i.table_schema
                  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = i.table_name AND c.relkind IN ('r', 'p')
                  WHERE i.table_schema IN ('store', 'ledger', 'admin') AND i.column_name = 'tenant_id'";
    let mut guarded = BTreeSet::new();
    for row in sql.query(tables, &[]).await.unwrap() {
        let (name, reachable): (String, bool) = (row.get(0), row.get(5));
        if row.get(1) {
            assert!(
                !reachable,
                "the application reaches the partition {name} past the policies of its table"
            );
            continue;
        }
        let [enabled, forced, policy] = [2, 3, 4].map(|column| row.get::<_, bool>(column));
        assert!(enabled && forced && policy, "{name}: enabled {enabled}, forced {forced}, policy {policy}");
        assert!(reachable, "{name} is of no use to the application");
        guarded.insert(name);
    }
    let expected = [
        "admin.agent_versions",
        "admin.agents",
        "admin.api_keys",
        "admin.api_request_journals",
        "admin.api_requests",
        "admin.audit_anchors",
        "admin.audit_records",
        "admin.budgets",
        "admin.cache_clears",
        "admin.changes",
        "admin.pii_policies",
        "admin.pins",
        "admin.tenants",
        "ledger.attempt_parts",
        "ledger.attempts",
        "ledger.balances",
        "ledger.budget_alerts",
        "ledger.charges",
        "ledger.leases",
        "store.answers",
        "store.embedding_keys",
        "store.embeddings_archive",
        "store.jobs",
        "store.migration_failures",
        "store.migrations",
        "store.promoted_tenants",
        "store.row_uses",
        "store.space_1",
    ];
    assert!(expected.iter().all(|name| guarded.contains(*name)), "{guarded:?}");

    let counts = async |table: &str| -> (i64, i64) {
        let count = format!(
            "SELECT count(*), count(*) FILTER (WHERE tenant_id IS DISTINCT FROM
                 nullif(current_setting('app.tenant', true), '')::uuid) FROM {table}"
        );
        let row = sql.query_one(&count, &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    for table in &guarded {
        let (all, _) = counts(table).await;
        assert!(all >= 2, "{table} holds nothing that could be hidden");
    }
    sql.batch_execute("SET ROLE embermesh_app").await.unwrap();
    for table in &guarded {
        assert_eq!(counts(table).await.0, 0, "{table} without a tenant");
    }
    for tenant in [&one, &two] {
        sql.execute("SELECT set_config('app.tenant', $1, false)", &[&tenant.id]).await.unwrap();
        for table in &guarded {
            let (own, foreign) = counts(table).await;
            assert!(own > 0 && foreign == 0, "{table}: {own} rows, {foreign} of others");
        }
    }
    // nor may one write in the other's name
    sql.execute("SELECT set_config('app.tenant', $1, false)", &[&one.id]).await.unwrap();
    let insert = "INSERT INTO ledger.balances
                      (tenant_id, scope, subject, period, period_start, spent, reserved, leased, presumed)
                  VALUES ($1::text::uuid, 'agent', 'thief', 'day', '2026-01-01', 0, 0, 0, 0)";
    let error = sql.execute(insert, &[&two.id]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
    sql.execute(insert, &[&one.id]).await.unwrap();
}
