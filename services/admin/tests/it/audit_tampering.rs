//! A hand on the database: whatever it does to a chain is found.

use std::{fs, path::Path, time::Duration};

use embermesh_admin::Settings;
use embermesh_config::Span;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::v1::AuditVerified;
use embermesh_transport::CallContext;
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    audit::{agent, verify},
    world::{Replica, World},
};

/// The chain's own arithmetic once more, in SQL, from its description.
const ARITHMETIC: &str = "
    CREATE FUNCTION field(bytes bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT int8send(octet_length(bytes)::bigint) || bytes $$;
    CREATE FUNCTION hash_of(previous bytea, r audit_records) RETURNS bytea LANGUAGE sql AS $$
        SELECT sha256(previous || int2send(1::smallint) || field(uuid_send(r.tenant_id)) || field(int8send(r.number))
            || field(int8send((extract(epoch FROM r.changed_at) * 1000000)::bigint))
            || field(convert_to(r.changed_by, 'UTF8')) || field(convert_to(r.action, 'UTF8'))
            || field(convert_to(r.subject, 'UTF8')) || field(convert_to(r.details::text, 'UTF8'))) $$;
    CREATE FUNCTION recompute(tenant uuid, place bigint) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        r audit_records;
        before bytea;
    BEGIN
        SELECT previous_hash INTO before FROM audit_records WHERE tenant_id = tenant AND number = place;
        FOR r IN SELECT * FROM audit_records WHERE tenant_id = tenant AND number >= place ORDER BY number LOOP
            UPDATE audit_records SET previous_hash = before, hash = hash_of(before, r)
            WHERE tenant_id = tenant AND number = r.number RETURNING hash INTO before;
        END LOOP;
    END $$;
    -- gaps are opened and closed without meeting the primary key
    CREATE FUNCTION shift(tenant uuid, place bigint, by_so_many bigint) RETURNS void LANGUAGE sql AS $$
        UPDATE audit_records SET number = number + 1000000 WHERE tenant_id = tenant AND number >= place;
        UPDATE audit_records SET number = number - 1000000 + by_so_many WHERE tenant_id = tenant AND number >= 1000000 $$;
    CREATE TABLE kept_records AS TABLE audit_records;
    CREATE TABLE kept_anchors AS TABLE audit_anchors";

const RESTORE: &str = "TRUNCATE audit_records; TRUNCATE audit_anchors;
    INSERT INTO audit_records TABLE kept_records; INSERT INTO audit_anchors TABLE kept_anchors";

/// What may happen to record N of tenant T; `N` and `T` are filled in.
const TAMPERINGS: [&str; 23] = [
    "UPDATE audit_records SET changed_at = changed_at + interval '1 microsecond' WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET changed_by = changed_by || 'x' WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET action = 'agent.delete' WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET subject = subject || '-other' WHERE tenant_id = T AND number = N",
    // the same value for JSON, not the same text
    "UPDATE audit_records SET details = (details::text || ' ')::json WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET form = 2 WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET hash = set_bit(hash, 77, 1 - get_bit(hash, 77)) WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET previous_hash = set_bit(previous_hash, 8, 1 - get_bit(previous_hash, 8))
     WHERE tenant_id = T AND number = N",
    "UPDATE audit_records SET tenant_id = gen_random_uuid() WHERE tenant_id = T AND number = N",
    "DELETE FROM audit_records WHERE tenant_id = T AND number = N",
    "DELETE FROM audit_records WHERE tenant_id = T AND number = N; SELECT shift(T, N + 1, -1)",
    "SELECT shift(T, N, 1);
     INSERT INTO audit_records SELECT tenant_id, N, changed_at, changed_by, action, 'smuggled', details, form, previous_hash, hash
         FROM audit_records WHERE tenant_id = T AND number = N + 1",
    "SELECT shift(T, N, 1);
     INSERT INTO audit_records SELECT tenant_id, N, changed_at, changed_by, action, 'smuggled', details, form, previous_hash, hash
         FROM audit_records WHERE tenant_id = T AND number = N + 1;
     SELECT recompute(T, N)",
    // swapped with the first one
    "UPDATE audit_records SET number = 2000000 WHERE tenant_id = T AND number = N;
     UPDATE audit_records SET number = N WHERE tenant_id = T AND number = 1;
     UPDATE audit_records SET number = 1 WHERE tenant_id = T AND number = 2000000",
    "DELETE FROM audit_records WHERE tenant_id = T AND number >= N",
    "DELETE FROM audit_records WHERE tenant_id = T AND number >= N;
     DELETE FROM audit_anchors WHERE tenant_id = T AND number >= N",
    "DELETE FROM audit_records WHERE tenant_id = T",
    "TRUNCATE audit_records; TRUNCATE audit_anchors",
    // a chain that is in order by itself
    "UPDATE audit_records SET changed_by = 'somebody-else' WHERE tenant_id = T AND number >= N; SELECT recompute(T, N)",
    "UPDATE audit_records SET subject = 'another' WHERE tenant_id = T AND number = N; SELECT recompute(T, N);
     DELETE FROM audit_anchors WHERE tenant_id = T AND number >= N",
    "DELETE FROM audit_records WHERE tenant_id = T AND number = N; SELECT shift(T, N + 1, -1);
     UPDATE audit_records SET previous_hash = (SELECT previous_hash FROM kept_records WHERE tenant_id = T AND number = N)
         WHERE tenant_id = T AND number = N;
     SELECT recompute(T, N)",
    "UPDATE audit_anchors SET hash = sha256(hash) WHERE tenant_id = T",
    "DELETE FROM audit_anchors WHERE tenant_id = T",
];

fn settings(dir: &Path, interval: Duration) -> Settings {
    Settings { data_dir: Some(dir.to_owned()), audit_anchor_interval: Span(interval), ..Settings::default() }
}

async fn owner(world: &World) -> Database {
    let pool = PoolConfig::default();
    Database::connect(world.database.url(), Schema::Admin, Role::Owner, &pool).await.unwrap()
}

async fn put(replica: &mut Replica, by: &CallContext, name: usize) {
    replica.agents.put_agent(by.request(agent(&format!("agent-{name}"), "cost"))).await.unwrap();
}

/// Waits until the end of the tenant's chain is anchored.
async fn anchored(world: &World, owner: &Database) {
    let sql = "SELECT (SELECT max(number) FROM audit_records WHERE tenant_id = $1)
                    = (SELECT max(number) FROM audit_anchors WHERE tenant_id = $1) IS TRUE";
    let tenant = world.first.tenant.uuid();
    while !owner.system().query_one(sql, &[&tenant]).await.unwrap().get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const SOON: Duration = Duration::from_millis(5);
const NEVER: Duration = Duration::from_secs(1_000_000);

#[tokio::test]
async fn every_tampering_with_a_chain_and_its_anchors_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::with(settings(dir.path(), SOON)).await;
    let (admin, owner) = (world.admin(), owner(&world).await);
    for n in 0..20 {
        put(&mut world.replica, &admin, n).await;
        if n % 6 == 0 {
            anchored(&world, &owner).await;
        }
    }
    world.replica.tasks.stop();
    world.replica.tasks.finished().await;
    // what is anchored when the next process starts is anchored by its first round, after which it rests
    put(&mut world.replica, &admin, 20).await;
    let last = Replica::start(&world.database, &world.clock, settings(dir.path(), NEVER)).await;
    anchored(&world, &owner).await;
    last.tasks.stop();
    last.tasks.finished().await;

    let whole = verify(&last, &admin).await;
    assert!(whole.intact, "{whole:?}");
    // three of the first tenant, one of the system
    assert_eq!(whole.records, 3 + 21 + 1);
    assert!(whole.anchors >= 6, "{whole:?}");
    owner.system().batch_execute(ARITHMETIC).await.unwrap();
    let apart =
        "SELECT count(*) FROM audit_records r WHERE hash IS DISTINCT FROM hash_of(r.previous_hash, r)";
    assert_eq!(owner.system().query_one(apart, &[]).await.unwrap().get::<_, i64>(0), 0);

    let tenant = format!("'{}'::uuid", world.first.tenant);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let places = 2_i64..=24;
    // each of them somewhere, and then any of them anywhere
    let each = (0..TAMPERINGS.len()).map(|which| (Just(which).boxed(), places.clone()));
    let any = (0..60).map(|_| ((0..TAMPERINGS.len()).boxed(), places.clone()));
    for strategy in each.chain(any) {
        let (which, place) = strategy.new_tree(&mut runner).unwrap().current();
        let sql = TAMPERINGS[which].replace("T AND", &format!("{tenant} AND"));
        let sql = sql.replace("(T,", &format!("({tenant},")).replace("= T", &format!("= {tenant}"));
        let sql = sql.replace("number = N", &format!("number = {place}"));
        let sql = sql.replace(", N", &format!(", {place}")).replace(">= N", &format!(">= {place}"));
        owner.system().batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let found = verify(&last, &admin).await;
        assert!(!found.intact && !found.faults.is_empty(), "not found: {sql}\n{found:?}");
        owner.system().batch_execute(RESTORE).await.unwrap();
        assert_eq!(verify(&last, &admin).await, whole, "after {sql}");
    }
}

#[tokio::test]
async fn a_chain_that_is_cut_off_while_admin_runs_is_remembered_without_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(settings(dir.path(), SOON)).await;
    let (admin, owner) = (world.admin(), owner(&world).await);
    let key_alone = Settings {
        audit_key_file: Some(dir.path().join("audit.key")),
        audit_anchor_interval: Span(SOON),
        ..Settings::default()
    };
    world.replica.tasks.stop();
    world.replica.tasks.finished().await;
    let mut replica = Replica::start(&world.database, &world.clock, key_alone).await;
    put(&mut replica, &admin, 1).await;
    anchored(&world, &owner).await;
    // until its memory has it, which comes right after the database
    replica.tasks.stop();
    replica.tasks.finished().await;
    assert!(verify(&replica, &admin).await.intact);
    owner.system().batch_execute("TRUNCATE audit_records; TRUNCATE audit_anchors").await.unwrap();
    // the next change begins a chain that is in order by itself
    put(&mut replica, &admin, 2).await;
    let found = verify(&replica, &admin).await;
    assert!(says(&found, "anchored here"), "{found:?}");
}

