//! kill -9 in the middle of ingesting: what was acknowledged is there once, and keys and rows agree.

use std::{collections::BTreeMap, time::Duration};

use embermesh_private_postgres::{Options, PrivatePostgres};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::running::{Running, connect, free_port, tools};

const CHUNKS: usize = 2_000;
const BATCH: usize = 50;

#[tokio::test]
async fn kill_9_of_up_while_ingesting_loses_and_doubles_nothing() {
    let folder = tempfile::TempDir::new().unwrap();
    let port = free_port();
    let mut running = Running::up(folder.path(), "", None, port).await;
    let mut acknowledged: BTreeMap<usize, String> = BTreeMap::new();
    let mut rounds = 0;
    let mut at = 0;
    while at < CHUNKS {
        // killed while the third batch of each of the first rounds is under way
        let kill = rounds < 3;
        let until = if kill { at + 3 * BATCH } else { CHUNKS };
        while at < until {
            let client = running.agent();
            let body: Vec<Value> = (at..at + BATCH).map(request).collect();
            if kill && at + BATCH >= until {
                let sent = client.try_post("/api/v1/embeddings/batch", body.into());
                let killed = async {
                    tokio::time::sleep(Duration::from_millis(120)).await;
                    running.processes[0].kill();
                };
                let (_answered_or_cut, ()) = tokio::join!(sent, killed);
                break;
            }
            let answer = client.post("/api/v1/embeddings/batch", body.into()).await.ok();
            assert_eq!(answer["failed"], 0, "{answer}");
            for (offset, entry) in answer["embeddings"].as_array().unwrap().iter().enumerate() {
                acknowledged.insert(at + offset, entry["embedding_id"].as_str().unwrap().to_owned());
            }
            at += BATCH;
        }
        rounds += 1;
        if kill {
            running = Running::up(folder.path(), "", None, port).await;
        }
    }
    // all of it once more: every acknowledged row is the same row
    for start in (0..CHUNKS).step_by(BATCH) {
        let body: Vec<Value> = (start..start + BATCH).map(request).collect();
        let answer = running.agent().post("/api/v1/embeddings/batch", body.into()).await.ok();
        for (offset, entry) in answer["embeddings"].as_array().unwrap().iter().enumerate() {
            assert_eq!(
                entry["embedding_id"].as_str(),
                acknowledged.get(&(start + offset)).map(String::as_str)
            );
            assert_eq!(entry["deduplicated"], true);
        }
    }
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
    postgres.stop().await.unwrap();
}

fn request(n: usize) -> Value {
    json!({"agent_id": "crash", "text": format!("chunk {n}"), "return_vector": false})
}
