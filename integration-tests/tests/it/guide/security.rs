//! Security operations.

use serde_json::json;

use super::{
    book::{Book, Outcome, Proof},
    system::{System, dump},
};
use crate::running::{root, wait_until};

const KEY_USE: &str = "SELECT api_key_id,
       COUNT(*) as requests,
       MAX(created_at) as last_used
FROM api_requests
WHERE created_at > NOW() - INTERVAL '7 days'
GROUP BY api_key_id;";

const SUSPICIOUS: &str = "-- Review suspicious activity
SELECT user_id,
       endpoint,
       COUNT(*) as request_count,
       SUM(cost_usd) as total_cost
FROM audit_logs
WHERE created_at > NOW() - INTERVAL '1 hour'
GROUP BY user_id, endpoint
HAVING COUNT(*) > 1000
   OR SUM(cost_usd) > 100;";

const PII: &str = r"
pii_detection:
  enabled: true
  patterns:
    - ssn: '\d{3}-\d{2}-\d{4}'
    - email: '[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}'
    - phone: '\+?1?\d{10,14}'
  action: redact  # or reject
";

pub async fn rows(book: &mut Book, system: &System) {
    book.section("Security operations");
    keys(book, system).await;
    personal_data(book, system).await;
    book.part("Audit");
    let by_all = "integration-tests/tests/it/api_requests.rs";
    let lines = system.psql(SUSPICIOUS).await;
    // nobody is suspicious here; the other test has somebody who is
    let columns = lines.iter().all(|line| line.split('|').count() == 4);
    book.as_printed(
        "suspicious activity, from `audit_logs`",
        Proof::run("in psql as `embermesh_operator`, as printed", columns, lines.join("\n"))
            .and(Proof::test(by_all, "the_guides_queries_find_every_call_and_what_it_cost")),
    );
}

async fn keys(book: &mut Book, system: &System) {
    book.part("API keys");
    let script = root().join("scripts/rotate-api-keys.sh");
    let said = system.sh(&format!("{} --dry-run", script.display()));
    book.as_printed(
        "`./scripts/rotate-api-keys.sh`",
        said.proves("with `--dry-run`", "no key is due").and(Proof::test(
            "integration-tests/tests/it/key_rotation.rs",
            "the_script_rotates_what_is_due_into_a_file_of_ones_own",
        )),
    );
    wait_until(|| async { system.psql(KEY_USE).await.len() >= 2 }).await;
    let lines = system.psql(KEY_USE).await;
    book.as_printed(
        "use of keys, from `api_requests`",
        Proof::run("in psql as `embermesh_operator`, as printed", lines.len() >= 2, lines.join("\n")).and(
            Proof::test(
                "integration-tests/tests/it/api_requests.rs",
                "the_guides_queries_find_every_call_and_what_it_cost",
            ),
        ),
    );
}

async fn personal_data(book: &mut Book, system: &System) {
    book.part("Personal data");
    let loaded = dump(PII, &[]);
    let builtin = || {
        Proof::test(
            "crates/pii/src/config.rs",
            "the_guides_block_loads_as_printed_and_means_the_built_in_detectors",
        )
    };
    book.as_printed("`pii_detection.enabled: true`", loaded.has(&[("pii_detection/enabled", "true")]));
    for (name, better) in [
        ("ssn", "numbers that were never given out are none"),
        ("email", "a detector that checks what it finds"),
        (
            "phone",
            "a detector that checks what it finds: this pattern misses nearly every written number and takes every long id for one",
        ),
    ] {
        book.row(
            &format!("pattern `{name}`"),
            Proof::run(
                "`--dump-config`",
                loaded.ok && loaded.text.contains(&format!("- {name}: ")),
                &loaded.text,
            )
            .and(builtin()),
            Outcome::Improved(better),
        );
    }
    let text = "The new number is 212-555-0143 and the address somebody.else@example.org.";
    let body = json!({"agent_id": "scrubbed", "text": text, "model": "text-embedding-3-small"});
    let made = system.running.agent().post("/api/v1/embeddings", body).await;
    let seen = system
        .simulator
        .calls()
        .iter()
        .any(|call| call.texts.iter().any(|text| text.contains("somebody.else@")));
    book.as_printed(
        "`action: redact`",
        loaded.has(&[("pii_detection/action", "redact")]).and(Proof::run(
            "no provider sees the address",
            made.status == 200 && !seen,
            &made.body,
        )),
    );
    let reject = dump(&PII.replace("action: redact  # or reject", "action: reject"), &[]);
    book.as_printed(
        "`action: reject`",
        reject.has(&[("pii_detection/action", "reject")]).and(Proof::test(
            "integration-tests/tests/it/privacy.rs",
            "a_rejection_names_kinds_and_places_but_no_values",
        )),
    );
}
