//! The table of what the guide has and what came of it: `docs/guide-coverage.md`.

use std::fmt::Display;

use crate::running::root;

const FILE: &str = "docs/guide-coverage.md";
const HEAD: &str = "# What the operations guide says, and what came of it

Each command, endpoint, query, configuration block, alert, panel, script and checklist item of the guide: how it is run against Embermesh, and
the result. Commands, queries and configuration are run as printed but for hosts, ports, keys and names of databases. The table is what the test
`guide` of `integration-tests` produces, which fails when it is another; `EMBERMESH_WRITE=1` has it written anew. A linked name is a test that
runs the item.
";

/// What came of an item.
pub enum Outcome {
    AsPrinted,
    /// It works, and there is something better, with the reason.
    Improved(&'static str),
    /// As printed it does nothing, or is refused; this does what it is for.
    Instead(&'static str),
    /// It works as far as this says.
    SoFar(&'static str),
    /// What it would need.
    NotHere(&'static str),
}

/// How an item was run, and what went wrong if something did.
pub struct Proof {
    how: String,
    failures: Vec<String>,
}

impl Proof {
    /// It was run in this test; `said` is for the message of a failure.
    pub fn run(how: &str, holds: bool, said: impl Display) -> Self {
        let failures = if holds { Vec::new() } else { vec![said.to_string()] };
        Self { how: how.to_owned(), failures }
    }

    /// Another test runs it: a test of Rust, or a check of a script that one starts.
    pub fn test(file: &str, name: &str) -> Self {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let failure = (!is_run(&text, file, name)).then(|| format!("{file} has no test {name}"));
        Self { how: format!("[{name}](../{file})"), failures: failure.into_iter().collect() }
    }

    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.how = format!("{}; {}", self.how, other.how);
        self.failures.extend(other.failures);
        self
    }
}

/// Whether `name` is among what is run of a file, and not ignored.
fn is_run(text: &str, file: &str, name: &str) -> bool {
    if file.ends_with(".py") {
        let (_, run) = text.rsplit_once("main(").unwrap_or_default();
        return text.contains(&format!("\ndef {name}():")) && run.contains(&format!(" {name},"));
    }
    let Some((before, _)) = text.split_once(&format!("fn {name}()")) else { return false };
    let (above, _) = before.rsplit_once('\n').unwrap_or_default();
    let attributes: Vec<&str> = above.split('\n').rev().take_while(|line| !line.trim().is_empty()).collect();
    attributes.iter().any(|line| line.contains("#[test]") || line.contains("#[tokio::test"))
        && !attributes.iter().any(|line| line.contains("#[ignore"))
}

#[derive(Default)]
pub struct Book {
    text: String,
    rows: usize,
    failures: Vec<String>,
}

impl Book {
    pub fn section(&mut self, title: &str) {
        self.text.push_str(&format!("\n## {title}\n"));
    }

    pub fn part(&mut self, title: &str) {
        let head = "| | item | how it is run here | result |\n|---|---|---|---|\n";
        self.text.push_str(&format!("\n### {title}\n\n{head}"));
    }

    pub fn row(&mut self, item: &str, proof: Proof, outcome: Outcome) {
        self.rows += 1;
        let result = match outcome {
            Outcome::AsPrinted => "works as printed".to_owned(),
            Outcome::Improved(why) => format!("works, improved: {why}"),
            Outcome::Instead(what) => format!("not as printed; instead: {what}"),
            Outcome::SoFar(how_far) => how_far.to_owned(),
            Outcome::NotHere(why) => format!("cannot be run here: {why}"),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        self.text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            self.rows,
            cell(item),
            cell(&proof.how),
            cell(&result)
        ));
        self.failures.extend(proof.failures.iter().map(|failure| format!("{item}: {failure}")));
    }

    /// Shorter for what works as printed.
    pub fn as_printed(&mut self, item: &str, proof: Proof) {
        self.row(item, proof, Outcome::AsPrinted);
    }

    /// Nothing failed, there are as many rows as the guide has items, and the table is the one of the repository.
    pub fn close(self) {
        assert!(self.failures.is_empty(), "{} items:\n{}", self.failures.len(), self.failures.join("\n"));
        assert!(self.rows >= 90, "{} rows", self.rows);
        let written = format!("{HEAD}{}", self.text);
        let path = root().join(FILE);
        if std::env::var_os("EMBERMESH_WRITE").is_some() {
            std::fs::write(&path, &written).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = written.lines().zip(kept.lines()).find(|(now, before)| now != before);
        assert!(kept == written, "{FILE} is another, run this test with EMBERMESH_WRITE=1: {differs:?}");
    }
}

#[test]
fn tests_are_found_by_their_names() {
    let text = "/// x\n#[tokio::test]\nasync fn one() {}\n\nfn two() {}\n\n#[test]\n#[ignore = \"slow\"]\nfn three() {}\n\n    #[test]\n    fn five() {}\n\n#[test]\nfn six() {}\n";
    let found = |name: &str| is_run(text, "a.rs", name);
    assert!(found("one") && found("five") && found("six"));
    assert!(!found("two") && !found("three") && !found("four"));
    let script = "\ndef seen():\n    pass\n\ndef left_out():\n    pass\n\nmain(\n        seen,\n    )";
    assert!(is_run(script, "a.py", "seen") && !is_run(script, "a.py", "left_out"));
}
