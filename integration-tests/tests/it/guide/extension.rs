//! What the embedded PostgreSQL lacks, on Debian's: a system whose configuration and money are there, over TLS, and whose vectors are on
//! the embedded one, because Debian's has no pgvector.

use std::process::Command;

use embermesh_private_postgres::TestDatabase;
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    debian_postgres::{DebianPostgres, PASSWORD},
    running::{Running, bin, free_port, wait_until},
};

/// As printed.
pub const SLOW: &str = "SELECT query, calls, mean_exec_time
FROM pg_stat_statements
WHERE mean_exec_time > 100
ORDER BY mean_exec_time DESC;";

#[tokio::test]
async fn slow_queries_amcheck_and_required_tls_work_where_postgresql_has_them() {
    let debian = DebianPostgres::start().await;
    let vectors = TestDatabase::create().await;
    let folder = TempDir::new().unwrap();
    let yaml = format!(
        "database: {{host: 127.0.0.1, port: {}, password: {PASSWORD}, ssl_mode: require, store_url: '{}'}}\n",
        debian.port,
        vectors.url().expose_secret()
    );
    let running = Running::up(folder.path(), &yaml, None, free_port()).await;
    for n in 0..20 {
        let body = json!({"agent_id": "on-debian", "text": format!("text number {n}")});
        running.agent().post("/api/v1/embeddings", body).await.ok();
    }
    let found = |statement: &str| {
        let (ok, said) = debian.psql("embeddings", statement);
        assert!(ok, "{statement}: {said}");
        said.trim().to_owned()
    };
    wait_until(|| async { found("SELECT count(*) FROM ledger.attempts WHERE state = 'settled'") != "0" })
        .await;
    // the books are here, and the rows are not
    assert_eq!(found("SELECT count(*) FROM pg_tables WHERE schemaname = 'store'"), "0");
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE NOT ssl AND client_addr IS NOT NULL";
    let over_tls = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND pid <> pg_backend_pid()";
    assert_eq!(found(plain), "0");
    assert!(found(over_tls).parse::<u32>().unwrap() > 0);

    found("CREATE EXTENSION pg_stat_statements");
    assert!(!found(SLOW).contains("pg_sleep"));
    found("SELECT pg_sleep(0.3)");
    assert!(found(SLOW).contains("pg_sleep"), "{}", found(SLOW));
    let known = found("SELECT count(*) FROM pg_stat_statements WHERE query ILIKE '%attempts%'");
    assert_ne!(known, "0", "what the ledger asks is not among the statements");

    let (intact, said) = debian.run(
        "pg_amcheck",
        &["--install-missing", "--heapallindexed", "--rootdescend", "--verbose", "embeddings"],
    );
    assert!(intact, "{said}");
    let checked = |what: &str| said.lines().filter(|line| line.contains(what)).count();
    assert!(checked("ledger.") > 5 && checked("admin.") > 5, "{said}");

    // the guide's variables; without TLS nobody is let in
    let doctor = |mode: &str| {
        let mut command = Command::new(bin("embermesh"));
        command.arg("doctor").current_dir(folder.path()).env("EMBERMESH_DATA_DIR", &running.dir);
        command.env("DATABASE_HOST", "127.0.0.1").env("DB_PASSWORD", PASSWORD).env("DATABASE_SSL_MODE", mode);
        command.env("EMBERMESH__DATABASE__PORT", debian.port.to_string()).env_remove("DATABASE_URL");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    std::fs::remove_file(folder.path().join("embermesh.yaml")).unwrap();
    let (with, without) = (doctor("require"), doctor("disable"));
    // it is reached, and is not one for vectors
    assert!(with.contains("PostgreSQL 15 without pgvector"), "{with}");
    assert!(without.contains("no encryption"), "{without}");
}
