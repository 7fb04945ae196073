//! `embermesh doctor --bundle`: everything that helps, and no secret.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use embermesh_testing::sim::{DeploymentSpec, Simulator};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    running::{Running, SERVICES, bin},
    secrets::{self, PERSONAL, TEXT},
    simulated::SMALL,
};

const CREDENTIAL: &str = "sk-canary-of-the-provider";
const REDIS_PASSWORD: &str = "canary-of-the-redis";
/// Where people put what belongs elsewhere.
const IN_A_URL: &str = "canary-in-a-url";
const IN_A_VARIABLE: &str = "canary-in-a-variable";

/// Runs the doctor on the configuration `file`, with its keys in the environment.
fn doctor(running: &Running, file: &Path, bundle: &Path) -> Output {
    let mut command = Command::new(bin("embermesh"));
    command.args(["doctor", "--json", "--config"]).arg(file).arg("--bundle").arg(bundle);
    command.current_dir(file.parent().unwrap());
    command.env("DATABASE_URL", running.database.as_ref().unwrap().url().expose_secret());
    command
        .env("EMBERMESH_URL", &running.url)
        .env("EMBERMESH_ADMIN_KEY", running.keys["admin_key"].as_str().unwrap());
    command.env("SOME_API_KEY", IN_A_VARIABLE);
    for name in ["REDIS_URL", "OPENAI_API_KEY", "EMBERMESH_DATA_DIR", "ENVIRONMENT"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

/// Every file below a folder, with its text.
fn files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundle_has_what_helps_and_no_secret() {
    let spec = DeploymentSpec { api_key: Some(CREDENTIAL.to_owned()), ..DeploymentSpec::named("sim") };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let url = simulator.deployments()[0].base_url();
    let provider = format!("{{base_url: '{url}', api_key: {CREDENTIAL}, models: [{SMALL}]}}");
    let yaml = format!("embedding: {{providers: {{openai: {provider}}}}}\n");
    let running = Running::five(&yaml).await;
    let text = format!("{TEXT} {}", PERSONAL.join(", "));
    let row = json!({"agent_id": "a", "text": text, "model": SMALL, "metadata": {"note": text}});
    running.agent().post("/api/v1/embeddings", row).await.ok();

    // the configuration of the running system, with more that must not be seen
    let file = running.dir.with_file_name("doctor.yaml");
    let own = std::fs::read_to_string(running.dir.with_file_name("embermesh.yaml")).unwrap();
    let more = format!(
        "redis: {{url: 'redis://:{REDIS_PASSWORD}@127.0.0.1:1'}}\n\
         tracing: {{endpoint: 'http://me:{IN_A_URL}@127.0.0.1:4317', service_name: {IN_A_VARIABLE}}}\n"
    );
    std::fs::write(&file, format!("{own}{more}")).unwrap();
    let archive = running.dir.with_file_name("bundle.tar.gz");
    let output = doctor(&running, &file, &archive);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let findings: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert!(output.status.code() <= Some(1), "{:?}: {said}", output.status);

    assert_eq!(std::fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = tempfile::TempDir::new().unwrap();
    let unpacked =
        Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(unpacked.success());
    let root = folder.path().join("embermesh-bundle");
    let read = |path: &str| {
        std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let json = |path: &str| serde_json::from_str::<Value>(&read(path)).unwrap();
    assert_eq!(json("findings.json").as_array().unwrap().len(), findings.as_array().unwrap().len());
    assert_eq!(json("versions.json")["server"]["name"], "embermesh");
    for service in SERVICES {
        assert_eq!(json(&format!("{service}/health.json"))["status"], "ready", "{service}");
        assert!(read(&format!("{service}/metrics.txt")).starts_with("# HELP "), "{service}");
    }
    assert!(json("gateway/providers.json")["providers"].is_object());
    assert!(json("gateway/settings.json").is_object());
    let configuration = read("configuration.yaml");
    for shown in ["api_key: '***'", "http://***@127.0.0.1:4317", SMALL, "service_name: '***'"] {
        assert!(
            configuration.contains(shown) || configuration.contains(&shown.replace('\'', "")),
            "{shown}: {configuration}"
        );
    }

    let database = running.database.as_ref().unwrap().url().expose_secret();
    let mut known = secrets::known(&yaml, Some(database));
    for canary in [CREDENTIAL, REDIS_PASSWORD, IN_A_URL, IN_A_VARIABLE] {
        known.push(("a canary", canary.to_owned()));
    }
    for key in ["admin_key", "agent_key"] {
        known.push(("a key", running.keys[key].as_str().unwrap().to_owned()));
    }
    let files = files(&root);
    assert!(files.len() >= 16, "{files:?}");
    let found: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| secrets::found(&path.display().to_string(), text, &known))
        .collect();
    assert!(found.is_empty(), "{found:?}");

    // what is there is not written over
    let before = std::fs::read(&archive).unwrap();
    let again = doctor(&running, &file, &archive);
    assert_eq!(again.status.code(), Some(2), "{}", String::from_utf8_lossy(&again.stderr));
    assert_eq!(std::fs::read(&archive).unwrap(), before);
}
