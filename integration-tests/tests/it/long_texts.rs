//! Texts over the model's limit: refused with the figures, cut in plain sight, or taken apart into rows.

use embermesh_testing::sim::{self, Api, DeploymentSpec, Simulator};
use serde_json::{Value, json};

use crate::{
    books,
    client::{cosine, floats},
    running::Running,
    simulated::{QUIET, SMALL, is_right, stored, system, unstored, yaml},
};

/// Tokens that the model takes.
const LIMIT: u64 = 8191;

/// About 20,000 tokens, no two places alike, some of it more than a byte a character.
fn long_text() -> String {
    (0..5_000)
        .map(|n| if n % 11 == 0 { format!("Seite {n} — 灯台 ") } else { format!("word{n} and more ") })
        .collect()
}

async fn one() -> (Simulator, Running) {
    system(&["a-one"], &[SMALL], &[QUIET]).await
}

fn body(text: &str, on_too_long: &str, request_id: &str) -> Value {
    json!({
        "agent_id": "writer", "text": text, "model": SMALL, "on_too_long": on_too_long, "request_id": request_id,
        "metadata": {"chapter": 1}, "context_id": "book",
    })
}

#[tokio::test]
async fn a_text_over_the_limit_is_refused_with_its_tokens_and_never_sent() {
    let (simulator, running) = one().await;
    let (client, text) = (running.agent(), long_text());
    let tokens = sim::count_tokens(&text) as u64;
    assert!(tokens > 2 * LIMIT, "{tokens}");
    for on_too_long in [None, Some("error")] {
        let mut body = json!({"agent_id": "writer", "text": text, "model": SMALL});
        if let Some(on_too_long) = on_too_long {
            body["on_too_long"] = on_too_long.into();
        }
        let answer = client.post("/api/v1/embeddings", body).await;
        answer.refused(422, "input_too_long");
        let details = &answer.body["error"]["details"];
        assert_eq!(details["limit"].to_string().trim_matches('"'), LIMIT.to_string(), "{details}");
        assert_eq!(details["tokens"].to_string().trim_matches('"'), tokens.to_string(), "{details}");
    }
    let openai = client.post("/v1/embeddings", json!({"model": SMALL, "input": text})).await;
    assert!((400..500).contains(&openai.status), "{} {}", openai.status, openai.body);
    let unknown = client.post("/api/v1/embeddings", body("short", "shorten", "r-1")).await;
    unknown.refused(400, "invalid_request");
    assert!(simulator.calls().is_empty());
}

#[tokio::test]
async fn truncate_keeps_the_beginning_and_says_so() {
    let (simulator, running) = one().await;
    let (client, text) = (running.agent(), long_text());
    let made = client.post("/api/v1/embeddings", body(&text, "truncate", "cut-1")).await.ok();
    let too_long = &made["too_long"];
    assert_eq!((&too_long["action"], &too_long["limit"]), (&json!("truncate"), &json!(LIMIT)), "{too_long}");
    assert_eq!(
        (&too_long["tokens"], &too_long["tokens_exact"]),
        (&json!(sim::count_tokens(&text)), &json!(true))
    );
    let calls = simulator.calls();
    let [call] = &calls[..] else { panic!("{}", calls.len()) };
    let sent = &call.texts[0];
    assert!(text.starts_with(sent.as_str()));
    assert!(call.tokens <= LIMIT && call.tokens > LIMIT - 10, "{} tokens were kept", call.tokens);
    assert_eq!(made["tokens_used"], call.tokens);
    assert!(is_right(&floats(&made["embedding"]), SMALL, sent));
    let id = made["embedding_id"].as_str().unwrap();
    let row = client.get(&format!("/api/v1/embeddings/{id}")).await.ok();
    assert_eq!(row["content"].as_str(), Some(sent.as_str()));
    // a text that fits has nothing to say of it
    let short = client.post("/api/v1/embeddings", body("short", "truncate", "cut-2")).await.ok();
    assert_eq!(short.get("too_long"), None, "{short}");
}

