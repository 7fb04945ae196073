//! What becomes of the inputs of a request: parameters, counts, order, keys. One self-hosted server under a name of its own, and entries
//! that cannot be used beside it.

use embermesh_testing::sim::{DeploymentSpec, Latency, ModelSpec, Simulator};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, floats},
    running::Running,
    simulated::{ADA, QUIET, SMALL, in_force, is_right, yaml},
};

/// What the server calls the model.
const SERVED_AS: &str = "served/embedder";
/// A model of which a call takes three texts.
const FEW: &str = "few-at-a-time";

/// Entries that lack what their kind needs, or name no kind.
const BROKEN: [&str; 4] = [
    "a-azure: {kind: azure_openai, api_key: sk-test}",
    "a-bedrock: {kind: bedrock, access_key_id: AKIAHALF}",
    "a-vertex: {kind: vertex, credentials_file: /nowhere/key.json}",
    "a-nothing: {api_key: sk-test}",
];

struct System {
    simulator: Simulator,
    running: Running,
}

impl System {
    async fn start() -> Self {
        let models = vec![
            ModelSpec { family: SMALL.to_owned(), ..ModelSpec::new(SERVED_AS, 1536, true) },
            ModelSpec { family: ADA.to_owned(), ..ModelSpec::new(ADA, 1536, false) },
            ModelSpec::new(FEW, 64, false),
        ];
        let simulator =
            Simulator::start(&[DeploymentSpec { models, ..DeploymentSpec::named("served") }]).await.unwrap();
        let url = simulator.deployments()[0].base_url();
        let mut entries = BROKEN.map(str::to_owned).to_vec();
        entries.push(format!(
            "served: {{kind: openai, base_url: '{url}', models: [{SMALL}, {ADA}, {FEW}], model_names: {{{SMALL}: {SERVED_AS}}}}}"
        ));
        let router = QUIET.replace('}', ", max_concurrent_calls: 2}");
        let running = Running::one(&yaml(&entries, &[&router])).await;
        let model = json!({
            "id": FEW, "family": "test/few", "native_dimensions": 64, "max_input_tokens": 8191, "max_batch": 3,
            "tokenizer": "cl100k_base", "provider_kinds": ["openai"], "normalized": true,
            "prices": [{"per_million_tokens_usd": 0.01, "effective_from": "2026-01-01T00:00:00Z", "source": "made up for this test"}],
        });
        running.admin().post("/api/v1/embedding-models/catalog", model).await.ok();
        let limit = json!({"constraints": {"max_tokens_per_request": 30}});
        running.admin().put("/api/v1/embeddings/agents/counted", limit).await.ok();
        in_force().await;
        Self { simulator, running }
    }

    async fn ask(&self, body: Value) -> Answer {
        self.running.agent().post("/v1/embeddings", body).await
    }