#[tokio::test]
async fn a_rewritten_chain_is_noticed_by_the_next_anchor_and_stays_found_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::with(settings(dir.path(), SOON)).await;
    let (admin, owner) = (world.admin(), owner(&world).await);
    put(&mut world.replica, &admin, 1).await;
    anchored(&world, &owner).await;
    let cut = "DELETE FROM audit_records WHERE number >= 3; DELETE FROM audit_anchors WHERE number >= 3";
    owner.system().batch_execute(cut).await.unwrap();
    // it grows past where it was, and is anchored again and again
    for n in 2..6 {
        put(&mut world.replica, &admin, n).await;
        anchored(&world, &owner).await;
    }
    assert!(says(&verify(&world.replica, &admin).await, "another record was anchored here"));
    let restarted = Replica::start(&world.database, &world.clock, settings(dir.path(), SOON)).await;
    assert!(says(&verify(&restarted, &admin).await, "another record was anchored here"));
}

#[tokio::test]
async fn anchors_of_another_key_count_once_it_is_trusted() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::with(settings(ours.path(), SOON)).await;
    let (admin, owner) = (world.admin(), owner(&world).await);
    anchored(&world, &owner).await;
    world.replica.tasks.stop();
    world.replica.tasks.finished().await;
    let stranger = Replica::start(&world.database, &world.clock, settings(theirs.path(), NEVER)).await;
    assert!(says(&verify(&stranger, &admin).await, "unknown key"));
    let log = fs::read_to_string(ours.path().join("audit-anchors.log")).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    let key = line["public_key"].as_str().unwrap().to_owned();
    let trusting = Settings { audit_trusted_keys: vec![key], ..settings(theirs.path(), NEVER) };
    let friend = Replica::start(&world.database, &world.clock, trusting).await;
    let found = verify(&friend, &admin).await;
    assert!(found.intact && found.anchors >= 2, "{found:?}");
}

#[tokio::test]
async fn many_changes_are_anchored_before_the_interval_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let often = Settings { audit_anchor_changes: 5, ..settings(dir.path(), NEVER) };
    let mut world = World::with(often).await;
    let (admin, owner) = (world.admin(), owner(&world).await);
    let count = "SELECT count(*) FROM audit_anchors WHERE tenant_id = $1";
    let tenant = world.first.tenant.uuid();
    let mut n = 0;
    while owner.system().query_one(count, &[&tenant]).await.unwrap().get::<_, i64>(0) < 2 {
        put(&mut world.replica, &admin, n).await;
        n += 1;
    }
    assert!(verify(&world.replica, &admin).await.intact);
}

fn says(found: &AuditVerified, what: &str) -> bool {
    !found.intact && found.faults.iter().any(|fault| fault.what.contains(what))
}
