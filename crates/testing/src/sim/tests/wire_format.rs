//! Requests and answers of `/v1/embeddings` and `/v1/models`.

use serde_json::{Value, json};

use super::super::{DeploymentSpec, ModelSpec, Simulator, count_tokens, vector};
use super::{SMALL, client, embed, floats, one_deployment, post, refusal, texts, unpack};

#[tokio::test]
async fn answers_in_order_with_exact_usage() {
    let sim = one_deployment().await;
    let inputs = ["hello world", "日本語 🦀 \\ \" \n", "hello world"];
    let answer = embed(&sim, &texts(&inputs)).await;
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], SMALL);
    let tokens: usize = inputs.iter().map(|text| count_tokens(text)).sum();
    assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    assert_eq!(answer["data"].as_array().unwrap().len(), 3);
    for (index, text) in inputs.iter().enumerate() {
        assert_eq!(answer["data"][index]["object"], "embedding");
        assert_eq!(answer["data"][index]["index"], index);
        assert_eq!(floats(&answer, index), vector(SMALL, text, 1536));
    }
}

#[tokio::test]
async fn all_four_input_forms_of_one_text_give_one_vector() {
    let sim = one_deployment().await;
    let expected = vector(SMALL, "hello world", 1536);
    // the published cl100k_base ids of "hello world"
    for input in [json!("hello world"), json!(["hello world"]), json!([15339, 1917]), json!([[15339, 1917]])]
    {
        let answer = embed(&sim, &json!({"model": SMALL, "input": input})).await;
        assert_eq!(floats(&answer, 0), expected, "{input}");
        assert_eq!(answer["usage"]["prompt_tokens"], 2);
    }
}

#[tokio::test]
async fn base64_is_little_endian_f32_and_equals_the_floats() {
    let sim = one_deployment().await;
    let ask = |format| json!({"model": SMALL, "input": "x", "encoding_format": format, "user": "u"});
    let packed = unpack(&embed(&sim, &ask("base64")).await, 0);
    assert_eq!(packed, vector(SMALL, "x", 1536));
    assert_eq!(packed, floats(&embed(&sim, &ask("float")).await, 0));
}

#[tokio::test]
async fn fewer_dimensions_are_served_where_the_model_allows_it() {
    let sim = one_deployment().await;
    let ask = |model: &str, dims: Value| json!({"model": model, "input": "x", "dimensions": dims});
    let answer = embed(&sim, &ask("text-embedding-3-large", json!(256))).await;
    assert_eq!(floats(&answer, 0), vector("text-embedding-3-large", "x", 256));
    for (model, dims) in [(SMALL, 0), (SMALL, 1537), ("text-embedding-ada-002", 1536)] {
        let (status, error) = refusal(&sim, &ask(model, json!(dims))).await;
        assert_eq!((status, &error["param"]), (400, &json!("dimensions")), "{model} {dims}");
    }
}

