//! The format by itself; signatures and clients are tested where a real client is, with the providers.

use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::sim::{Api, AwsKeys, DeploymentSpec, Simulator, vector};

const COHERE_V3: &str = "cohere.embed-english-v3";
const COHERE_V4: &str = "cohere.embed-v4:0";
const TITAN_V1: &str = "amazon.titan-embed-text-v1";
const TITAN_V2: &str = "amazon.titan-embed-text-v2:0";
const IMAGE: &str = "amazon.titan-embed-image-v1";

async fn unsigned() -> Simulator {
    Simulator::start(&[DeploymentSpec::of(Api::Bedrock, "bedrock")]).await.unwrap()
}

fn invoke(sim: &Simulator, model: &str, body: &Value) -> RequestBuilder {
    let url = format!("{}/model/{}/invoke", sim.deployments()[0].base_url(), model.replace(':', "%3A"));
    reqwest::Client::new().post(url).json(body)
}

async fn ok(sim: &Simulator, model: &str, body: Value) -> Value {
    let answer = invoke(sim, model, &body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{body}");
    assert!(answer.headers().contains_key("x-amzn-bedrock-input-token-count"));
    answer.json().await.unwrap()
}

/// Error type and message.
async fn refused(request: RequestBuilder, status: u16) -> (String, String) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), status);
    let kind = answer.headers()["x-amzn-errortype"].to_str().unwrap().split(':').next().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    (kind, body["message"].as_str().unwrap().to_owned())
}

