//! The books recomputed: nothing is found in those that were kept by the rules, and any figure that is tampered with is.

use std::process::{Command, Output};

use embermesh_errors::{Code, Error};
use embermesh_postgres::{Database, Role};
use embermesh_proto::v1::{BooksVerified, VerifyBooksRequest};
use embermesh_transport::CallContext;
use secrecy::ExposeSecret;

use crate::{
    router::{self, Router},
    world::{
        HOUR, World, charge, context, limits, part, reservation, settled, settlement, shared, tenant, voided,
    },
};

/// What ten tokens cost at the price of the tests' attempts.
const TEN: i64 = 200;

/// Attempts of every kind and end, over midnight.
async fn history() -> World {
    let world = World::new(limits(&[("docs", Some(1_000_000), None, None)])).await;
    world.spend("docs", TEN).await;
    let overdue = world.attempt();
    world.reserve(overdue, "code", 70).await.unwrap();
    world.clock.advance(HOUR * 13);
    assert_eq!(world.replica.service.presume_overdue().await, Ok(1));
    let together = world.attempt();
    let message = shared(together, vec![part("a", "docs", 250), part("b", "code", 300)]);
    world.share(message).await.unwrap();
    world.settle(settled(together, vec![charge("a", "docs", TEN), charge("b", "code", TEN)])).await.unwrap();
    let never_sent = world.attempt();
    world.reserve(never_sent, "docs", 999).await.unwrap();
    world.settle(voided(never_sent)).await.unwrap();
    world.reserve(world.attempt(), "docs", 40).await.unwrap();
    world.share(shared(world.attempt(), vec![part("c", "docs", 5), part("d", "code", 6)])).await.unwrap();
    leases(&world).await;
    world
}

/// Leases with attempts of every end, alone and together with a free part: one is open, one returned.
async fn leases(world: &World) {
    let router = Router::new(world);
    let (open, done) = (router.lease("docs", 5000).await, router.lease("code", 1000).await);
    let [alone, voided_one, unknown, under_way, together] = [(); 5].map(|()| world.attempt());
    let mut parts = vec![part("e", "docs", 250), part("f", "code", 250)];
    for (part, lease) in parts.iter_mut().zip([&open, &done]) {
        part.lease_id.clone_from(&lease.id);
    }
    router
        .post(vec![
            open.reserved(world, reservation(alone, "docs", 300)),
            router::settlement(alone, "docs", TEN),
            open.reserved(world, reservation(voided_one, "docs", 300)),
            router::ended(voided(voided_one)),
            open.reserved(world, reservation(unknown, "docs", 111)),
            router::presumed(unknown),
            open.reserved(world, reservation(under_way, "docs", 77)),
            router::leased(world, shared(together, parts), &open.day),
        ])
        .await;
    let charges = vec![charge("e", "docs", TEN), charge("f", "code", TEN)];
    router
        .post(vec![
            router::ended(settled(together, charges)),
            done.returned(800, true),
            router::hit(world, "docs"),
        ])
        .await;
}

async fn verify(world: &World, by: &CallContext) -> Result<BooksVerified, Error> {
    let request = by.request(VerifyBooksRequest {});
    let verified = world.replica.reports.clone().verify_books(request).await;
    verified.map(tonic::Response::into_inner).map_err(Error::from)
}

async fn owner(world: &World, sql: &str) {
    let owner: Database = world.connect(Role::Owner).await;
    owner.system().batch_execute(&format!("SET search_path = ledger; {sql}")).await.unwrap();
}

fn command(world: &World) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embermesh-cost-ledger"));
    command.arg("verify").env("DATABASE_URL", world.database.url().expose_secret());
    command.output().unwrap()
}

#[tokio::test]
async fn books_that_were_kept_by_the_rules_balance() {
    let world = history().await;
    let verified = verify(&world, &world.context).await.unwrap();
    assert_eq!(verified.differences, []);
    // of the attempts two are open and two voided, two have two charges, and there is a hit
    assert_eq!((verified.attempts, verified.charges, verified.leases), (11, 9, 2));
    assert!(verified.balances > 0);
}

