//! Every shell block of the README and of `docs/` runs as printed.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use crate::running::{Process, root, tools};

/// A fenced block of Markdown.
pub struct Block {
    pub language: String,
    pub text: String,
}

pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<Block> = None;
    for line in markdown.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block { language: language.to_owned(), text: String::new() })
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// In this order: what stands in a page may go on with what an earlier one has made.
const PAGES: [&str; 13] = [
    "quick-start",
    "keys-and-agents",
    "configuration",
    "providers",
    "operations",
    "cache",
    "money",
    "idempotency",
    "audit",
    "tenants",
    "backup",
    "rows",
    "replicas",
];

fn page(name: &str) -> String {
    fs::read_to_string(root().join(format!("docs/{name}.md"))).unwrap()
}

#[test]
fn every_page_with_commands_is_run() {
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".md") else { continue };
        let commands = blocks(&page(name)).iter().any(|block| block.language == "sh");
        assert_eq!(commands, PAGES.contains(&name), "docs/{file} has commands: {commands}");
    }
}

/// A process and its children, which are told to end when the test does, however it does.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        let _gone = Command::new("kill").arg("--").arg(format!("-{}", self.0)).status();
    }
}

/// The README's first block starts the system; the others talk to it, in order, in one shell's environment, and those of `docs/` follow.
#[tokio::test]
async fn every_block_of_readme_and_docs_runs_as_printed() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&readme);
    let docs: Vec<Block> = PAGES.iter().flat_map(|name| self::blocks(&page(name))).collect();
    let shell: Vec<&Block> = blocks.iter().chain(&docs).filter(|block| block.language == "sh").collect();
    assert!(shell.len() > 3, "the README has lost its examples");
    let (start, rest) = shell.split_first().unwrap();
    assert_eq!(start.text.trim(), "make run");

    let folder = tempfile::TempDir::new().unwrap();
    // the same profile and selection as these tests, so that nothing is built twice
    let environment = [
        ("XDG_DATA_HOME", folder.path().to_owned()),
        ("PROFILE", "dev".into()),
        ("RUN_SELECTS", "--workspace --bins --tests".into()),
        ("EMBERMESH_TOOLS_DIR", tools()),
        ("CARGO_TARGET_DIR", root().join("target")),
        ("TIKTOKEN_CACHE_DIR", folder.path().to_owned()),
    ];
    let mut make = Command::new("sh");
    make.arg("-c").arg(format!("exec {}", start.text.trim())).envs(environment.clone());
    std::os::unix::process::CommandExt::process_group(&mut make, 0);
    let mut up = Process::spawn(make, folder.path().join("up.log"));
    let group = Group(up.child.id());
    let until = Instant::now() + Duration::from_secs(300);
    while !up.log().contains("Try it:") {
        assert!(up.child.try_wait().unwrap().is_none() && Instant::now() < until, "{}", up.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // what the banner prints is a promise too
    let banner = up.log();
    let curls =
        banner.split("Try it:").nth(1).unwrap().split("\n\n").filter(|part| part.trim().starts_with("curl"));
    let mut script = String::from("set -euo pipefail\n");
    for curl in curls {
        script.push_str(&format!("{}\necho\n", curl.trim()));
    }
    for block in rest {
        let text = match block.text.as_str() {
            // the one runs already, the other runs this
            "make run\n" | "make test\n" => continue,
            text => text,
        };
        script.push_str(&format!("echo '>>>'\n{text}\necho\n"));
    }
    fs::write(folder.path().join("readme.sh"), &script).unwrap();
    let output = Command::new("bash")
        .arg(folder.path().join("readme.sh"))
        .current_dir(root())
        .envs(environment)
        .env("PATH", format!("{}:{}", tools().join("python/bin").display(), std::env::var("PATH").unwrap()))
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    drop(group);
    let ended = up.child.wait();
    assert!(output.status.success(), "{said}\n--- script\n{script}\n--- up\n{}", up.log());
    assert!(!said.contains(r#""error""#), "{said}");
    drop(ended);

    for expected in blocks.iter().filter(|block| block.language == "text expected") {
        for line in expected.text.lines().filter(|line| !line.trim().is_empty()) {
            assert!(said.contains(line.trim()), "the README promises {line:?}, which did not come:\n{said}");
        }
    }
}
