//! Disaster recovery: backups, procedures, runbooks.

use embermesh_testing::sim::Fault;
use serde_json::json;

use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump},
};

const BACKUP: &str = r#"
backup:
  postgres:
    schedule: "0 2 * * *"  # 2 AM daily
    retention: 30  # days
    method: pg_dump
    storage: s3://backups/embeddings/

  redis:
    schedule: "0 * * * *"  # Hourly
    retention: 7  # days
    method: bgsave
    storage: s3://backups/redis/
"#;

/// Into a second database, so that the system runs on; nothing of it is left.
const RESTORE: &str = r#"
psql -h $DB_HOST -U $DB_USER -d embeddings --quiet -c 'CREATE DATABASE guide_restored'
there="$(echo "$DATABASE_URL" | sed 's#/[^/]*$#/guide_restored#')"
pg_dump --format=custom --file=embeddings.dump "$DATABASE_URL"
pg_restore --dbname="$there" embeddings.dump
psql --no-psqlrc --quiet "$there" << EOF
REINDEX DATABASE guide_restored;
ANALYZE;
EOF
before="$(psql --no-psqlrc -At "$DATABASE_URL" -c 'SELECT count(*) FROM embeddings')"
after="$(psql --no-psqlrc -At "$there" -c 'SELECT count(*) FROM embeddings')"
psql -h $DB_HOST -U $DB_USER -d embeddings --quiet -c 'DROP DATABASE guide_restored'
[ "$before" = "$after" ] && [ "$before" != 0 ] && echo "restored $after rows"
"#;

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Disaster recovery");
    backups(book, system);
    provider(book, system).await;
    database(book, system);
    cache(book, system);
    expensive(book, system).await;
    slow(book, system);
}

fn it(name: &str) -> String {
    format!("integration-tests/tests/it/{name}.rs")
}

/// PostgreSQL's own programs write the database out and read it back into another.
pub fn dump_and_restore(system: &System) -> Proof {
    // once is enough, though several items are about it
    let said = system.restored.get_or_init(|| system.sh(RESTORE));
    said.proves("`pg_dump`, then `pg_restore` into another database", "restored")
}

fn backups(book: &mut Book, system: &System) {
    book.part("Backups");
    let loaded = dump(BACKUP, &[]);
    for (store, schedule, retention, method, storage) in [
        ("postgres", "0 2 * * *", "30", "pg_dump", "s3://backups/embeddings/"),
        ("redis", "0 * * * *", "7", "bgsave", "s3://backups/redis/"),
    ] {
        let all =
            [("schedule", schedule), ("retention", retention), ("method", method), ("storage", storage)];
        let has = |text: &str| loaded.text.contains(text);
        let seen = all
            .iter()
            .all(|(key, value)| has(&format!("{key}: {value}")) || has(&format!("{key}: '{value}'")));
        book.row(
            &format!("`backup.{store}`: `{schedule}`, {retention} days, `{method}`, `{storage}`"),
            Proof::run("`--dump-config`", loaded.ok && seen, &loaded.text)
                .and(Proof::test(
                    "integration-tests/tests/it/backup/kinds.rs",
                    "dumps_and_snapshots_come_back_whole_or_not_at_all",
                ))
                .and(Proof::test(
                    "integration-tests/tests/it/backup/s3.rs",
                    "a_bucket_keeps_what_a_folder_keeps",
                )),
            Outcome::Improved("base backups and the archived log beside it: a dump alone loses up to a day"),
        );
    }
    let saved = system.redis.cli(&["BGSAVE"]);
    book.row(
        "method `bgsave`",
        Proof::run("`redis-cli BGSAVE`", saved.contains("saving") || saved.contains("Saving"), &saved),
        Outcome::Improved("not needed: nothing in Redis has to outlive anything"),
    );
}

async fn provider(book: &mut Book, system: &System) {
    book.part("A provider fails");
    book.as_printed(
        "the breaker opens by itself",
        Proof::test(
            "integration-tests/tests/it/guide/alerts.rs",
            "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something",
        ),
    );
    let openai = system.simulator.deployment("openai").unwrap();
    openai.inject([Fault::status(503).forever()]);
    let mut statuses = Vec::new();
    for n in 0..20 {
        statuses.push(system.embed(&format!("while openai is down {n}")).await);
    }
    let fine = statuses.iter().all(|status| *status == 200);
    book.row(
        "requests go to fallback providers",
        Proof::run("20 requests while `openai` answers 503", fine, format!("{statuses:?}")).and(Proof::test(
            &it("outage"),
            "while_one_of_two_is_down_no_request_fails_and_the_dead_one_is_left_alone",
        )),
        Outcome::Improved(
            "to deployments of the same embedding space: vectors of two models are never mixed",
        ),
    );
    openai.heal();
    let watched = system.embermesh(&["providers", "health", "--json"]);
    // its exit code is 1 while one is unhealthy
    let shown = watched.text.contains("\"circuit_breaker_state\"");
    book.as_printed("recovery is watched", Proof::run("`embermesh providers health`", shown, &watched.text));
    let admin = "http://localhost:8081/api/v1/admin";
    book.row(
        "`curl -X POST …/admin/providers/openai/health-check`",
        system
            .curl(&format!("curl -X POST {admin}/providers/openai/health-check"), |answer| {
                answer["provider"] == "openai" && answer["deployments"][0]["healthy"] == true
            })
            .and(Proof::test(
                &it("two_routers"),
                "a_health_check_is_one_small_call_a_deployment_that_the_system_pays_for",
            )),
        Outcome::Improved("it asks for a key"),
    );
    book.row(
        "`curl -X POST …/admin/circuit-breaker/reset`",
        system
            .curl(&format!("curl -X POST {admin}/circuit-breaker/reset"), |answer| answer["reset"].is_array())
            .and(Proof::test(&it("two_routers"), "an_operators_word_about_a_breaker_reaches_both_routers")),
        Outcome::Improved("it asks for a key, and reaches every router"),
    );
}

