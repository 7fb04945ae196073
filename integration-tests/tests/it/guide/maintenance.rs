//! Maintenance: what is done each day, week and month, and the script.

use super::{
    book::{Book, Outcome, Proof},
    system::System,
};

const VACUUM: &str = "psql -h $DB_HOST -U $DB_USER -d embeddings << EOF
VACUUM ANALYZE embeddings;
EOF";
const REINDEX: &str = "psql -h $DB_HOST -U $DB_USER -d embeddings << EOF
REINDEX INDEX CONCURRENTLY idx_embeddings_vector_cosine;
EOF";
const CLEAR: &str = r#"redis-cli --scan --pattern "embedding:*" | \
  xargs -L 1000 redis-cli DEL"#;
const MOVE: &str = "psql -h $DB_HOST -U $DB_USER -d embeddings << EOF
INSERT INTO embeddings_archive
SELECT * FROM embeddings
WHERE created_at < NOW() - INTERVAL '90 days';

DELETE FROM embeddings
WHERE created_at < NOW() - INTERVAL '90 days';
EOF";
const REPORT: &str = r#"curl -X GET http://localhost:8081/api/v1/reports/costs \
  -H "X-API-Key: $ADMIN_KEY" \
  -o daily-cost-report.json"#;

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Maintenance tasks");
    daily(book, system);
    weekly(book, system).await;
    monthly(book, system);
    script(book, system).await;
}

fn it(name: &str) -> String {
    format!("integration-tests/tests/it/{name}.rs")
}

fn daily(book: &mut Book, system: &System) {
    book.part("Each day");
    let report = system.embermesh(&["costs", "report", "--group-by", "model"]);
    book.as_printed(
        "cost reports are reviewed",
        report.proves("`embermesh costs report --group-by model`", "text-embedding-3-small"),
    );
    let health = system.embermesh(&["providers", "health"]);
    book.as_printed(
        "health of providers is checked",
        health.proves("`embermesh providers health`", "healthy"),
    );
    book.as_printed(
        "rates of errors are watched",
        Proof::test(
            "integration-tests/tests/it/guide/alerts.rs",
            "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something",
        ),
    );
    book.row(
        "backups are verified",
        super::recovery::dump_and_restore(system).and(Proof::test(
            "integration-tests/tests/it/backup/point_in_time.rs",
            "a_changed_or_missing_piece_of_a_base_backup_or_of_the_log_is_found",
        )),
        Outcome::Improved("`embermesh backup verify` against hashes, and `embermesh drill` by restoring"),
    );
}

async fn weekly(book: &mut Book, system: &System) {
    book.part("Each week");
    let metrics = system.metrics();
    book.row(
        "slow queries are analyzed",
        Proof::run(
            "`db_query_duration_seconds` by operation",
            metrics.contains("db_query_duration_seconds_bucket{"),
            &metrics,
        ),
        Outcome::Improved("by operation, for every PostgreSQL; `pg_stat_statements` where it has that too"),
    );
    let alerts = "integration-tests/tests/it/guide/alerts.rs";
    let panels =
        std::fs::read_to_string(crate::running::root().join("monitoring/dashboards/providers.json")).unwrap();
    book.as_printed(
        "events of circuit breakers are reviewed",
        Proof::run(
            "`circuit_breaker_transitions_total`, panel \"Breakers moved\"",
            panels.contains("circuit_breaker_transitions_total"),
            &panels,
        )
        .and(Proof::test(
            alerts,
            "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something",
        )),
    );
    let history = system.embermesh(&["agents", "history", "prod-agent"]);
    book.as_printed(
        "configurations of agents are updated",
        history
            .proves("`embermesh agents history prod-agent`", "constraints.max_cost_per_day")
            .and(Proof::test(&it("agents"), "the_command_line_changes_agents_and_takes_changes_back")),
    );
    let dead = "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables WHERE schemaname = 'store' ORDER BY n_dead_tup DESC";
    let lines = system.psql(dead).await;
    let maintained = system.vector_store(&["maintain"]);
    book.row(
        "fragmentation of indexes is checked",
        Proof::run(
            "`n_dead_tup` of the tables, in psql",
            lines.iter().any(|line| line.starts_with("space_")),
            lines.join("\n"),
        )
        .and(maintained.proves("`embermesh-vector-store maintain`", "")),
        Outcome::Improved(
            "`maintain` rebuilds indexes with many dead rows; none where months are dropped as a whole",
        ),
    );
}

