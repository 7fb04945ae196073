//! Every provider with every model of it that the catalog knows, through the whole system: as many vectors as texts, in their order,
//! the right ones; tokens as the provider counts them; requests as its documentation has them.

mod documented;
mod providers;

use std::collections::{BTreeMap, BTreeSet};

use embermesh_testing::sim::{self, Api, Call, ModelSpec, Simulator};
use serde_json::{Value, json};

use crate::{
    books,
    client::{Client, cosine, floats},
    running::{Running, wait_until},
};
use providers::{Provider, first_system, second_system};

/// Agent of all requests here.
const AGENT: &str = "formats";

/// One model at one provider.
struct Row<'a> {
    provider: &'a Provider,
    /// The catalog's entry.
    model: &'a Value,
    spec: &'a ModelSpec,
    simulator: &'a Simulator,
    client: &'a Client,
}

impl Row<'_> {
    fn id(&self) -> &str {
        self.model["id"].as_str().unwrap()
    }

    fn expected(&self, input_type: &str, text: &str, dims: usize) -> Vec<f32> {
        if self.spec.asymmetric {
            sim::vector_for(&self.spec.family, input_type, text, dims)
        } else {
            sim::vector(&self.spec.family, text, dims)
        }
    }

    /// Texts that occur nowhere else.
    fn texts(&self, case: &str, n: usize) -> Vec<String> {
        (0..n).map(|n| format!("{} {} {case} number {n}", self.provider.name, self.id())).collect()
    }

    /// Embeds texts in one request, checks everything about the answer and the calls, and returns the calls.
    async fn embed(&self, texts: &[String], input_type: &str, dims: Option<usize>) -> Vec<Call> {
        self.simulator.clear_calls();
        let body = |text: &String| {
            let mut body = json!({"agent_id": AGENT, "text": text, "model": self.id(), "input_type": input_type, "store": false});
            if let Some(dims) = dims {
                body["dimensions"] = dims.into();
            }
            body
        };
        let bodies: Vec<Value> = texts.iter().map(body).collect();
        let answer = self.client.post("/api/v1/embeddings/batch", json!(bodies)).await.ok();
        let what = format!("{} {} {input_type} {dims:?}", self.provider.name, self.id());
        assert_eq!(
            (&answer["count"], &answer["failed"]),
            (&json!(texts.len()), &json!(0)),
            "{what}: {}",
            answer["embeddings"][0]["error"]
        );
        let entries = answer["embeddings"].as_array().unwrap();
        let length = dims.unwrap_or(self.spec.dims);
        let mut tokens = 0;
        for (text, entry) in texts.iter().zip(entries) {
            let vector = floats(&entry["embedding"]);
            assert_eq!((vector.len(), &entry["dimensions"]), (length, &json!(length)), "{what}");
            assert!(
                cosine(&vector, &self.expected(input_type, text, length)) > 0.9999,
                "{what}: {text:?} has another's vector"
            );
            if self.model["normalized"] == true {
                let square: f32 = vector.iter().map(|x| x * x).sum();
                assert!((square - 1.0).abs() < 1e-3, "{what}: length {}", square.sqrt());
            }
            assert_eq!(
                (&entry["provider"], &entry["cached"]),
                (&json!(self.provider.name), &json!(false)),
                "{what}"
            );
            tokens += entry["tokens_used"].as_u64().unwrap();
        }
        let calls: Vec<Call> =
            self.simulator.calls().into_iter().filter(|call| call.model.is_some()).collect();
        for call in &calls {
            assert_eq!(
                (call.deployment.as_str(), call.status),
                (self.provider.name, Some(200)),
                "{what}: {call:?}"
            );
            assert_eq!(call.dims, Some(length), "{what}");
            documented::check(self.provider, self.spec, call, input_type, dims);
        }
        let sent: BTreeMap<&String, usize> =
            calls.iter().flat_map(|call| &call.texts).fold(BTreeMap::new(), |mut sent, text| {
                *sent.entry(text).or_default() += 1;
                sent
            });
        assert!(
            sent.len() == texts.len() && sent.values().all(|times| *times == 1),
            "{what}: {} sent",
            sent.len()
        );
        let billed: u64 = calls.iter().map(|call| call.tokens).sum();
        if self.says_no_tokens() {
            assert!(tokens >= billed, "{what}: a bound below the count");
        } else {
            assert_eq!(tokens, billed, "{what}: tokens");
        }
        calls
    }

    /// The one API whose answers say nothing of tokens: Embermesh counts for itself.
    fn says_no_tokens(&self) -> bool {
        self.provider.api == Api::Gemini && self.spec.name == "gemini-embedding-001"
    }

    /// Both encodings of the OpenAI route give the same numbers.
    async fn both_encodings(&self) {
        let texts = self.texts("encodings", 3);
        let ask = |encoding: &str| json!({"model": self.id(), "input": texts, "encoding_format": encoding});
        let numbers = self.client.post("/v1/embeddings", ask("float")).await.ok();
        let bytes = self.client.post("/v1/embeddings", ask("base64")).await.ok();
        assert_eq!(numbers["usage"]["total_tokens"], bytes["usage"]["total_tokens"]);
        for (n, text) in texts.iter().enumerate() {
            let vector = floats(&numbers["data"][n]["embedding"]);
            assert!(
                cosine(&vector, &self.expected("document", text, self.spec.dims)) > 0.9999,
                "{} {text}",
                self.id()
            );
            let packed = bytes["data"][n]["embedding"].as_str().unwrap();
            let packed = base64_simd::STANDARD.decode_to_vec(packed).unwrap();
            let unpacked: Vec<f32> =
                packed.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            assert!(
                unpacked.len() == vector.len()
                    && unpacked.iter().zip(&vector).all(|(a, b)| (a - b).abs() <= 1e-7 * b.abs().max(1e-6)),
                "{}",
                self.id()
            );
        }
    }

    /// A length that the model gives beside its own, or else the refusal of one.
    async fn other_dimensions(&self) -> String {
        let listed = self.model["allowed_dimensions"].as_array().and_then(|all| all.first()?.as_u64());
        let any = (self.model["any_dimensions"] == true).then_some(self.spec.dims as u64 / 2);
        match listed.or(any) {
            Some(dims) => {
                self.embed(&self.texts("dimensions", 3), "document", Some(dims as usize)).await;
                dims.to_string()
            }
            None => {
                let body = json!({"agent_id": AGENT, "text": "cut", "model": self.id(), "dimensions": self.spec.dims - 1, "store": false});
                let answer = self.client.post("/api/v1/embeddings", body).await;
                let message = answer.refused(400, "invalid_request");
                assert!(
                    message.contains(self.id()) && answer.body["error"]["param"] == "dimensions",
                    "{}",
                    answer.body
                );
                "refused".to_owned()
            }
        }
    }

    /// All cases, `over` the limit of texts too; prints the row of the table.
    async fn run(&self, over: bool) -> Vec<Call> {
        let mut all = self.embed(&self.texts("one", 1), "document", None).await;
        let seven = self.embed(&self.texts("seven", 7), "document", None).await;
        assert_eq!(seven.len(), 7_usize.div_ceil(self.provider.texts_per_call(self.spec)));
        all.extend(seven);
        let queries = self.embed(&self.texts("queries", 2), "query", None).await;
        all.extend(queries);
        if self.spec.asymmetric {
            // a query is not served the vector of the equal document
            self.embed(&self.texts("one", 1), "query", None).await;
        }
        assert_eq!(self.model["distinguishes_input_type"] == true, self.spec.asymmetric, "{}", self.id());
        let most = self.provider.texts_per_call(self.spec);
        let over = if most >= 2000 {
            // thousands of texts are less than the tokens of a call allow: providers.rs has that
            "by tokens".to_owned()
        } else if over {
            let calls = self.embed(&self.texts("over", most + 3), "document", None).await;
            assert!(calls.iter().all(|call| call.texts.len() <= most));
            let told = format!("{} in {}", most + 3, calls.len());
            all.extend(calls);
            told
        } else {
            "as above".to_owned()
        };
        self.both_encodings().await;
        let dims = self.other_dimensions().await;
        println!(
            "| {:10} | {:34} | {:5} | {:>5} | {:>10} | {:5} | {:8} | {:>8} |",
            self.provider.name,
            self.id(),
            "1",
            format!("7 in {}", 7_usize.div_ceil(most)),
            over,
            "equal",
            if self.spec.asymmetric { "differ" } else { "same" },
            dims,
        );
        all
    }
}

