//! Deployment: the checklist, Kubernetes, Compose.

use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump, redis_with_appending},
};
use crate::running::{root, wait_until};

const MANIFESTS: &str = "integration-tests/tests/it/deployment/manifests.py";
const IMAGES: &str = "integration-tests/tests/it/deployment/images.py";
const READS: &str = "integration-tests/tests/it/deployment/configuration.py";
const NETWORK: &str = "integration-tests/tests/it/deployment/network.py";
const ALERTS: (&str, &str) = (
    "integration-tests/tests/it/guide/alerts.rs",
    "the_guides_alerts_fire_and_resolve_and_every_dashboard_query_finds_something",
);

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Deployment");
    providers(book, system);
    database(book, system).await;
    cache(book, system).await;
    security(book, system);
    monitoring(book, system);
    kubernetes(book, system);
    compose(book, system);
}

fn providers(book: &mut Book, system: &System) {
    book.part("Checklist: providers");
    book.as_printed(
        "API keys come from a secrets manager",
        Proof::test(MANIFESTS, "every_set_of_values_renders_and_validates"),
    );
    book.as_printed(
        "two providers or more",
        Proof::test(
            "integration-tests/tests/it/outage.rs",
            "while_one_of_two_is_down_no_request_fails_and_the_dead_one_is_left_alone",
        ),
    );
    let check = system.embermesh(&["providers", "check", "openai", "--json"]);
    book.as_printed(
        "endpoints of providers are verified",
        check.proves("`embermesh providers check openai`", "\"healthy\":true"),
    );
}

async fn database(book: &mut Book, system: &System) {
    book.part("Checklist: database");
    let version = system.psql("SELECT extversion FROM pg_extension WHERE extname = 'vector'").await.concat();
    let is_new = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok()) >= Some(8);
    book.as_printed("PostgreSQL with pgvector", Proof::run("its version, in psql", is_new, version));
    book.row(
        "indexes are there",
        Proof::test(
            "services/vector-store/tests/it/index.rs",
            "is_built_at_its_size_and_finds_nearly_what_an_exact_search_finds",
        ),
        Outcome::Improved("each month earns its index by its size; nobody has to create one"),
    );
    let pools = system.metrics();
    book.as_printed(
        "connection pools are configured",
        Proof::run(
            "`db_pool_connections` of a system with the guide's `database.pool`",
            pools.contains("db_pool_connections{"),
            &pools,
        ),
    );
    book.row(
        "read replicas for searches",
        dump("database: {read_replica_pool: {max_open_conns: 200, max_idle_conns: 50}}", &[])
            .has(&[("database/read_replica_pool/max_open_conns", "200")])
            .and(Proof::test(
                "integration-tests/tests/it/replicas.rs",
                "whoever_names_its_write_sees_it_and_whoever_does_not_gets_an_answer",
            )),
        Outcome::Improved("the block needs `urls`, and a read can name the write that it has to see"),
    );
}

async fn cache(book: &mut Book, system: &System) {
    book.part("Checklist: cache");
    let failover = || {
        Proof::test(
            "integration-tests/tests/it/cache_faults.rs",
            "a_cluster_whose_master_fails_over_costs_no_client_anything",
        )
    };
    book.as_printed("a Redis cluster", failover());
    let memory = || system.redis.cli(&["CONFIG", "GET", "maxmemory"]);
    wait_until(|| async { memory().contains("4294967296") }).await;
    book.as_printed(
        "memory of Redis",
        Proof::run(
            "`max_memory: 4gb`, then `CONFIG GET maxmemory`",
            memory().contains("4294967296"),
            memory(),
        ),
    );
    book.row(
        "persistence of Redis",
        redis_with_appending(system.folder.path()).and(Proof::test(
            "integration-tests/tests/it/cache_faults.rs",
            "redis_killed_flushed_and_full_of_nonsense_costs_no_client_anything",
        )),
        Outcome::Improved("nothing in Redis has to outlive anything"),
    );
    book.as_printed("failover of the cache is tested", failover());
}

