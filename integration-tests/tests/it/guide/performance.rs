//! Performance tuning.

use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump},
};
use crate::running::wait_until;

const INDEX: &str = "services/vector-store/tests/it/index.rs";
const AGENTS: &str = "CREATE INDEX idx_embeddings_agent_created
  ON embeddings(agent_id, created_at DESC);";
const LISTS: &str = "CREATE INDEX idx_embeddings_vector_cosine
  ON embeddings USING ivfflat (embedding vector_cosine_ops)
  WITH (lists = 1000);";
const GRAPH: &str = "CREATE INDEX idx_embeddings_vector_hnsw
  ON embeddings USING hnsw (embedding vector_cosine_ops)
  WITH (m = 16, ef_construction = 200);";
const PARTITION: &str = "CREATE TABLE embeddings_2024_01 PARTITION OF embeddings
  FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');";

const CACHING: &str = "
# Redis configuration
redis:
  cache_strategies:
    embeddings:
      ttl: 900  # 15 minutes
      max_memory: 4gb
      eviction_policy: allkeys-lru

    provider_health:
      ttl: 30  # 30 seconds
      max_entries: 100
";

const POOLS: &str = "
database:
  pool:
    max_open_conns: 100
    max_idle_conns: 25
    conn_max_lifetime: 30m
    conn_max_idle_time: 10m

  read_replica_pool:
    max_open_conns: 200
    max_idle_conns: 50
";

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Performance tuning");
    indexes(book, system).await;
    caching(book, system).await;
    pools(book, system);
}

/// A statement on `embeddings`, which is a view over the tables of all spaces: PostgreSQL says so to whoever may try.
async fn refused(system: &System, statement: &str) -> Proof {
    let sql = system.running.sql().await;
    sql.batch_execute("SET search_path = store, ledger, admin, public").await.unwrap();
    let error = sql.batch_execute(statement).await.err();
    let said =
        error.as_ref().and_then(|error| error.as_db_error()).map_or("it was taken", |error| error.message());
    let is_no_table = said.contains("\"embeddings\"");
    Proof::run(
        "as printed PostgreSQL refuses it: `embeddings` is a view over a table for each space and month",
        is_no_table,
        said,
    )
}

async fn indexes(book: &mut Book, system: &System) {
    book.part("Database");
    book.row(
        "`CREATE INDEX idx_embeddings_agent_created …`",
        refused(system, AGENTS)
            .await
            .and(Proof::test("services/vector-store/tests/it/view.rs", "time_and_space_prune_through_it")),
        Outcome::Instead("every table has its index by tenant, agent and time when it is made"),
    );
    book.row(
        "`CREATE INDEX … USING ivfflat … WITH (lists = 1000)`",
        refused(system, LISTS).await.and(Proof::test(INDEX, "lists_are_built_and_searched_where_they_are_set")),
        Outcome::Instead("`store.index: ivfflat` builds lists for each month, their number by its size (`store.ivfflat.rows_per_list`)"),
    );
    let graph = dump("store: {index: hnsw, hnsw: {m: 16, ef_construction: 200}}", &[]);
    book.row(
        "`CREATE INDEX … USING hnsw … WITH (m = 16, ef_construction = 200)`",
        refused(system, GRAPH)
            .await
            .and(graph.has(&[("store/hnsw/m", "16"), ("store/hnsw/ef_construction", "200")]))
            .and(Proof::test(INDEX, "is_built_at_its_size_and_finds_nearly_what_an_exact_search_finds")),
        Outcome::Instead("`store.hnsw: {m: 16, ef_construction: 200}` builds a graph for each month that earns it, beside the traffic"),
    );
    book.row(
        "`CREATE TABLE embeddings_2024_01 PARTITION OF embeddings …`",
        refused(system, PARTITION).await.and(Proof::test(
            "services/vector-store/tests/it/month_roll_over.rs",
            "partitions_are_there_before_their_month",
        )),
        Outcome::Instead("months are partitions by themselves, made two months ahead"),
    );
    let analyzed = system.sh("psql -h $DB_HOST -U $DB_USER -d embeddings -c 'ANALYZE embeddings;'");
    let maintained = system.vector_store(&["maintain"]);
    let when = system.psql("SELECT count(*) FROM pg_stat_user_tables WHERE relname LIKE 'space_%' AND last_analyze IS NOT NULL").await;
    book.row(
        "`ANALYZE embeddings;`",
        analyzed
            .proves("in psql: a warning that a view is skipped", "skipping")
            .and(maintained.proves("`embermesh-vector-store maintain`", ""))
            .and(Proof::run("`last_analyze` of the tables", when.concat() != "0", when.concat())),
        Outcome::Instead("`maintain` analyzes the tables behind the view; autovacuum does meanwhile"),
    );
}

async fn caching(book: &mut Book, system: &System) {
    book.part("Caching");
    let loaded = dump(CACHING, &[]);
    let strategy = |name: &str| format!("redis/cache_strategies/{name}");
    book.as_printed(
        "`embeddings.ttl: 900`",
        loaded.has(&[(&strategy("embeddings/ttl"), "15m")]).and(Proof::test(
            "integration-tests/tests/it/run_settings.rs",
            "the_age_of_cached_vectors_and_emergency_caching_are_turned",
        )),
    );
    for (item, setting, value, name, told) in [
        ("`embeddings.max_memory: 4gb`", "embeddings/max_memory", "4gb", "maxmemory", "4294967296"),
        (
            "`embeddings.eviction_policy: allkeys-lru`",
            "embeddings/eviction_policy",
            "allkeys-lru",
            "maxmemory-policy",
            "allkeys-lru",
        ),
    ] {
        let asked = || system.redis.cli(&["CONFIG", "GET", name]);
        wait_until(|| async { asked().contains(told) }).await;
        let live =
            Proof::run(&format!("`CONFIG GET {name}` of the live Redis"), asked().contains(told), asked());
        book.as_printed(item, loaded.has(&[(&strategy(setting), value)]).and(live));
    }
    book.as_printed("`provider_health.ttl: 30`", loaded.has(&[(&strategy("provider_health/ttl"), "30s")]));
    book.as_printed(
        "`provider_health.max_entries: 100`",
        loaded.has(&[(&strategy("provider_health/max_entries"), "100")]),
    );
}

fn pools(book: &mut Book, system: &System) {
    book.part("Connection pools");
    let loaded = dump(POOLS, &[]);
    let live = system.metrics();
    book.as_printed(
        "`pool.max_open_conns: 100`, `max_idle_conns: 25`",
        loaded
            .has(&[("database/pool/max_open_conns", "100"), ("database/pool/max_idle_conns", "25")])
            .and(Proof::run("a live system on it", live.contains("db_pool_connections{"), &live)),
    );
    book.as_printed(
        "`pool.conn_max_lifetime: 30m`, `conn_max_idle_time: 10m`",
        loaded
            .has(&[("database/pool/conn_max_lifetime", "30m"), ("database/pool/conn_max_idle_time", "10m")]),
    );
    book.row(
        "`read_replica_pool`",
        loaded
            .has(&[
                ("database/read_replica_pool/max_open_conns", "200"),
                ("database/read_replica_pool/max_idle_conns", "50"),
            ])
            .and(Proof::test(
                "integration-tests/tests/it/replicas.rs",
                "whoever_names_its_write_sees_it_and_whoever_does_not_gets_an_answer",
            )),
        Outcome::Improved("it is of the replicas in `urls`; without any, searches read the primary"),
    );
}