async fn run_all(simulator: &Simulator, running: &Running, providers: &[Provider]) {
    let catalog = running.admin().get("/api/v1/embedding-models/catalog?page_size=1000").await.ok();
    let catalog = catalog["models"].as_array().unwrap();
    let client = running.agent();
    println!(
        "| provider   | model                              | 1     | 7     | over limit | f, 64 | q, d     | dims     |"
    );
    let (mut missing, mut calls, mut limits) = (Vec::new(), Vec::new(), BTreeSet::new());
    for provider in providers {
        let deployment = simulator.deployment(provider.name).unwrap();
        for spec in &deployment.spec().models {
            let found =
                catalog.iter().find(|model| provider.serves(model) && provider.name_of(model) == spec.name);
            let Some(model) = found else {
                missing.push(format!("{} {}", provider.name, spec.name));
                continue;
            };
            let row = Row { provider, model, spec, simulator, client: &client };
            // one model for each limit that a provider has
            let over = limits.insert((provider.name, provider.texts_per_call(spec)));
            calls.extend(row.run(over).await);
        }
    }
    println!("known to the simulator and not to the catalog: {missing:?}");
    let lacking: BTreeSet<&String> = missing.iter().filter(|name| providers::is_owed(name)).collect();
    assert!(lacking.is_empty(), "{lacking:?}");

    // tokens of each call, as booked
    let sql = running.sql().await;
    // the ledger may know of another call first
    let attempts: Vec<&str> = calls.iter().filter_map(|call| call.attempt.as_deref()).collect();
    let ended = "SELECT count(*) FROM ledger.attempts WHERE attempt_id = ANY($1::text[]::uuid[]) AND state <> 'reserved'";
    wait_until(|| async {
        let row = sql.query_one(ended, &[&attempts]).await.unwrap();
        row.get::<_, i64>(0) == attempts.len() as i64
    })
    .await;
    books::ended(&sql, calls.len()).await;
    books::add_up(&sql).await;
    let rows = sql.query("SELECT attempt_id::text, state, tokens FROM ledger.attempts", &[]).await.unwrap();
    let booked: BTreeMap<&str, (&str, Option<i64>)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    for call in &calls {
        let (state, tokens) = booked[call.attempt.as_deref().unwrap()];
        assert_eq!(state, "settled", "{call:?}");
        let tokens = tokens.unwrap() as u64;
        let counted_by_us = call.path.contains(":batchEmbedContents");
        assert!(tokens == call.tokens || counted_by_us && tokens > call.tokens, "{tokens}: {call:?}");
    }
}