#[tokio::test]
async fn chunk_makes_a_row_of_every_piece_and_pools_the_answer() {
    let (simulator, running) = one().await;
    let (client, text) = (running.agent(), long_text());
    let answer = client.post("/api/v1/embeddings", body(&text, "chunk", "book-1")).await;
    let made = answer.ok();
    let too_long = &made["too_long"];
    assert_eq!(
        (&too_long["action"], &too_long["tokens"]),
        (&json!("chunk"), &json!(sim::count_tokens(&text)))
    );
    let chunks = too_long["chunks"].as_array().unwrap();
    assert!(chunks.len() >= 3, "{}", chunks.len());
    assert_eq!(chunks[0]["embedding_id"], made["embedding_id"]);

    let sent: Vec<String> = simulator.calls().into_iter().flat_map(|call| call.texts).collect();
    let (mut end, mut sum, mut tokens) = (0, vec![0.0_f64; 1536], 0);
    for chunk in chunks {
        let (from, to) = (chunk["start"].as_u64().unwrap() as usize, chunk["end"].as_u64().unwrap() as usize);
        assert_eq!(from, end, "pieces follow one another without a gap");
        assert!(to > from);
        end = to;
        let piece = &text[from..to];
        assert!(sent.iter().any(|text| text == piece), "{from}..{to} was not sent as it is");
        let counted = chunk["tokens"].as_u64().unwrap();
        assert!(counted <= LIMIT);
        tokens += counted;
        let id = chunk["embedding_id"].as_str().unwrap();
        let row = client.get(&format!("/api/v1/embeddings/{id}")).await.ok();
        assert_eq!(row["content"].as_str(), Some(piece));
        assert_eq!((&row["context_id"], &row["metadata"]), (&json!("book"), &json!({"chapter": 1})));
        assert!(
            cosine(&stored(&client, &chunk["embedding_id"]).await, &sim::vector(SMALL, piece, 1536)) > 0.999
        );
        for (sum, x) in sum.iter_mut().zip(sim::vector(SMALL, piece, 1536)) {
            *sum += f64::from(x) * counted as f64;
        }
    }
    assert_eq!(end, text.len());
    assert_eq!(made["tokens_used"], tokens);
    let pooled: Vec<f32> = sum.into_iter().map(|x| x as f32).collect();
    let vector = floats(&made["embedding"]);
    assert!(cosine(&vector, &pooled) > 0.9999, "the answer is the mean of the pieces by tokens");
    assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);

    // the same request again is the same answer, and nothing is paid
    let calls = simulator.calls().len();
    let again = client.post("/api/v1/embeddings", body(&text, "chunk", "book-1")).await.ok();
    assert_eq!(again["too_long"]["chunks"], made["too_long"]["chunks"]);
    assert_eq!(again["embedding_id"], made["embedding_id"]);
    assert_eq!(simulator.calls().len(), calls);
    let rows = client.get("/api/v1/embeddings?context_id=book").await.ok();
    assert_eq!(rows["embeddings"].as_array().unwrap().len(), chunks.len());
    let query = json!({"agent_id": "writer", "query": &text[..2000], "model": SMALL});
    client.post("/api/v1/embeddings/search", query).await.ok();
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}

#[tokio::test]
async fn a_batch_mixes_short_texts_and_long_ones() {
    let (_simulator, running) = one().await;
    let (client, text) = (running.agent(), long_text());
    let entries = json!([
        body("short one", "chunk", "mix-1"),
        body(&text, "chunk", "mix-2"),
        body(&text, "error", "mix-3"),
        body(&text, "truncate", "mix-4"),
    ]);
    let answer = client.post("/api/v1/embeddings/batch", entries).await.ok();
    assert_eq!((&answer["count"], &answer["failed"]), (&json!(4), &json!(1)));
    let entries = answer["embeddings"].as_array().unwrap();
    assert!(is_right(&floats(&entries[0]["embedding"]), SMALL, "short one"));
    assert!(entries[1]["too_long"]["chunks"].as_array().unwrap().len() >= 3);
    assert_eq!(entries[2]["error"]["code"], "input_too_long");
    assert_eq!(entries[3]["too_long"]["action"], "truncate");
}

/// A model of which only a bound of the tokens is known: what is too long, its provider alone can say.
const UNCOUNTED: &str = "embed-english-v3.0";

#[tokio::test]
async fn of_a_batch_only_the_text_fails_that_the_provider_finds_too_long() {
    let spec =
        DeploymentSpec { api_key: Some("sk-test".into()), ..DeploymentSpec::of(Api::Cohere, "a-cohere") };
    let simulator = Simulator::start(&[spec]).await.unwrap();
    let url = simulator.deployments()[0].base_url();
    let entry =
        format!("a-cohere: {{kind: cohere, base_url: '{url}', api_key: sk-test, models: [{UNCOUNTED}]}}");
    let running = Running::one(&yaml(&[entry], &[QUIET])).await;
    let text = |n: usize| {
        let words = "word and more ".repeat(if n == 4 { 1_000 } else { 1 });
        format!("{n} {words}")
    };
    let batch: Vec<Value> = (0..7).map(|n| unstored("writer", &text(n), Some(UNCOUNTED))).collect();
    let answer = running.agent().post("/api/v1/embeddings/batch", json!(batch)).await.ok();
    assert_eq!((&answer["count"], &answer["failed"]), (&json!(7), &json!(1)), "{answer}");
    for (n, entry) in answer["embeddings"].as_array().unwrap().iter().enumerate() {
        if n == 4 {
            assert_eq!(entry["error"]["code"], "input_too_long", "{entry}");
        } else {
            let expected = sim::vector_for(UNCOUNTED, "document", &text(n), 1024);
            assert!(cosine(&floats(&entry["embedding"]), &expected) > 0.9999, "{n} has another's vector");
        }
    }
    let calls = simulator.calls();
    let refused = calls.iter().filter(|call| call.status == Some(400)).count();
    assert!(refused > 1, "the long text shared no call with others: {refused} were refused");
    let made: usize = calls.iter().filter(|call| call.status == Some(200)).map(|call| call.texts.len()).sum();
    assert_eq!(made, 6, "each of the others is paid for once");
    let sql = running.sql().await;
    books::match_calls(&simulator, &sql).await;
    books::add_up(&sql).await;
}
