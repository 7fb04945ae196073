//! The clients that people already have: OpenAI's SDK, LangChain, and a gRPC client made from the contracts alone.

use std::{path::Path, process::Command};

use embermesh_tokens::tiktoken_cache::{CL100K_BASE_FILE, cl100k_base_table};

use crate::running::{Running, root, tools};

/// Runs a script of `python/` against a system.
fn run(script: &str, running: &Running, folder: &Path) {
    let python = tools().join("python/bin/python");
    assert!(python.is_file(), "the Python clients are missing: run scripts/setup.sh --tests");
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(script))
        .arg(folder)
        .arg(root().join("proto"))
        .env("EMBERMESH_URL", &running.url)
        .env("EMBERMESH_API_KEY", running.keys["agent_key"].as_str().unwrap())
        .env("TIKTOKEN_CACHE_DIR", folder)
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}\n{}", running.logs());
    assert!(said.contains("checked"), "the script did not get to its end: {said}");
}

async fn with_system(script: &str) {
    let running = Running::one("").await;
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join(CL100K_BASE_FILE), cl100k_base_table()).unwrap();
    run(script, &running, folder.path());
}

#[tokio::test]
async fn openai_sdk_and_langchain_get_the_vectors_of_the_rest_route() {
    with_system("openai_sdk.py").await;
}

#[tokio::test]
async fn a_grpc_client_made_from_the_contracts_alone_embeds_and_searches() {
    with_system("grpc_client.py").await;
}