#[tokio::test]
async fn whatever_is_tampered_with_is_found() {
    let world = history().await;
    let lease = "INSERT INTO leases (tenant_id, lease_id, session_id, agent_id, key_id, provider, day, granted, granted_at)
                 SELECT tenant_id, gen_random_uuid(), gen_random_uuid(), 'docs', 'key1', 'openai', day, 50, now()
                 FROM attempts LIMIT 1";
    for (tamper, undo, expected) in [
        (
            "UPDATE balances SET spent = spent + 1 WHERE scope = 'key' AND period = 'month'",
            "UPDATE balances SET spent = spent - 1 WHERE scope = 'key' AND period = 'month'",
            &["accounts.spent", "balance.spent"][..],
        ),
        (
            "UPDATE balances SET reserved = reserved + 7",
            "UPDATE balances SET reserved = reserved - 7",
            // two agents have one key
            &["accounts.reserved", "balance.reserved"],
        ),
        (
            "UPDATE balances SET presumed = 5 WHERE scope = 'tenant' AND period = 'day'",
            "UPDATE balances SET presumed = 0",
            &["accounts.presumed", "balance.presumed"],
        ),
        (
            "UPDATE charges SET amount_nano_usd = amount_nano_usd + 1 WHERE request_id = 'a'",
            "UPDATE charges SET amount_nano_usd = amount_nano_usd - 1 WHERE request_id = 'a'",
            &["attempt.amount", "balance.spent"],
        ),
        (
            "UPDATE attempts SET tokens = tokens + 1 WHERE state = 'settled' AND agent_id = 'docs'",
            "UPDATE attempts SET tokens = tokens - 1 WHERE state = 'settled' AND agent_id = 'docs'",
            &["attempt.cost"],
        ),
        (
            "UPDATE attempts SET reserved_nano_usd = reserved_nano_usd + 1 WHERE state = 'presumed'",
            "UPDATE attempts SET reserved_nano_usd = reserved_nano_usd - 1 WHERE state = 'presumed'",
            &["attempt.cost"],
        ),
        (
            "UPDATE attempt_parts SET asked_nano_usd = asked_nano_usd + 1 WHERE request_id = 'a'",
            "UPDATE attempt_parts SET asked_nano_usd = asked_nano_usd - 1 WHERE request_id = 'a'",
            &["attempt.reserved"],
        ),
        (
            "UPDATE charges SET attempt_id = NULL, amount_nano_usd = 0 WHERE presumed AND agent_id = 'code'",
            "UPDATE charges SET attempt_id = a.attempt_id, amount_nano_usd = a.amount_nano_usd FROM attempts a
             WHERE presumed AND charges.agent_id = 'code' AND a.state = 'presumed' AND a.agent_id = 'code'",
            &["attempt.amount", "balance.spent"],
        ),
        (
            "UPDATE charges SET presumed = true WHERE request_id = 'b'",
            "UPDATE charges SET presumed = false WHERE request_id = 'b'",
            &["charge.presumed"],
        ),
        (
            "UPDATE charges SET attempt_id = gen_random_uuid() WHERE request_id = 'b'",
            "UPDATE charges SET attempt_id = p.attempt_id FROM attempt_parts p
             WHERE charges.request_id = 'b' AND p.request_id = 'b'",
            &["attempt.amount", "charge.attempt"],
        ),
        (lease, "DELETE FROM leases WHERE granted = 50", &["balance.leased"]),
        (
            "UPDATE leases SET spent = spent + 1 WHERE state = 'open'",
            "UPDATE leases SET spent = spent - 1 WHERE state = 'open'",
            &["balance.leased", "lease.spent"],
        ),
        (
            "UPDATE leases SET state = 'presumed' WHERE state = 'open'",
            "UPDATE leases SET state = 'open' WHERE state = 'presumed'",
            &["balance.leased", "balance.presumed"],
        ),
        (
            "UPDATE charges SET amount_nano_usd = amount_nano_usd + (CASE request_id WHEN 'e' THEN 1 ELSE -1 END)
             WHERE request_id IN ('e', 'f')",
            "UPDATE charges SET amount_nano_usd = amount_nano_usd - (CASE request_id WHEN 'e' THEN 1 ELSE -1 END)
             WHERE request_id IN ('e', 'f')",
            &["balance.spent", "lease.spent"],
        ),
        (
            "UPDATE attempts SET lease_id = gen_random_uuid() WHERE state = 'settled' AND agent_id = 'docs' AND lease_id IS NULL",
            "UPDATE attempts SET lease_id = NULL WHERE NOT EXISTS (SELECT FROM leases l WHERE l.lease_id = attempts.lease_id)",
            &["lease.spent"],
        ),
        (
            "UPDATE attempts SET lease_id = gen_random_uuid() WHERE state = 'reserved' AND agent_id = 'docs' AND lease_id IS NULL",
            "UPDATE attempts SET lease_id = NULL WHERE NOT EXISTS (SELECT FROM leases l WHERE l.lease_id = attempts.lease_id)",
            &["balance.reserved", "lease.under_way"],
        ),
    ] {
        owner(&world, tamper).await;
        let verified = verify(&world, &world.context).await.unwrap();
        let mut found: Vec<&str> = verified.differences.iter().map(|one| one.what.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, expected, "{tamper}: {:?}", verified.differences);
        owner(&world, undo).await;
        assert_eq!(verify(&world, &world.context).await.unwrap().differences, [], "{undo}");
    }
}

