//! The same on S3, as `moto` has it.

use std::time::Duration;

use embermesh_private_postgres::TestDatabase;

use super::*;
use crate::running::{Process, wait_until};

const STORAGE: &str = "s3://backups/embeddings/";

/// A server of S3 in a process.
struct Moto {
    url: String,
    _process: Process,
}

impl Moto {
    async fn start(folder: &Path) -> Self {
        let (port, server) = (free_port(), tools().join("python/bin/moto_server"));
        assert!(server.is_file(), "moto is missing: run scripts/setup.sh --tests");
        let mut command = Command::new(server);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::spawn(command, folder.join("moto.log"));
        let url = format!("http://127.0.0.1:{port}");
        let http = reqwest::Client::new();
        wait_until(|| async {
            let made = http.put(format!("{url}/backups")).timeout(Duration::from_secs(5)).send().await;
            made.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        Self { url, _process: process }
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let request = reqwest::Client::new().get(format!("{}/backups/{key}", self.url));
        // moto does not look whose signature it is
        let answer = request.header("authorization", "AWS key:signature").send().await.unwrap();
        assert!(answer.status().is_success(), "{key}");
        answer.bytes().await.unwrap().to_vec()
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) {
        let url = format!("{}/backups/{key}", self.url);
        assert!(
            reqwest::Client::new()
                .put(url)
                .header("authorization", "AWS key:signature")
                .body(bytes)
                .send()
                .await
                .unwrap()
                .status()
                .is_success()
        );
    }
}

#[tokio::test]
async fn a_bucket_keeps_what_a_folder_keeps() {
    let system = System::start("pg_dump", "").await;
    let moto = Moto::start(system.folder.path()).await;
    system.work("far", 8).await;
    let sql = system.sql().await;
    books::ended(&sql, system.simulator.calls().len()).await;
    let expected = held(&sql).await;
    let run = |words: &[&str]| {
        let mut command = system.command(words);
        for (name, value) in [
            ("AWS_ENDPOINT_URL", moto.url.as_str()),
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
        ] {
            command.env(name, value);
        }
        command.output().unwrap()
    };
    let done = |words: &[&str]| said(words, &run(words), true);
    let on = ["--storage", STORAGE];
    // so large that it is sent in parts
    let large: Vec<u8> = (0..20 << 20).map(|_| rand::random()).collect();
    std::fs::write(system.data().join("audit-anchors.log"), large).unwrap();
    let made = done(&[&["backup", "--kind", "logical", "--kind", "base"], &on[..]].concat());
    let logical = made.lines().find(|line| line.starts_with("logical-")).unwrap().split(':').next().unwrap();
    let listed = done(&[&["backup", "list"], &on[..]].concat());
    assert!(listed.contains(logical) && listed.contains("base-"), "{listed}");
    assert!(done(&[&["backup", "verify", logical], &on[..]].concat()).contains("as they were written"));

    let database = TestDatabase::create().await;
    done(&[&["restore", "--kind", "logical", "--into", database.url().expose_secret()], &on[..]].concat());
    assert_eq!(held(&connect(database.url().expose_secret()).await).await, expected);

    let key = format!("embeddings/{logical}/embeddings.dump");
    let mut bytes = moto.get(&key).await;
    bytes[100] ^= 4;
    moto.put(&key, bytes).await;
    let words = [&["backup", "verify", logical], &on[..]].concat();
    assert!(said(&words, &run(&words), false).contains("DAMAGED"));

    // a segment of the log, as PostgreSQL hands it over
    let name = "0000000100000000000000AA";
    let segment = system.folder.path().join(name);
    std::fs::write(&segment, vec![7; 1 << 24]).unwrap();
    let wal = |words: &[&str], paths: &[&str]| {
        let mut command = Command::new(bin("embermesh"));
        command.args(["backup"]).args(words).args(["--storage", STORAGE]).args(paths);
        command
            .env("AWS_ENDPOINT_URL", &moto.url)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        command.env("AWS_REGION", "us-east-1").output().unwrap().status.code()
    };
    let path = segment.to_str().unwrap();
    assert_eq!(wal(&["wal-push"], &[path]), Some(0));
    assert_eq!(wal(&["wal-push"], &[path]), Some(0), "the same once more");
    std::fs::write(&segment, vec![8; 1 << 24]).unwrap();
    assert_eq!(wal(&["wal-push"], &[path]), Some(1), "another of the same name");
    let back = system.folder.path().join("back");
    assert_eq!(wal(&["wal-fetch"], &[name, back.to_str().unwrap()]), Some(0));
    assert_eq!(std::fs::read(&back).unwrap(), vec![7; 1 << 24]);
    assert_eq!(wal(&["wal-fetch"], &["0000000100000000000000AB", back.to_str().unwrap()]), Some(1));
    let mut bytes = moto.get(&format!("embeddings/wal/{name}")).await;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    moto.put(&format!("embeddings/wal/{name}"), bytes).await;
    assert_eq!(wal(&["wal-fetch"], &[name, back.to_str().unwrap()]), Some(200), "recovery must stop");
}