fn security(book: &mut Book, system: &System) {
    book.part("Checklist: security");
    book.as_printed(
        "API authentication is on",
        system.curl("curl http://localhost:8081/api/v1/embeddings", |answer| answer["embeddings"].is_array()),
    );
    book.as_printed(
        "networks are isolated",
        Proof::test(NETWORK, "the_chart_allows_the_arrows_and_no_others"),
    );
    book.as_printed(
        "rotation of secrets is scheduled",
        Proof::test(MANIFESTS, "hooks_and_jobs_are_what_they_say").and(Proof::test(
            "integration-tests/tests/it/key_rotation.rs",
            "rotation_under_load_refuses_nothing_and_after_the_overlap_accepts_nothing",
        )),
    );
    let list = system.embermesh(&["audit", "list"]);
    let verify = system.embermesh(&["audit", "verify"]);
    book.as_printed(
        "audit logging is on",
        list.proves("`embermesh audit list`", "key.create")
            .and(verify.proves("`embermesh audit verify`", "")),
    );
}

fn monitoring(book: &mut Book, system: &System) {
    book.part("Checklist: monitoring");
    let metrics = system.sh("curl --silent http://localhost:8081/metrics | grep http_requests_total");
    book.as_printed("metrics are collected", metrics.proves("`/metrics`", "http_requests_total{"));
    let logs = system.running.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.starts_with('{')).collect();
    let is_record = |line: &&str| {
        serde_json::from_str::<serde_json::Value>(line).is_ok_and(|record| record["level"].is_string())
    };
    book.as_printed(
        "logs are aggregated",
        Proof::run(
            "`logging.format: json`: each line is one record",
            lines.len() > 3 && lines.iter().all(is_record),
            &logs,
        ),
    );
    let rules = root().join("monitoring/rules/guide.yaml").display().to_string();
    let checked = system.sh(&format!("promtool check rules {rules}"));
    book.as_printed(
        "alerts are configured",
        checked.proves("`promtool check rules`", "SUCCESS").and(Proof::test(ALERTS.0, ALERTS.1)),
    );
    book.as_printed(
        "dashboards are there",
        Proof::test(
            "integration-tests/tests/it/deployment/alerts_and_panels.py",
            "dashboards_are_what_their_source_writes",
        )
        .and(Proof::test(ALERTS.0, ALERTS.1)),
    );
}

fn kubernetes(book: &mut Book, system: &System) {
    book.part("Kubernetes");
    let names = || Proof::test(MANIFESTS, "the_guides_names_are_there");
    let valid = || Proof::test(MANIFESTS, "kustomizations_validate");
    book.as_printed("deployment and label `embedding-api` in namespace `developer-mesh`", names());
    book.row(
        "`replicas: 3`",
        names(),
        Outcome::Improved("the autoscaler's least is 3, and no manifest undoes what it has done"),
    );
    book.as_printed("container `rest-api` on port 8081", names());
    book.row(
        "image `developer-mesh/rest-api`",
        Proof::test(IMAGES, "every_image_is_locked_down").and(Proof::test(IMAGES, "a_binary_runs_in_the_root_of_its_image")),
        Outcome::SoFar("the Dockerfile is checked and its root runs a binary; there is no container engine here to build it"),
    );
    book.row(
        "`OPENAI_API_KEY` from secret `embedding-secrets`, key `openai-api-key`",
        names(),
        Outcome::Improved("the routers have it, who call providers; the gateway has none"),
    );
    for variable in ["`BEDROCK_ENABLED: \"true\"`", "`AWS_REGION: \"us-east-1\"`"] {
        book.row(variable, names(), Outcome::Improved("of the routers"));
    }
    book.as_printed("requests of 500m and 1Gi, limits of 2000m and 4Gi", names());
    for (probe, path) in [("liveness", "/health/live"), ("readiness", "/health/ready")] {
        let asked = system.sh(&format!("curl -f --silent http://localhost:8081{path}"));
        let asked = asked.proves(&format!("`GET {path}` on 8081"), "");
        book.row(
            &format!("{probe} probe at `{path}`"),
            asked.and(valid()),
            Outcome::Improved(
                "asked on the port of operations, which stays open when clients need a certificate",
            ),
        );
    }
    book.as_printed("service `embedding-api`, port 80 to the gateway, `LoadBalancer`", names());
    book.as_printed("autoscaler `embedding-api-hpa` of 3 to 10, at 70 % CPU", names());
    book.as_printed("the same at 80 % of memory", names());
    book.row(
        "the manifest as a whole",
        valid().and(Proof::test(READS, "services_read_what_kustomize_gives_them")),
        Outcome::SoFar("valid for two versions of Kubernetes and read by the binaries; there is no cluster here to apply it to"),
    );
}