#[tokio::test]
async fn a_difference_names_the_row_and_both_figures() {
    let world = history().await;
    owner(&world, "UPDATE balances SET spent = spent + 5 WHERE scope = 'agent' AND subject = 'docs' AND period = 'month'").await;
    let verified = verify(&world, &world.context).await.unwrap();
    let balance = verified.differences.iter().find(|one| one.what == "balance.spent").unwrap();
    assert_eq!(
        (balance.subject.as_str(), balance.recorded.as_str(), balance.recomputed.as_str()),
        ("agent docs month 2026-11-01", "916", "911")
    );
}

#[tokio::test]
async fn a_tenant_is_told_of_its_own_books_alone_and_a_key_of_one_agent_of_none() {
    let world = history().await;
    let other = context(tenant(2), None);
    owner(&world, "UPDATE balances SET spent = spent + 1").await;
    assert_eq!(verify(&world, &other).await.unwrap(), BooksVerified::default());
    let bound = context(tenant(1), Some("docs"));
    assert_eq!(verify(&world, &bound).await.unwrap_err().code, Code::Forbidden);
}

#[tokio::test]
async fn the_command_verifies_every_tenant_and_exits_accordingly() {
    let world = history().await;
    let second = context(tenant(2), None);
    let attempt = world.attempt();
    let (mut ledger, id) = (world.replica.ledger.clone(), attempt.to_string());
    ledger.reserve(second.request(shared(attempt, vec![part(&id, "docs", TEN)]))).await.unwrap();
    ledger.settle(second.request(settlement(attempt, "docs", TEN))).await.unwrap();
    let output = command(&world);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("0 differences in 12 attempts, 10 charges, "), "{said}");
    assert!(said.ends_with(" of 2 tenants\n"), "{said}");

    owner(&world, &format!("UPDATE balances SET spent = spent + 1 WHERE tenant_id = '{}'", tenant(2))).await;
    let output = command(&world);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let line = format!("{}: balance.spent of agent docs day 2026-11-23 is 201, recomputed 200\n", tenant(2));
    assert!(said.contains(&line), "{said}");

    let nowhere = Command::new(env!("CARGO_BIN_EXE_embermesh-cost-ledger"))
        .arg("verify")
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none")
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(String::from_utf8(nowhere.stderr).unwrap().starts_with("error: "));
}

#[tokio::test]
async fn the_list_of_differences_ends_at_a_thousand() {
    let world = World::new(limits(&[])).await;
    let rows = format!(
        "INSERT INTO balances (tenant_id, scope, subject, period, period_start, spent)
         SELECT '{}', 'agent', 'agent-' || n, 'day', '2026-11-22', 1 FROM generate_series(1, 1100) AS n",
        tenant(1)
    );
    owner(&world, &rows).await;
    assert_eq!(verify(&world, &world.context).await.unwrap().differences.len(), 1000);
    let said = String::from_utf8(command(&world).stdout).unwrap();
    assert!(said.contains("there may be more differences, the first 1000 are shown"), "{said}");
}