fn numbers(array: &Value) -> Vec<f32> {
    array.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn what_a_model_does_not_document_is_refused() {
    let sim = unsigned().await;
    let many: Vec<&str> = vec!["a"; 97];
    for (model, body, says) in [
        (TITAN_V1, json!({"inputText": "a", "dimensions": 256}), "dimensions"),
        (TITAN_V1, json!({"texts": ["a"]}), "texts"),
        (TITAN_V1, json!({"inputText": ""}), "minLength"),
        (TITAN_V2, json!({"inputText": "a", "dimensions": 300}), "300"),
        (TITAN_V2, json!({"inputText": "a", "dimensions": null}), "null"),
        (TITAN_V2, json!({"inputText": "a ".repeat(30_000)}), "expected maxLength: 50000, actual: 60000"),
        (
            TITAN_V2,
            json!({"inputText": "word ".repeat(9_000)}),
            "Too many input tokens. Max input tokens: 8192",
        ),
        (IMAGE, json!({"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 512}}), "512"),
        (COHERE_V3, json!({"texts": ["a"]}), "input_type"),
        (COHERE_V3, json!({"texts": ["a"], "input_type": "document"}), "document"),
        (COHERE_V3, json!({"texts": many, "input_type": "search_query"}), "maximum item count: 96"),
        (
            COHERE_V3,
            json!({"texts": ["a"], "input_type": "search_query", "output_dimension": 256}),
            "output_dimension",
        ),
        (COHERE_V3, json!({"texts": ["a"], "input_type": "search_query", "truncate": "LEFT"}), "truncate"),
        (COHERE_V4, json!({"texts": ["a"], "input_type": "search_query", "truncate": "END"}), "truncate"),
        (COHERE_V3, json!({"texts": ["x".repeat(2049)], "input_type": "search_query"}), "maxLength: 2048"),
        (COHERE_V3, json!({"texts": ["a ".repeat(700)], "input_type": "search_query"}), "too long"),
        ("amazon.unknown", json!({"inputText": "a"}), "model identifier is invalid"),
    ] {
        let (kind, message) = refused(invoke(&sim, model, &body), 400).await;
        assert_eq!(kind, "ValidationException", "{model} {body}");
        assert!(message.contains(says), "{model}: {message}");
    }
}

#[tokio::test]
async fn an_operation_or_a_resource_that_is_not_there_is_404() {
    let sim = unsigned().await;
    let arn = "arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Aprovisioned-model%2Fx";
    assert_eq!(refused(invoke(&sim, arn, &json!({})), 404).await.0, "ResourceNotFoundException");
    let converse = format!("{}/model/{TITAN_V1}/converse", sim.deployments()[0].base_url());
    let client = reqwest::Client::new();
    assert_eq!(refused(client.post(&converse), 404).await.0, "UnknownOperationException");
    assert_eq!(refused(client.get(&converse), 404).await.0, "UnknownOperationException");
}

#[tokio::test]
async fn titan_answers_with_one_vector_and_its_count() {
    let sim = unsigned().await;
    let v1 = ok(&sim, TITAN_V1, json!({"inputText": "two words"})).await;
    assert!(numbers(&v1["embedding"]) == vector(TITAN_V1, "two words", 1536));
    assert_eq!((v1["inputTextTokenCount"].clone(), v1.get("embeddingsByType")), (json!(2), None));
    let v2 = ok(&sim, TITAN_V2, json!({"inputText": "a", "dimensions": 256})).await;
    assert!(numbers(&v2["embedding"]) == vector(TITAN_V2, "a", 256));
    assert!(v2["embeddingsByType"]["float"] == v2["embedding"]);
    let image =
        ok(&sim, IMAGE, json!({"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 384}})).await;
    assert_eq!(image["embedding"].as_array().unwrap().len(), 384);
    assert_eq!(image["message"], Value::Null);
}

#[tokio::test]
async fn without_normalising_titans_vectors_have_another_length() {
    let sim = unsigned().await;
    let length = async |normalize: bool| {
        let answer = ok(&sim, TITAN_V2, json!({"inputText": "a", "normalize": normalize})).await;
        numbers(&answer["embedding"]).iter().map(|number| number * number).sum::<f32>().sqrt()
    };
    assert!((length(true).await - 1.0).abs() < 1e-5);
    assert!((length(false).await - 1.0).abs() > 0.1);
}

#[tokio::test]
async fn cohere_answers_alone_or_by_type() {
    let sim = unsigned().await;
    let body = json!({"texts": ["a", "b"], "input_type": "search_query"});
    let alone = ok(&sim, COHERE_V3, body.clone()).await;
    assert_eq!(alone["response_type"], "embeddings_floats");
    assert_eq!(alone["embeddings"].as_array().unwrap().len(), 2);
    let mut typed = body;
    typed["embedding_types"] = json!(["float", "int8"]);
    let typed = ok(&sim, COHERE_V3, typed).await;
    assert_eq!(typed["response_type"], "embeddings_by_type");
    assert!(typed["embeddings"]["float"] == alone["embeddings"]);
    assert_eq!(typed["embeddings"]["int8"][0].as_array().unwrap().len(), 1024);
}

#[tokio::test]
async fn a_cut_text_is_billed_for_what_is_left() {
    let sim = unsigned().await;
    let body = json!({"texts": ["a ".repeat(700)], "input_type": "search_document", "truncate": "END"});
    let answer = invoke(&sim, COHERE_V3, &body).send().await.unwrap();
    assert_eq!(answer.headers()["x-amzn-bedrock-input-token-count"], "512");
}

#[tokio::test]
async fn an_unsigned_request_is_refused_where_keys_are_wanted() {
    let aws = Some(AwsKeys {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
        region: "eu-west-1".to_owned(),
    });
    let spec = DeploymentSpec { aws, ..DeploymentSpec::of(Api::Bedrock, "bedrock") };
    let sim = Simulator::start(&[spec]).await.unwrap();
    let body = json!({"inputText": "a"});
    let (kind, _) = refused(invoke(&sim, TITAN_V1, &body), 403).await;
    assert_eq!(kind, "MissingAuthenticationTokenException");
    let (kind, _) = refused(invoke(&sim, TITAN_V1, &body).bearer_auth("key"), 403).await;
    assert_eq!(kind, "IncompleteSignatureException");
    let sts = reqwest::Client::new()
        .post(sim.deployments()[0].origin())
        .body("Action=AssumeRole&Version=2011-06-15");
    let answer = sts.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(answer.text().await.unwrap().contains("<Code>MissingAuthenticationToken</Code>"));
}

#[tokio::test]
async fn sts_hands_out_other_keys_each_time() {
    let sim = unsigned().await;
    let ask = async |form: &str| {
        let request = reqwest::Client::new().post(sim.deployments()[0].origin());
        let answer = request.body(format!("Version=2011-06-15&{form}")).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.text().await.unwrap())
    };
    let role = "Action=AssumeRole&RoleSessionName=test&RoleArn=arn:aws:iam::1:role/team/embedder";
    let (first, second) = (ask(role).await, ask(role).await);
    assert_eq!(first.0, 200, "{}", first.1);
    assert!(first.1.contains("<Arn>arn:aws:sts::1:assumed-role/embedder/test</Arn>"), "{}", first.1);
    assert_ne!(first.1, second.1);
    for (form, status, code) in [
        ("Action=GetCallerIdentity".to_owned(), 400, "InvalidAction"),
        (format!("{role}&DurationSeconds=60"), 400, "ValidationError"),
        ("Action=AssumeRole&RoleSessionName=test&RoleArn=embedder".to_owned(), 400, "ValidationError"),
        (
            "Action=AssumeRole&RoleSessionName=test&RoleArn=arn:aws:iam::1:role/forbidden".to_owned(),
            403,
            "AccessDenied",
        ),
        (
            "Action=AssumeRole&RoleSessionName=test&RoleArn=arn:aws:iam::1:role/for-me".to_owned(),
            403,
            "AccessDenied",
        ),
    ] {
        let (got, body) = ask(&form).await;
        assert_eq!(got, status, "{form}");
        assert!(body.contains(&format!("<Code>{code}</Code>")), "{form}: {body}");
    }
    assert_eq!(ask(&format!("{role}&DurationSeconds=900")).await.0, 200);
    let with_id = "Action=AssumeRole&RoleSessionName=test&RoleArn=arn:aws:iam::1:role/for-me&ExternalId=me";
    assert_eq!(ask(with_id).await.0, 200);
}
