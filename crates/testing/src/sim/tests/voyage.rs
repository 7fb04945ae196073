//! Voyage's wire format.

use serde_json::{Value, json};

use super::super::{Api, DeploymentSpec, Simulator, vector_for};
use super::{Reply, floats, send, unpack};

const PATH: &str = "/v1/embeddings";
const KEY: (&str, &str) = ("authorization", "Bearer pa-key");
const MODEL: &str = "voyage-3.5";

async fn voyage() -> Simulator {
    let spec =
        DeploymentSpec { api_key: Some("pa-key".to_owned()), ..DeploymentSpec::of(Api::Voyage, "voyage") };
    Simulator::start(&[spec]).await.unwrap()
}

async fn embed(sim: &Simulator, body: &Value) -> Value {
    let Reply { status, body: answer, .. } = send(sim, PATH, &[KEY], body).await;
    assert_eq!(status, 200, "{body} {answer}");
    answer
}

#[tokio::test]
async fn queries_and_documents_come_in_order_with_total_tokens_only() {
    let sim = voyage().await;
    for kind in ["query", "document"] {
        let answer = embed(
            &sim,
            &json!({"input": ["a", "b"], "model": MODEL, "input_type": kind, "truncation": false}),
        )
        .await;
        assert_eq!(answer["usage"], json!({"total_tokens": 2}));
        assert_eq!((&answer["model"], &answer["data"][1]["index"]), (&json!(MODEL), &json!(1)));
        assert_eq!(floats(&answer, 1), vector_for(MODEL, kind, "b", 1024));
    }
    let plain =
        embed(&sim, &json!({"input": "a", "model": MODEL, "input_type": null, "encoding_format": null}))
            .await;
    assert_ne!(floats(&plain, 0), vector_for(MODEL, "document", "a", 1024));
    assert_eq!(sim.calls()[0].input_type.as_deref(), Some("query"));
}

#[tokio::test]
async fn dimensions_types_and_base64() {
    let sim = voyage().await;
    let ask = |dims: u32, more: Value| {
        let mut body = json!({"input": "a", "model": MODEL, "input_type": "query", "output_dimension": dims});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for dims in [256, 512, 1024, 2048] {
        let answer = embed(&sim, &ask(dims, json!({"encoding_format": "base64"}))).await;
        assert_eq!(unpack(&answer, 0), vector_for(MODEL, "query", "a", dims as usize));
    }
    for (dtype, length) in [("int8", 256), ("uint8", 256), ("binary", 32), ("ubinary", 32)] {
        let answer = embed(&sim, &ask(256, json!({"output_dtype": dtype}))).await;
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), length, "{dtype}");
    }
}

#[tokio::test]
async fn refusals_are_a_detail() {
    let sim = voyage().await;
    let long = "word ".repeat(33_000);
    let quarter = "word ".repeat(30_000);
    for (body, words) in [
        (json!({"input": "a", "model": "voyage-9"}), "not supported"),
        (json!({"input": [], "model": MODEL}), "batch size"),
        (json!({"input": vec!["a"; 1001], "model": MODEL}), "batch size"),
        (json!({"input": ["a", ""], "model": MODEL}), "empty"),
        (json!({"input": [1, 2], "model": MODEL}), "request body"),
        (json!({"input": "a", "model": MODEL, "dimensions": 256}), "request body"),
        (json!({"input": "a", "model": MODEL, "input_type": "search_query"}), "request body"),
        (json!({"input": "a", "model": MODEL, "encoding_format": "float"}), "request body"),
        (json!({"input": "a", "model": MODEL, "output_dimension": 300}), "output_dimension"),
        (json!({"input": "a", "model": "voyage-law-2", "output_dimension": 1024}), "output_dimension"),
        (json!({"input": "a", "model": "voyage-law-2", "output_dtype": "int8"}), "output_dtype"),
        (json!({"input": long, "model": MODEL, "truncation": false}), "context window"),
        (
            json!({"input": vec![&quarter; 5], "model": "voyage-3-large"}),
            "max allowed tokens per submitted batch is 120000",
        ),
        (
            json!({"input": vec![&quarter; 11], "model": MODEL}),
            "max allowed tokens per submitted batch is 320000",
        ),
    ] {
        let reply = send(&sim, PATH, &[KEY], &body).await;
        assert_eq!(reply.status, 400);
        assert!(reply.body["detail"].as_str().unwrap().contains(words), "{} {words}", reply.body);
    }
    let reply =
        send(&sim, PATH, &[("authorization", "Bearer wrong")], &json!({"input": "a", "model": MODEL})).await;
    assert_eq!(reply.status, 401);
    assert!(reply.body["detail"].is_string());
}

#[tokio::test]
async fn a_text_that_is_too_long_is_cut_unless_that_is_refused() {
    let sim = voyage().await;
    let body = json!({"input": "word ".repeat(33_000), "model": MODEL});
    assert_eq!(embed(&sim, &body).await["usage"]["total_tokens"], 32_000);
    assert!(
        embed(&sim, &json!({"input": vec!["word ".repeat(30_000); 11], "model": "voyage-3.5-lite"}))
            .await
            .is_object()
    );
}