fn database(book: &mut Book, system: &System) {
    book.part("The database is lost");
    book.as_printed("`pg_restore … /backups/embeddings_20240115.dump`", dump_and_restore(system));
    book.row(
        "`REINDEX DATABASE embeddings;`",
        dump_and_restore(system),
        Outcome::Improved("not needed: the restore has built every index"),
    );
    book.as_printed("`ANALYZE;`", dump_and_restore(system));
}

fn cache(book: &mut Book, system: &System) {
    book.part("The cache is lost");
    book.row(
        "`docker-compose restart redis`",
        Proof::test(
            &it("cache_faults"),
            "redis_killed_flushed_and_full_of_nonsense_costs_no_client_anything",
        ),
        Outcome::NotHere("no container engine; the test kills and starts a redis-server instead"),
    );
    book.row(
        "`curl -X POST …/admin/cache/warm`",
        system
            .curl("curl -X POST http://localhost:8081/api/v1/admin/cache/warm", |answer| {
                answer["job_id"].is_string()
            })
            .and(Proof::test(&it("cache_jobs"), "what_is_warmed_is_known_to_every_router_without_a_call")),
        Outcome::Improved("it asks for a key, and answers with a job that tells how far it is"),
    );
}

async fn expensive(book: &mut Book, system: &System) {
    book.part("Runbook: costs are high");
    book.row(
        "`curl http://localhost:8081/api/v1/metrics/costs/by-agent`",
        system.curl("curl http://localhost:8081/api/v1/metrics/costs/by-agent", |answer| {
            answer["agents"]
                .as_array()
                .is_some_and(|agents| agents.iter().any(|agent| agent["agent_id"] == "prod-agent"))
        }),
        Outcome::Improved("it asks for a key"),
    );
    let report = system.curl("curl http://localhost:8081/api/v1/reports/costs?group_by=hour", |answer| {
        answer["rows"].is_array()
    });
    book.as_printed(
        "patterns of use are analyzed",
        report.and(Proof::test(
            &it("reports_agree"),
            "reports_of_100_000_random_attempts_agree_to_the_nano_dollar",
        )),
    );
    let path = "/api/v1/embeddings/agents/frugal";
    let cheaper = json!({"embedding_strategy": "cost", "constraints": {"max_cost_per_day": 1.5}, "cache": {"enabled": true, "ttl": "1h"}});
    let changed = system.running.admin().put(path, cheaper).await;
    for (item, part) in [
        ("agents change to cheaper models", "\"cost\""),
        ("daily limits are reduced", "1.5"),
        ("caching is enabled", "\"enabled\":true"),
    ] {
        book.as_printed(
            item,
            Proof::run("one `PUT` of the agent", changed.body.to_string().contains(part), &changed.body).and(
                Proof::test(
                    &it("agents"),
                    "an_agent_that_nobody_registered_is_held_to_every_field_of_the_default_one",
                ),
            ),
        );
    }
    let alerts = "integration-tests/tests/it/guide/alerts.rs";
    let fire = "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something";
    book.as_printed("the next hour is watched", Proof::test(alerts, fire));
    book.row(
        "it is escalated if costs go on rising",
        Proof::test("integration-tests/tests/it/deployment/alerts_and_panels.py", "every_rule_has_a_test_and_a_paragraph"),
        Outcome::Improved("`CostRateHigh` and `CostRateJumped` do, and [alerts](alerts.md) says what to do; budgets hold meanwhile"),
    );
}

fn slow(book: &mut Book, system: &System) {
    book.part("Runbook: performance degrades");
    let health = system.embermesh(&["providers", "health"]);
    book.as_printed(
        "latencies of providers are checked",
        health.proves("`embermesh providers health`", "openai"),
    );
    let doctor = system.embermesh(&["doctor"]);
    book.as_printed(
        "performance of the database is reviewed",
        Proof::run("`embermesh doctor`", doctor.text.contains("database"), &doctor.text).and(Proof::test(
            "integration-tests/tests/it/deployment/alerts_and_panels.py",
            "rules_pass_their_tests",
        )),
    );
    book.row(
        "`kubectl scale deployment embedding-api --replicas=5`",
        Proof::test("integration-tests/tests/it/deployment/manifests.py", "the_guides_names_are_there"),
        Outcome::NotHere(
            "no cluster; the deployment has this name, and the autoscaler's `minReplicas` holds for longer",
        ),
    );
    let emergency = system.embermesh(&["settings", "set", "cache.emergency=true"]);
    system.embermesh(&["settings", "clear", "cache"]);
    book.as_printed(
        "emergency caching is enabled",
        emergency.proves("`embermesh settings set cache.emergency=true`", "true").and(Proof::test(
            &it("run_settings"),
            "the_age_of_cached_vectors_and_emergency_caching_are_turned",
        )),
    );
    book.row(
        "stakeholders are notified",
        Proof::test(
            "integration-tests/tests/it/deployment/alerts_and_panels.py",
            "every_rule_has_a_test_and_a_paragraph",
        ),
        Outcome::NotHere("that is for an Alertmanager; every alert has a severity and a paragraph"),
    );
}
