//! The configuration that agents run on: that of the agent `default` for those without one, its history, the command line.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    money::nanos,
    running::{Running, bin, wait_until},
    simulated::{LARGE, QUIET, SMALL, configure, explain, system, unstored},
};

const AGENTS: &str = "/api/v1/embeddings/agents";
const EMBED: &str = "/api/v1/embeddings";

async fn embed(client: &Client, agent: &str, text: &str, model: Option<&str>) -> Answer {
    client.post(EMBED, unstored(agent, text, model)).await
}

#[tokio::test]
async fn an_agent_that_nobody_registered_is_held_to_every_field_of_the_default_one() {
    let (simulator, running) = system(&["a-one"], &[SMALL, LARGE], &[QUIET]).await;
    let (admin, client) = (running.admin(), running.agent());
    // a configuration that sets nothing is one all the same, and takes nothing over
    admin.put(&format!("{AGENTS}/own"), json!({"metadata": {"team": "x"}})).await.ok();
    let long = "word ".repeat(60);
    let before = embed(&client, "nobody", &long, Some(SMALL)).await.ok();
    // at 20 nano-USD a token
    assert!(before["tokens_used"].as_i64().unwrap() > 50, "{}", before["tokens_used"]);

    configure(&running, "default", json!({"constraints": {"max_cost_per_request": 0.000001}})).await;
    let long = "other ".repeat(60);
    embed(&client, "nobody", &long, Some(SMALL)).await.refused(402, "budget_exceeded");
    embed(&client, "own", &long, Some(SMALL)).await.ok();

    let rates = json!({"clear": ["constraints"], "constraints": {"rate_limits": {"requests_per_minute": 3}}});
    configure(&running, "default", rates).await;
    let calls = simulator.calls().len();
    // each has a minute of its own
    for agent in ["nobody", "somebody"] {
        let mut answered = 0;
        let refused = loop {
            let answer = embed(&client, agent, &format!("{agent} {answered}"), Some(SMALL)).await;
            if answer.status != 200 {
                break answer;
            }
            answered += 1;
            assert!(answered <= 3, "more requests than {agent} may make");
        };
        refused.refused(429, "rate_limited");
        assert!(answered >= 1, "{agent} was never let in");
    }
    assert!((calls + 2..=calls + 6).contains(&simulator.calls().len()));
    for n in 0..5 {
        embed(&client, "own", &format!("own {n}"), Some(SMALL)).await.ok();
    }

    configure(&running, "default", json!({"clear": ["constraints"], "pii": {"action": "reject"}})).await;
    let personal = "write to jane.roe@example.com";
    let calls = simulator.calls().len();
    embed(&client, "nobody", personal, Some(SMALL)).await.refused(422, "pii_rejected");
    let openai = json!({"model": SMALL, "input": personal, "user": "nobody"});
    client.post("/v1/embeddings", openai.clone()).await.refused(422, "pii_rejected");
    let query = json!({"agent_id": "nobody", "query": personal});
    client.post("/api/v1/embeddings/search", query).await.refused(422, "pii_rejected");
    assert_eq!(simulator.calls().len(), calls);
    embed(&client, "own", personal, Some(SMALL)).await.ok();
    let mut of_own = openai;
    of_own["user"] = "own".into();
    client.post("/v1/embeddings", of_own).await.ok();

    let preference = json!({
        "clear": ["pii"],
        "model_preferences": [{"task_type": "general_qa", "primary_models": [LARGE]}],
        "constraints": {"preferred_dimensions": 256},
    });
    configure(&running, "default", preference).await;
    let made = embed(&client, "fresh", "which model", None).await.ok();
    assert_eq!((&made["model_used"], &made["dimensions"]), (&json!(LARGE), &json!(256)));
    assert_eq!(explain(&running, "fresh", json!({})).await["chosen"], format!("a-one/{LARGE}"));
    let models = admin.get(&format!("{AGENTS}/never-seen/models")).await.ok();
    assert_eq!(models["primary_models"], json!([LARGE]));
    let made = embed(&client, "own", "which model", None).await.ok();
    assert_eq!(made["model_used"], SMALL);

    let cache = json!({"clear": ["model_preferences", "constraints"], "cache": {"enabled": false}});
    configure(&running, "default", cache).await;
    for (agent, second) in [("nobody", false), ("own", true)] {
        let text = format!("{agent} twice");
        embed(&client, agent, &text, Some(SMALL)).await.ok();
        let again = embed(&client, agent, &text, Some(SMALL)).await.ok();
        assert_eq!(again["cached"], second, "{agent}");
    }
}