    /// The vectors of texts, each asserted to be the text's own at the index of the text.
    async fn embed(&self, texts: &[&str], dims: Option<usize>) -> Answer {
        let mut body = json!({"model": SMALL, "input": texts});
        if let Some(dims) = dims {
            body["dimensions"] = dims.into();
        }
        let answer = self.ask(body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let data = answer.body["data"].as_array().unwrap();
        assert_eq!(data.len(), texts.len());
        for (at, (text, item)) in texts.iter().zip(data).enumerate() {
            let vector = floats(&item["embedding"]);
            assert_eq!((&item["index"], vector.len()), (&json!(at), dims.unwrap_or(1536)), "{text:?}");
            assert!(is_right(&vector, SMALL, text), "{text:?} at {at} has the vector of something else");
        }
        answer
    }

    /// The texts of each call since the last look.
    fn sent(&self) -> Vec<Vec<String>> {
        let sent = self.simulator.calls().into_iter().map(|call| call.texts).collect();
        self.simulator.clear_calls();
        sent
    }

    /// BerriAI/litellm#29284, #41799, #30046, #10424, #1350; tensorzero/tensorzero#422.
    async fn a_batch_partly_known_comes_back_in_its_own_order_with_all_of_its_usage(&self) {
        let known = ["a dog", "one cat, two cats", "three mice and more"];
        let first = self.embed(&known, None).await.body["usage"].clone();
        self.sent();
        let again = self.embed(&known, None).await;
        assert_eq!(again.body["usage"], first, "what is known has no tokens");
        assert_eq!(again.header("x-embermesh-cached"), "3/3");
        let mixed = ["new last", known[2], "new first", known[0], known[2], "new last", known[1]];
        let answer = self.embed(&mixed, None).await;
        assert_eq!(self.sent(), [["new last", "new first"]]);
        let alone = self.embed(&["new last", "new first", "new last"], None).await.body["usage"].clone();
        let tokens = |usage: &Value| usage["total_tokens"].as_u64().unwrap();
        let twice = self.embed(&[known[2]], None).await.body["usage"].clone();
        assert_eq!(tokens(&answer.body["usage"]), tokens(&first) + tokens(&alone) + tokens(&twice));
        assert!(answer.header("x-embermesh-cost-usd").parse::<f64>().unwrap() > 0.0);
    }

    /// laravel/ai#826, #839; the `text:model` keys of redisvl; GPTCache#651, #682.
    async fn texts_that_are_nearly_the_same_have_vectors_of_their_own(&self) {
        let corpus = [
            "ab",
            "a b",
            "a  b",
            "a b ",
            " a b",
            "a,b",
            "a|b",
            "a:b",
            "a\nb",
            "[\"a\",\"b\"]",
            "a",
            "b",
            "A",
            "B",
            "caf\u{e9}",
            "cafe\u{301}",
            "\u{212b}",
            "\u{c5}",
            "fi",
            "\u{fb01}",
            "query: a",
            "document: a",
            "a:text-embedding-3-small",
            "text-embedding-3-small:a",
            "What is a cat?",
            "What is a cat",
            "what is a cat?",
        ];
        // one by one, together, and together again out of memory
        for text in &corpus[..6] {
            self.embed(&[text], None).await;
        }
        self.embed(&corpus, None).await;
        let sent: Vec<String> = self.sent().into_iter().flatten().collect();
        assert_eq!(sent.len(), corpus.len(), "{sent:?}");
        self.embed(&corpus, None).await;
        assert!(self.sent().is_empty());
    }

    /// caura-ai/caura#69; vercel/ai#8033, #16272.
    async fn each_length_of_a_text_is_its_own(&self) {
        for dims in [512, 1536, 256, 512, 1024, 256, 1536] {
            self.embed(&["one text, many lengths"], Some(dims)).await;
        }
        assert_eq!(self.embed(&["one text, many lengths"], None).await.header("x-embermesh-cached"), "1/1");
        self.sent();
    }

    /// BerriAI/litellm#19174, #11940, #26787, #23119, #6516, #6591, #14861; agent0ai/agent-zero#1429; eneo-ai/eneo#339.
    async fn what_is_null_or_the_models_own_is_not_passed_on(&self) {
        let null = json!({"model": ADA, "input": "nothing asked", "encoding_format": null, "dimensions": null, "user": null});
        self.ask(null).await.ok();
        self.ask(json!({"model": ADA, "input": "its own length", "dimensions": 1536, "user": "joe"}))
            .await
            .ok();
        self.ask(json!({"model": SMALL, "input": "its own length, too", "dimensions": 1536})).await.ok();
        self.ask(json!({"model": SMALL, "input": "shorter", "dimensions": 256})).await.ok();
        let bodies = self.simulator.calls().into_iter().map(|call| call.body.unwrap());
        let keys = bodies.map(|body| {
            let members = body.as_object().unwrap();
            assert!(members.values().all(|value| !value.is_null()), "{body}");
            members.keys().cloned().collect::<Vec<_>>().join(" ")
        });
        let plain = "encoding_format input model";
        let expected = [plain, plain, plain, "dimensions encoding_format input model"];
        assert_eq!(keys.collect::<Vec<_>>(), expected);
        // and what cannot be honoured is refused, not dropped
        let refused = self.ask(json!({"model": ADA, "input": "shorter", "dimensions": 256})).await;
        refused.refused(400, "invalid_request");
        assert_eq!(refused.body["error"]["param"], "dimensions");
        self.sent();
    }

    /// A server's own name of a model stays between Embermesh and the server: BerriAI/litellm#16571.
    async fn a_model_has_one_name_for_clients_whatever_its_server_calls_it(&self) {
        let answer = self.ask(json!({"model": SMALL, "input": "called by name"})).await.ok();
        assert_eq!(answer["model"], SMALL);
        assert_eq!(self.simulator.calls()[0].body.as_ref().unwrap()["model"], SERVED_AS);
        let again = self.ask(json!({"model": SMALL, "input": "called by name"})).await;
        assert_eq!(again.header("x-embermesh-cached"), "1/1");
        self.sent();
    }

    /// BerriAI/litellm#35626, #10113; huggingface/text-embeddings-inference#273; michaelfeil/infinity#329.
    async fn every_form_of_input_counts_alike(&self) {
        let client = self.running.agent();
        let ask = async |input: Value| {
            let body = json!({"model": SMALL, "input": input}).to_string();
            client.send_with(Method::POST, "/v1/embeddings", body, &[("x-agent-id", "counted")]).await
        };
        // by cl100k_base, a digit is 15 and on, and " word" is 3492
        let forms = |words: usize| {
            let texts: Vec<String> =
                (0..4).map(|n| format!("{n}{}", " word".repeat(words / 4 - 1))).collect();
            let tokens: Vec<Vec<u32>> =
                (0..4).map(|n| [vec![15 + n], vec![3492; words / 4 - 1]].concat()).collect();
            [json!(texts.concat()), json!(texts), json!(tokens.concat()), json!(tokens)]
        };
        for form in forms(80) {
            let answer = ask(form.clone()).await;
            answer.refused(422, "input_too_long");
            assert!(answer.body.to_string().contains("80"), "{form}: {}", answer.body);
        }
        assert!(self.sent().is_empty());
        let mut vectors = Vec::new();
        for form in forms(28) {
            let answer = ask(form).await.ok();
            assert_eq!(answer["usage"]["total_tokens"], 28);
            vectors.push(answer["data"].clone());
        }
        assert!(vectors[..2] == vectors[2..], "tokens are read as another text");
        self.sent();
    }

    /// huggingface/text-embeddings-inference#662, #378, #50.
    async fn a_batch_is_split_and_keeps_to_the_limit_of_calls_at_a_time(&self) {
        self.simulator.deployments()[0].set_latency(Some(Latency::Fixed { ms: 40.0 }));
        let texts: Vec<String> = (0..40).map(|n| format!("of forty, number {n}")).collect();
        let answer = self.ask(json!({"model": FEW, "input": texts})).await.ok();
        for (text, item) in texts.iter().zip(answer["data"].as_array().unwrap()) {
            assert!(is_right(&floats(&item["embedding"]), FEW, text), "{text}");
        }
        let calls = self.simulator.calls();
        assert!(calls.len() >= 14 && calls.iter().all(|call| call.texts.len() <= 3), "{}", calls.len());
        let at_once = |at: u64| {
            calls
                .iter()
                .filter(|call| call.received_ms < at && call.answered_ms.is_none_or(|end| end > at))
                .count()
        };
        let most = calls.iter().map(|call| at_once(call.received_ms + 1)).max();
        assert!(most <= Some(2), "{most:?} calls at a time");
        self.simulator.deployments()[0].set_latency(None);
        self.sent();
    }
}

/// That it starts and serves at all is a case: one provider entry that cannot be used took the others down in the original.
#[tokio::test]
async fn inputs_of_every_kind_reach_the_provider_as_they_should_and_come_back_in_order() {
    let system = System::start().await;
    system.a_batch_partly_known_comes_back_in_its_own_order_with_all_of_its_usage().await;
    system.texts_that_are_nearly_the_same_have_vectors_of_their_own().await;
    system.each_length_of_a_text_is_its_own().await;
    system.what_is_null_or_the_models_own_is_not_passed_on().await;
    system.a_model_has_one_name_for_clients_whatever_its_server_calls_it().await;
    system.every_form_of_input_counts_alike().await;
    system.a_batch_is_split_and_keeps_to_the_limit_of_calls_at_a_time().await;
}
