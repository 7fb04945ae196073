//! kill -9 in the middle of ingesting: what was acknowledged is there once, and keys and rows agree.

use std::{collections::BTreeMap, time::Duration};

use embermesh_private_postgres::{Options, PrivatePostgres};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    running::{Running, connect, free_port, tools},
};

const CHUNKS: usize = 2_000;
const BATCH: usize = 50;
/// From the start of a batch: while it is read, embedded, booked, stored, or just answered.
const KILL_AFTER_MS: [u64; 4] = [5, 40, 120, 250];

#[tokio::test]
async fn kill_9_of_up_while_ingesting_loses_and_doubles_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let port = free_port();
    let mut running = Running::up(folder.path(), "", None, port).await;
    let mut acknowledged: BTreeMap<usize, String> = BTreeMap::new();
    let mut cut_off = 0;
    let mut at = 0;
    for delay in KILL_AFTER_MS.map(Duration::from_millis) {
        for _ in 0..2 {
            let answer = send(&running.agent(), at).await.expect("nothing was killed");
            acknowledge(&mut acknowledged, at, answer);
            at += BATCH;
        }
        let client = running.agent();
        let killed = async {
            tokio::time::sleep(delay).await;
            running.processes[0].kill();
        };
        let (answer, ()) = tokio::join!(send(&client, at), killed);
        // answered in time is acknowledged; what was cut off is sent again, as a client would
        match answer {
            Some(answer) => acknowledge(&mut acknowledged, at, answer),
            None => cut_off += 1,
        }
        running = Running::up(folder.path(), "", None, port).await;
    }
    assert!(cut_off > 0, "no kill met a batch under way");
    while at < CHUNKS {
        let answer = send(&running.agent(), at).await.expect("nothing was killed");
        acknowledge(&mut acknowledged, at, answer);
        at += BATCH;
    }
    // all of it once more: every acknowledged row is the same row
    for start in (0..CHUNKS).step_by(BATCH) {
        let answer = send(&running.agent(), start).await.expect("nothing was killed");
        for entry in answer["embeddings"].as_array().unwrap() {
            assert_eq!(entry["deduplicated"], true, "{entry}");
        }
        acknowledge(&mut acknowledged, start, answer);
    }
    assert_eq!(acknowledged.len(), CHUNKS);
    assert!(running.processes[0].terminate().success(), "{}", running.logs());
    let options =
        Options { candidates: vec![tools().join("postgres")], ..Options::new(running.dir.join("postgres")) };
    let postgres = PrivatePostgres::start(options).await.unwrap();
    let sql = connect(postgres.connection_url().expose_secret()).await;
    let count = async |from: &str| -> i64 {
        sql.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get(0)
    };
    assert_eq!(count("store.embeddings").await, CHUNKS as i64);
    assert_eq!(count("store.embedding_keys").await, CHUNKS as i64);
    let apart = "store.embeddings e FULL JOIN store.embedding_keys k USING (tenant_id, embedding_id) \
                 WHERE e.embedding_id IS NULL OR k.embedding_id IS NULL";
    assert_eq!(count(apart).await, 0);
    // the books: one state an attempt, one without an amount is still open, and an ended one is charged in full
    let books = [
        ("two rows", "SELECT FROM ledger.attempts GROUP BY attempt_id HAVING count(*) > 1"),
        ("open and not reserved", "SELECT FROM ledger.attempts WHERE (settled_at IS NULL) <> (state = 'reserved')"),
        (
            "charged otherwise",
            "SELECT FROM ledger.attempts a LEFT JOIN (SELECT attempt_id, sum(amount_nano_usd) amount, sum(tokens) tokens
                 FROM ledger.charges WHERE NOT cached GROUP BY attempt_id) c USING (attempt_id)
             WHERE (c.amount, c.tokens) IS DISTINCT FROM (a.amount_nano_usd::numeric, a.tokens::numeric)",
        ),
        (
            "charges of no attempt",
            "SELECT FROM ledger.charges c LEFT JOIN ledger.attempts a USING (attempt_id)
             WHERE NOT c.cached AND a.attempt_id IS NULL",
        ),
    ];
    for (what, query) in books {
        assert_eq!(count(&format!("({query}) bad")).await, 0, "{what}");
    }
    let settled = count("ledger.attempts WHERE state = 'settled'").await;
    assert!(settled >= (CHUNKS / BATCH) as i64 - cut_off, "{settled} settled");
    let open = count("ledger.attempts WHERE state = 'reserved'").await;
    println!("{cut_off} batches cut off, {settled} attempts settled, {open} open");
    postgres.stop().await.unwrap();
}

/// The batch of chunks from `start` on; `None` when the answer was cut off.
async fn send(client: &Client, start: usize) -> Option<Value> {
    let body: Vec<Value> = (start..start + BATCH).map(request).collect();
    client.try_post("/api/v1/embeddings/batch", body.into()).await.map(Answer::ok)
}

/// Notes the ids, or, of chunks that were acknowledged before, finds them unchanged.
fn acknowledge(acknowledged: &mut BTreeMap<usize, String>, start: usize, answer: Value) {
    assert_eq!((&answer["failed"], &answer["count"]), (&json!(0), &json!(BATCH)), "{answer}");
    for (offset, entry) in answer["embeddings"].as_array().unwrap().iter().enumerate() {
        let id = entry["embedding_id"].as_str().unwrap();
        let before = acknowledged.entry(start + offset).or_insert_with(|| id.to_owned());
        assert_eq!(before, id, "chunk {} became another row", start + offset);
    }
}

fn request(n: usize) -> Value {
    json!({"agent_id": "crash", "text": format!("chunk {n}"), "return_vector": false})
}