#[tokio::test]
async fn a_day_limit_of_the_default_agent_is_each_ones_own() {
    let (simulator, running) = system(&["a-one"], &[SMALL], &[QUIET]).await;
    let (admin, client) = (running.admin(), running.agent());
    admin.put(&format!("{AGENTS}/own"), json!({"embedding_strategy": "cost"})).await.ok();
    // three tokens at 20 nano-USD
    configure(&running, "default", json!({"constraints": {"max_cost_per_day": 0.00000006}})).await;
    let costs =
        async |agent: &str| admin.get(&format!("{AGENTS}/{agent}/costs")).await.ok()["budget"].clone();
    wait_until(|| async { costs("first").await["limit"].is_number() }).await;
    for agent in ["first", "second"] {
        embed(&client, agent, &format!("one two {agent}"), Some(SMALL)).await.ok();
        embed(&client, agent, "four", Some(SMALL)).await.refused(402, "budget_exceeded");
        let budget = costs(agent).await;
        assert_eq!(nanos(&budget["limit"].to_string()), 60, "{agent}: {budget}");
    }
    for n in 0..3 {
        embed(&client, "own", &format!("one two three {n}"), Some(SMALL)).await.ok();
    }
    assert!(costs("own").await["limit"].is_null());
    assert_eq!(simulator.calls().len(), 5);

    // an agent that is taken out of the configuration is held to the default one from then on, and no longer once it is back
    admin.delete(&format!("{AGENTS}/own")).await.ok();
    wait_until(|| async { costs("own").await["limit"].is_number() }).await;
    // another text each time: one that was answered is in memory, where it costs nothing
    let asked = AtomicUsize::new(0);
    let text = || format!("five {}", asked.fetch_add(1, Ordering::Relaxed));
    wait_until(|| async { embed(&client, "own", &text(), Some(SMALL)).await.status == 402 }).await;
    admin.post(&format!("{AGENTS}/own/rollback"), json!({})).await.ok();
    wait_until(|| async { embed(&client, "own", "six", Some(SMALL)).await.status == 200 }).await;
}

/// `embermesh agents`; what it was told on standard input, its exit code and what it printed.
fn agents(running: &Running, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(bin("embermesh"));
    command
        .arg("agents")
        .args(arguments)
        .arg("--data-dir")
        .arg(&running.dir)
        .env("EMBERMESH_URL", &running.url);
    command.env_remove("EMBERMESH_ADMIN_KEY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_line_changes_agents_and_takes_changes_back() {
    let running = Running::one("").await;
    let done = |arguments: &[&str], input: &str| {
        let (code, out, err) = agents(&running, arguments, input);
        assert_eq!(code, Some(0), "{arguments:?}: {out}{err}");
        out
    };
    let refused = |arguments: &[&str], code: i32| {
        let (exit, out, err) = agents(&running, arguments, "");
        assert_eq!((exit, out.as_str()), (Some(code), ""), "{arguments:?}: {err}");
        err
    };
    let json = |text: &str| -> Value { serde_json::from_str(text).unwrap() };

    let made = done(
        &[
            "put",
            "docs",
            r#"{"constraints": {"max_cost_per_day": 150.000000001}, "pii": {"action": "redact"}}"#,
        ],
        "",
    );
    assert!(made.contains("150.000000001") && made.contains("redact"), "{made}");
    // what is got can be edited and given back
    let got = done(&["get", "docs", "--json"], "");
    let edited = got.replace("redact", "reject");
    assert_ne!(edited, got);
    assert_eq!(json(&done(&["put", "docs", "-", "--json"], &edited))["pii"]["action"], "reject");
    let stale = refused(&["put", "docs", &edited], 4);
    assert!(stale.contains("the current version is 2"), "{stale}");
    let cleared = json(&done(&["put", "docs", "--clear", "pii", "--if-version", "2", "--json"], ""));
    assert_eq!((&cleared["version"], &cleared["pii"]), (&json!(3), &Value::Null), "{cleared}");

    let history = json(&done(&["history", "docs", "--json"], ""));
    let versions: Vec<_> =
        history["versions"].as_array().unwrap().iter().map(|one| &one["version"]).collect();
    assert_eq!(versions, [3, 2, 1]);
    assert!(done(&["history", "docs"], "").contains("pii.action"));
    let back = json(&done(&["rollback", "docs", "--json"], ""));
    assert_eq!((&back["version"], &back["pii"]["action"]), (&json!(4), &json!("reject")), "{back}");
    let back = json(&done(&["rollback", "docs", "--to", "1", "--json"], ""));
    assert_eq!((&back["version"], &back["pii"]["action"]), (&json!(5), &json!("redact")), "{back}");

    assert!(done(&["list"], "").contains("docs"));
    assert!(done(&["models", "docs", "--task-type", "research"], "").contains("research"));
    assert!(done(&["explain", "docs", "--strategy", "cost"], "").contains("strategy cost"));
    done(&["delete", "docs"], "");
    assert!(refused(&["get", "docs"], 4).contains("not_found"));
    assert!(refused(&["put", "docs", "--clear", "pi"], 4).contains("pii.action"));
    assert!(refused(&["put", "docs", "no-such-file"], 2).contains("cannot read no-such-file"));
    refused(&["rollback", "docs", "--to", "6"], 4);
    assert_eq!(json(&done(&["rollback", "docs", "--json"], ""))["version"], 7);
}