#[tokio::test]
async fn bad_requests_are_refused_in_the_providers_shape() {
    let sim = one_deployment().await;
    let long = "word ".repeat(8193);
    let half = "word ".repeat(8000);
    for (input, param, code) in [
        (json!(""), json!("input"), Value::Null),
        (json!(["a", ""]), json!("input"), Value::Null),
        (json!([]), json!("input"), Value::Null),
        (json!([[]]), json!("input"), Value::Null),
        (json!(["a", 1]), json!("input"), Value::Null),
        (json!([1.5]), json!("input"), Value::Null),
        (json!([200_000]), json!("input"), Value::Null),
        (json!(null), json!("input"), Value::Null),
        (json!({"text": "a"}), json!("input"), Value::Null),
        (json!(vec!["a"; 2049]), json!("input"), Value::Null),
        (json!(long), json!("input"), json!("context_length_exceeded")),
        (json!(vec![half; 38]), json!("input"), json!("max_tokens_per_request")),
    ] {
        let (status, error) = refusal(&sim, &json!({"model": SMALL, "input": input})).await;
        assert_eq!(status, 400, "{error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!((&error["param"], &error["code"]), (&param, &code), "{error}");
    }
    let (status, error) = refusal(&sim, &json!({"model": "gpt-5", "input": "x"})).await;
    assert_eq!((status, &error["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn unknown_fields_and_nulls_are_refused() {
    let sim = one_deployment().await;
    for (field, value) in [
        ("encoding_format", Value::Null),
        ("encoding_format", json!("int8")),
        ("dimensions", Value::Null),
        ("user", Value::Null),
        ("input_type", json!("query")),
    ] {
        let mut body = json!({"model": SMALL, "input": "x"});
        body[field] = value;
        assert_eq!(refusal(&sim, &body).await.0, 400, "{body}");
    }
    assert_eq!(refusal(&sim, &json!({"input": "x"})).await.0, 400);
    let url = format!("{}/embeddings", sim.deployments()[0].base_url());
    let answer = client().post(url).body(texts(&["x"]).to_string()).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 400, "no content type");
}

#[tokio::test]
async fn the_largest_legal_batch_is_served() {
    let sim = one_deployment().await;
    let inputs: Vec<String> = (0..2048).map(|index| format!("text {index}")).collect();
    let body = json!({"model": SMALL, "input": inputs, "dimensions": 4, "encoding_format": "base64"});
    let answer = embed(&sim, &body).await;
    assert_eq!(answer["data"].as_array().unwrap().len(), 2048);
    assert_eq!(unpack(&answer, 2047), vector(SMALL, "text 2047", 4));
}

#[tokio::test]
async fn a_configured_key_is_insisted_on() {
    let spec = DeploymentSpec { api_key: Some("sk-right".to_owned()), ..DeploymentSpec::named("a") };
    let sim = Simulator::start(&[spec]).await.unwrap();
    let (status, error) = refusal(&sim, &texts(&["x"])).await;
    assert_eq!((status, &error["type"]), (401, &json!("invalid_request_error")));
    let client = client();
    for (key, expected) in [("sk-wrong", 401), ("sk-right", 200)] {
        let url = format!("{}/embeddings", sim.deployments()[0].base_url());
        let answer = client.post(url).bearer_auth(key).json(&texts(&["x"])).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected);
        if expected == 401 {
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["code"], "invalid_api_key");
        }
    }
}

#[tokio::test]
async fn models_are_listed_below_the_prefix_only() {
    let model = ModelSpec { family: "bge".to_owned(), ..ModelSpec::new("org/bge-small", 384, false) };
    let spec =
        DeploymentSpec { prefix: "/openai".to_owned(), models: vec![model], ..DeploymentSpec::named("a") };
    let sim = Simulator::start(&[spec]).await.unwrap();
    let base = sim.deployments()[0].base_url();
    assert!(base.ends_with("/openai/v1"));
    let list: Value = client().get(format!("{base}/models")).send().await.unwrap().json().await.unwrap();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "org/bge-small");
    assert_eq!(list["data"][0]["object"], "model");
    let one: Value =
        client().get(format!("{base}/models/org/bge-small")).send().await.unwrap().json().await.unwrap();
    assert_eq!(one, list["data"][0]);

    let outside = format!("http://{}/v1/models", sim.deployments()[0].address());
    for missing in [outside, format!("{base}/models/none"), format!("{base}/embeddings")] {
        assert_eq!(client().get(missing).send().await.unwrap().status().as_u16(), 404);
    }
    let answer = embed(&sim, &json!({"model": "org/bge-small", "input": "x"})).await;
    assert_eq!(floats(&answer, 0), vector("bge", "x", 384), "vectors follow the family, not the name");
}

#[tokio::test]
async fn the_same_seed_agrees_and_another_drifts() {
    let drifted = DeploymentSpec { seed: 7, ..DeploymentSpec::named("drifted") };
    let sim =
        Simulator::start(&[DeploymentSpec::named("a"), DeploymentSpec::named("b"), drifted]).await.unwrap();
    let client = client();
    let mut vectors = Vec::new();
    for deployment in sim.deployments() {
        let url = format!("{}/embeddings", deployment.base_url());
        let answer = client.post(url).json(&texts(&["x"])).send().await.unwrap();
        vectors.push(floats(&answer.json().await.unwrap(), 0));
    }
    assert_eq!(vectors[0], vectors[1]);
    assert_ne!(vectors[0], vectors[2]);
}

#[tokio::test]
async fn dropping_the_simulator_frees_its_ports() {
    let sim = one_deployment().await;
    let listen = sim.deployments()[0].address();
    let again = DeploymentSpec { listen, ..DeploymentSpec::named("again") };
    assert!(Simulator::start(std::slice::from_ref(&again)).await.is_err(), "still bound");
    assert!(post(&sim, &texts(&["x"])).await.is_ok());
    sim.stop().await;
    Simulator::start(&[again]).await.unwrap();
}

#[tokio::test]
async fn two_deployments_of_one_name_are_refused() {
    assert!(Simulator::start(&[DeploymentSpec::named("a"), DeploymentSpec::named("a")]).await.is_err());
}