fn monthly(book: &mut Book, system: &System) {
    book.part("Each month");
    book.as_printed(
        "API keys are rotated",
        Proof::test(&it("key_rotation"), "the_script_rotates_what_is_due_into_a_file_of_ones_own"),
    );
    let deny = system
        .sh(&format!("test -f {0}/deny.toml && test -f {0}/Cargo.lock", crate::running::root().display()));
    book.row(
        "libraries of providers are updated",
        deny.proves("`deny.toml` and `Cargo.lock` are there", "")
            .and(Proof::test(&it("provider_formats"), "openai_bedrock_vertex_and_voyage")),
        Outcome::Improved("but for AWS' SDK there is no vendor's library: each format is held against what its provider documents"),
    );
    book.row(
        "indexes are reviewed",
        Proof::test(
            "services/vector-store/tests/it/index.rs",
            "many_small_tenants_earn_no_index_and_a_large_one_does",
        ),
        Outcome::Improved("they come and go with the size of months"),
    );
    let budgets =
        system.curl("curl http://localhost:8081/api/v1/reports/budgets", |answer| answer.is_object());
    book.row(
        "capacity is planned",
        budgets,
        Outcome::Improved(
            "budgets have forecasts; sizes of tables are in [operations](operations.md#growth)",
        ),
    );
}

async fn script(book: &mut Book, system: &System) {
    book.part("The maintenance script");
    let vacuumed = system.sh(VACUUM);
    let maintained = system.vector_store(&["maintain"]);
    let when =
        "SELECT count(*) FROM pg_stat_user_tables WHERE relname LIKE 'space_%' AND last_vacuum IS NOT NULL";
    let count = system.psql(when).await.concat();
    book.row(
        "`VACUUM ANALYZE embeddings;`",
        vacuumed
            .proves("in psql as printed: a warning that a view is skipped", "skipping")
            .and(maintained.proves("`embermesh-vector-store maintain`", ""))
            .and(Proof::run("`last_vacuum` of the tables", count != "0", &count)),
        Outcome::Instead("`maintain` vacuums and analyzes the tables behind the view"),
    );
    let reindexed = system.sh(REINDEX);
    book.row(
        "`REINDEX INDEX CONCURRENTLY idx_embeddings_vector_cosine;`",
        Proof::run(
            "as printed there is no such index",
            reindexed.text.contains("idx_embeddings_vector_cosine"),
            &reindexed.text,
        )
        .and(Proof::test("services/vector-store/tests/it/index.rs", "what_a_crashed_build_left_is_replaced")),
        Outcome::Instead("`maintain` rebuilds the indexes that need it, concurrently, whatever their names"),
    );
    let there = || {
        system
            .redis
            .cli(&["--scan", "--pattern", "embedding:v2:*"])
            .lines()
            .filter(|key| !key.is_empty())
            .count()
    };
    system.embed("a text that is in Redis").await;
    crate::running::wait_until(|| async { there() > 0 }).await;
    let cleared = system.sh(CLEAR);
    let left = there();
    let command = system.embermesh(&["cache", "clear", "--json"]);
    book.row(
        "`redis-cli --scan --pattern \"embedding:*\" | xargs -L 1000 redis-cli DEL`",
        cleared
            .proves("as printed: the keys are gone", "")
            .and(Proof::run("none is left", left == 0, format!("{left} keys left: {}", cleared.text)))
            .and(command.proves("`embermesh cache clear`", "job"))
            .and(Proof::test(&it("cache_jobs"), "what_is_cleared_is_bought_again_on_every_router")),
        Outcome::Improved("`embermesh cache clear` reaches what routers keep in memory too"),
    );
    let moved = system.sh(MOVE);
    let by_hand = || {
        Proof::test(
            "services/vector-store/tests/it/archive.rs",
            "the_statements_that_people_archive_with_by_hand_work",
        )
    };
    book.row(
        "`INSERT INTO embeddings_archive SELECT * FROM embeddings …`",
        moved.proves("in psql as printed", "INSERT 0").and(by_hand()),
        Outcome::Improved("`embermesh-vector-store archive` writes whole months out and drops them"),
    );
    book.row(
        "`DELETE FROM embeddings WHERE created_at < …`",
        moved.proves("in psql as printed", "DELETE 0").and(by_hand()).and(Proof::test(
            "services/vector-store/tests/it/archive.rs",
            "a_month_that_is_over_is_written_out_with_its_keys_and_dropped",
        )),
        Outcome::Improved("months are dropped: a vector index pays for every dead row"),
    );
    let report = system.sh(&format!("{REPORT} --silent && cat daily-cost-report.json"));
    book.as_printed(
        "`curl -X GET …/reports/costs … -o daily-cost-report.json`",
        report.proves("by curl, as printed", "total_cost_usd"),
    );
}