fn compose(book: &mut Book, system: &System) {
    book.part("Compose");
    let stack = || Proof::test(IMAGES, "compose_is_the_guides_stack");
    book.as_printed("service `rest-api` of `${DOCKER_REGISTRY}/developer-mesh/rest-api:${VERSION}`", stack());
    book.as_printed("three replicas of it", stack());
    book.row(
        "restart policy with `max_attempts: 3`",
        stack(),
        Outcome::Improved(
            "without a last attempt: a database that is away for a minute is no reason to stay down",
        ),
    );
    book.as_printed("limits of 2 CPUs and 4G, reservations of 0.5 and 1G", stack());
    for (variable, value, setting, seen) in [
        ("OPENAI_ENABLED", "true", "embedding/providers/openai/enabled", "true"),
        ("OPENAI_API_KEY", "sk-of-the-guide", "embedding/providers/openai/api_key", "'***'"),
        ("BEDROCK_ENABLED", "true", "embedding/providers/bedrock/enabled", "true"),
        ("DATABASE_HOST", "db.example.com", "database/host", "db.example.com"),
        ("DATABASE_SSL_MODE", "require", "database/ssl_mode", "require"),
    ] {
        book.as_printed(
            &format!("variable `{variable}`"),
            dump("{}", &[(variable, value)]).has(&[(setting, seen)]),
        );
    }
    let region = dump("{}", &[("BEDROCK_ENABLED", "true"), ("AWS_REGION", "eu-west-1")]);
    book.as_printed(
        "variable `AWS_REGION`",
        region.has(&[("embedding/providers/bedrock/region", "eu-west-1")]),
    );
    let cluster = dump("{}", &[("REDIS_CLUSTER_ENDPOINTS", "a:6379,b:6379")]);
    book.as_printed(
        "variable `REDIS_CLUSTER_ENDPOINTS`",
        Proof::run(
            "`--dump-config`",
            cluster.ok && cluster.text.contains("- a:6379") && cluster.text.contains("- b:6379"),
            &cluster.text,
        ),
    );
    let production = dump("{}", &[("ENVIRONMENT", "production"), ("DATABASE_HOST", "db")]);
    let refused = dump("{}", &[("ENVIRONMENT", "production")]);
    book.as_printed(
        "`ENVIRONMENT=production`",
        production.has(&[("environment", "production")]).and(Proof::run(
            "refused without a database",
            !refused.ok && refused.text.contains("DATABASE_URL"),
            &refused.text,
        )),
    );
    let health = system.sh("curl -f --silent http://localhost:8081/health/ready");
    book.as_printed(
        "health check `curl -f http://localhost:8081/health/ready`",
        health.proves("as printed, against the live gateway", ""),
    );
    book.row(
        "`depends_on` of `postgres` and `redis`",
        stack(),
        Outcome::Improved("by the services that use them; the gateway waits for the services"),
    );
    book.row(
        "`postgres` of `pgvector/pgvector:pg15`, database `embeddings`, `POSTGRES_PASSWORD=${DB_PASSWORD}`",
        stack(),
        Outcome::Improved("with TLS, because `DATABASE_SSL_MODE` is `require`"),
    );
    book.as_printed(
        "`redis-server --appendonly yes`",
        stack().and(redis_with_appending(system.folder.path())),
    );
    book.row(
        "overlay network, `encrypted: true`",
        stack(),
        Outcome::Improved("as an option of the driver: the schema of Compose has no such key of networks"),
    );
    book.as_printed("volumes `postgres-data` and `redis-data`", stack());
    book.row(
        "the stack as a whole",
        stack().and(Proof::test(READS, "services_read_what_compose_gives_them")),
        Outcome::SoFar("valid by the schema of Compose and read by the binaries; there is no container engine here to start it"),
    );
}
