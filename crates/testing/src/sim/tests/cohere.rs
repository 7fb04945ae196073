//! Cohere's wire format.

use serde_json::{Value, json};

use super::super::{Api, DeploymentSpec, Simulator, vector_for};
use super::{Reply, send};

const PATH: &str = "/v2/embed";
const KEY: (&str, &str) = ("authorization", "Bearer co-key");
const MODEL: &str = "embed-english-v3.0";

async fn cohere() -> Simulator {
    let spec =
        DeploymentSpec { api_key: Some("co-key".to_owned()), ..DeploymentSpec::of(Api::Cohere, "cohere") };
    Simulator::start(&[spec]).await.unwrap()
}

async fn embed(sim: &Simulator, body: &Value) -> Value {
    let Reply { status, body: answer, .. } = send(sim, PATH, &[KEY], body).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

fn vector_at(answer: &Value, position: usize) -> Vec<f32> {
    serde_json::from_value(answer["embeddings"]["float"][position].clone()).unwrap()
}

#[tokio::test]
async fn texts_come_back_in_order_by_type_with_billed_units() {
    let sim = cohere().await;
    for kind in ["search_query", "search_document", "classification", "clustering"] {
        let body = json!({"model": MODEL, "texts": ["a", "b"], "input_type": kind, "truncate": "NONE"});
        let answer = embed(&sim, &body).await;
        assert_eq!(vector_at(&answer, 1), vector_for(MODEL, kind, "b", 1024));
        assert_eq!(answer["texts"], json!(["a", "b"]));
        assert_eq!(answer["response_type"], "embeddings_by_type");
        assert_eq!(answer["meta"]["billed_units"], json!({"input_tokens": 2}));
        assert_eq!(answer["id"].as_str().unwrap().len(), 36);
    }
    assert_eq!(sim.calls()[0].body.as_ref().unwrap()["truncate"], "NONE");
}

#[tokio::test]
async fn every_type_asked_for_is_sent() {
    let sim = cohere().await;
    let types = ["float", "int8", "uint8", "binary", "ubinary", "base64"];
    let body = json!({
        "model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_query",
        "embedding_types": types, "output_dimension": 256,
    });
    let answer = embed(&sim, &body).await;
    assert_eq!(answer["embeddings"].as_object().unwrap().len(), 6);
    for name in types {
        assert_eq!(answer["embeddings"][name].as_array().unwrap().len(), 2, "{name}");
    }
    assert_eq!(answer["embeddings"]["ubinary"][0].as_array().unwrap().len(), 32);
    let packed =
        base64_simd::STANDARD.decode_to_vec(answer["embeddings"]["base64"][1].as_str().unwrap()).unwrap();
    let unpacked: Vec<f32> = packed.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
    assert_eq!(unpacked, vector_at(&answer, 1));
    assert_eq!(unpacked, vector_for("embed-v4.0", "query", "b", 256));

    let only =
        json!({"model": MODEL, "texts": ["a"], "input_type": "search_query", "embedding_types": ["base64"]});
    assert!(embed(&sim, &only).await["embeddings"].as_object().unwrap().contains_key("base64"));
}

#[tokio::test]
async fn refusals_are_a_message() {
    let sim = cohere().await;
    let ask = |field: &str, value: Value| {
        let mut body = json!({"model": MODEL, "texts": ["a"], "input_type": "search_query"});
        body[field] = value;
        body
    };
    for (body, status, words) in [
        (ask("model", json!("embed-v9")), 404, "not found"),
        (ask("input_type", Value::Null), 400, "invalid request"),
        (ask("input_type", json!("query")), 400, "invalid request"),
        (json!({"model": MODEL, "texts": ["a"]}), 400, "input_type"),
        (ask("texts", json!(vec!["a"; 97])), 400, "96"),
        (ask("texts", json!([])), 400, "96"),
        (ask("texts", json!(["a", ""])), 400, "empty"),
        (ask("output_dimension", json!(256)), 400, "output_dimension"),
        (ask("embedding_types", json!([])), 400, "embedding_types"),
        (ask("embedding_types", json!(["float", "float"])), 400, "embedding_types"),
        (ask("truncate", json!("end")), 400, "invalid request"),
        (ask("dimensions", json!(256)), 400, "invalid request"),
    ] {
        let reply = send(&sim, PATH, &[KEY], &body).await;
        assert_eq!(reply.status, status, "{body}");
        assert!(reply.body["message"].as_str().unwrap().contains(words), "{} {words}", reply.body);
        assert!(reply.body["id"].is_string());
    }
    for key in ["Bearer wrong", "co-key"] {
        let body = ask("truncate", json!("END"));
        let reply = send(&sim, PATH, &[("authorization", key)], &body).await;
        assert_eq!((reply.status, &reply.body["message"]), (401, &json!("invalid api token")));
    }
}

#[tokio::test]
async fn truncate_says_which_end_of_a_long_text_goes() {
    let sim = cohere().await;
    let (head, tail) = (" head".repeat(300), " tail".repeat(300));
    let ask = |truncate: &str| json!({"model": MODEL, "texts": [format!("{head}{tail}")], "input_type": "search_query", "truncate": truncate});
    let ends = [
        ("END", " head".repeat(300) + &" tail".repeat(212)),
        ("START", " head".repeat(212) + &" tail".repeat(300)),
    ];
    for (truncate, kept) in ends {
        let answer = embed(&sim, &ask(truncate)).await;
        assert_eq!(answer["meta"]["billed_units"]["input_tokens"], 512);
        assert_eq!(vector_at(&answer, 0), vector_for(MODEL, "query", &kept, 1024), "{truncate}");
    }
    let reply = send(&sim, PATH, &[KEY], &ask("NONE")).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body["message"].as_str().unwrap().contains("too many tokens"));
}