#[tokio::test]
async fn openai_bedrock_vertex_and_voyage() {
    let (simulator, running, providers) = first_system().await;
    run_all(&simulator, &running, &providers).await;
}

#[tokio::test]
async fn azure_in_both_forms_gemini_and_cohere() {
    let (simulator, running, providers) = second_system().await;
    run_all(&simulator, &running, &providers).await;
}

#[tokio::test]
async fn the_local_model_needs_no_provider() {
    let running = Running::one("").await;
    let client = running.agent();
    let texts: Vec<String> =
        (0..40).map(|n| format!("a text for the model of this machine, number {n}")).collect();
    let body =
        |text: &String| json!({"agent_id": AGENT, "text": text, "model": "all-MiniLM-L6-v2", "store": false});
    let bodies: Vec<Value> = texts.iter().map(body).collect();
    let answer = client.post("/api/v1/embeddings/batch", json!(bodies)).await.ok();
    assert_eq!((&answer["count"], &answer["failed"]), (&json!(40), &json!(0)));
    let entries = answer["embeddings"].as_array().unwrap();
    let vectors: Vec<Vec<f32>> = entries.iter().map(|entry| floats(&entry["embedding"])).collect();
    // in order: the same text alone, past the cache, by another agent that has none
    running
        .admin()
        .put("/api/v1/embeddings/agents/forgetful", json!({"cache": {"enabled": false}}))
        .await
        .ok();
    crate::simulated::in_force().await;
    for n in [0, 17, 39] {
        let mut alone = body(&texts[n]);
        alone["agent_id"] = "forgetful".into();
        let alone = client.post("/api/v1/embeddings", alone).await.ok();
        assert_eq!(alone["cached"], false);
        assert!(cosine(&floats(&alone["embedding"]), &vectors[n]) > 0.9999, "{n}");
        assert_eq!((&alone["provider"], &alone["cost_usd"]), (&json!("local"), &json!(0)));
        assert_eq!(alone["tokens_used"], entries[n]["tokens_used"]);
    }
    let distinct: BTreeSet<String> = entries.iter().map(|entry| entry["embedding"].to_string()).collect();
    assert_eq!(distinct.len(), 40);
    let mut cut = body(&texts[0]);
    cut["dimensions"] = 128.into();
    client.post("/api/v1/embeddings", cut).await.refused(400, "invalid_request");
}
