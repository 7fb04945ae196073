//! What the documentation of each API says that a request looks like. The simulator refuses every field that is not documented; here is
//! what must be there.

use embermesh_testing::sim::{Api, Call, ModelSpec};
use serde_json::{Value, json};

use super::providers::Provider;

/// Compares a call with the documentation.
pub fn check(provider: &Provider, spec: &ModelSpec, call: &Call, input_type: &str, dims: Option<usize>) {
    let body = call.body.as_ref().unwrap_or_else(|| panic!("no JSON: {call:?}"));
    let (name, path) = (spec.name.as_str(), call.path.as_str());
    let query = input_type == "query";
    assert_eq!(call.method, "POST");
    assert!(call.headers["content-type"].starts_with("application/json"), "{:?}", call.headers);
    assert!(call.attempt.is_some(), "{call:?}");
    match provider.api {
        Api::OpenAi => {
            assert_eq!((path, &body["model"]), ("/v1/embeddings", &json!(name)));
            openai_body(body, call, spec, dims);
            assert!(call.headers["authorization"].starts_with("Bearer"));
        }
        Api::AzureOpenAi if provider.name == "azure" => {
            assert_eq!(path, format!("/openai/deployments/{name}/embeddings"));
            assert_eq!(call.query.as_deref(), Some("api-version=2024-10-21"));
            openai_body(body, call, spec, dims);
            assert!(call.headers.contains_key("api-key"), "{:?}", call.headers);
        }
        Api::AzureOpenAi => {
            assert_eq!((path, &body["model"]), ("/openai/v1/embeddings", &json!(name)));
            openai_body(body, call, spec, dims);
            assert!(
                call.headers.contains_key("api-key") || call.headers.contains_key("authorization"),
                "{:?}",
                call.headers
            );
        }
        Api::Bedrock => {
            let id = path.strip_prefix("/model/").and_then(|path| path.strip_suffix("/invoke")).unwrap();
            assert_eq!(id.replace("%3A", ":"), name);
            assert!(call.headers["authorization"].starts_with("AWS4-HMAC-SHA256"), "{:?}", call.headers);
            assert!(call.headers.contains_key("x-amz-date"), "{:?}", call.headers);
            bedrock_body(body, call, spec, query, dims);
        }
        Api::Vertex => {
            let expected = format!(
                "/v1/projects/simulated-project/locations/europe-west4/publishers/google/models/{name}:predict"
            );
            assert_eq!(path.replace("%40", "@"), expected);
            let instances = body["instances"].as_array().unwrap();
            assert_eq!(texts(instances.iter().map(|one| &one["content"])), call.texts);
            let task = if query { "RETRIEVAL_QUERY" } else { "RETRIEVAL_DOCUMENT" };
            assert!(instances.iter().all(|one| one["task_type"] == task), "{body}");
            assert_eq!(body["parameters"]["autoTruncate"], false, "{body}");
            if dims.is_some() {
                assert_eq!(body["parameters"]["outputDimensionality"], json!(dims), "{body}");
            }
        }
        Api::Gemini => {
            assert_eq!(path, format!("/v1beta/models/{name}:batchEmbedContents"));
            assert!(
                call.headers.contains_key("x-goog-api-key") && !call.headers.contains_key("authorization")
            );
            let requests = body["requests"].as_array().unwrap();
            for request in requests {
                assert_eq!(request["model"], format!("models/{name}"));
                assert_eq!(
                    request["content"]["parts"].as_array().unwrap().len(),
                    1,
                    "parts of one content are one vector"
                );
                if spec.asymmetric {
                    assert_eq!(
                        request["taskType"],
                        if query { "RETRIEVAL_QUERY" } else { "RETRIEVAL_DOCUMENT" }
                    );
                }
                if dims.is_some() {
                    assert_eq!(request["outputDimensionality"], json!(dims));
                }
            }
            assert_eq!(texts(requests.iter().map(|one| &one["content"]["parts"][0]["text"])), call.texts);
        }
        Api::Voyage => {
            assert_eq!((path, &body["model"]), ("/v1/embeddings", &json!(name)));
            assert_eq!(texts(body["input"].as_array().unwrap()), call.texts);
            assert_eq!(body["truncation"], false, "nothing is cut in silence");
            if spec.asymmetric {
                assert_eq!(body["input_type"], if query { "query" } else { "document" });
            }
            if dims.is_some() {
                assert_eq!(body["output_dimension"], json!(dims));
            }
        }
        Api::Cohere => {
            assert_eq!((path, &body["model"]), ("/v2/embed", &json!(name)));
            cohere_body(body, call, query, dims);
            assert!(body["embedding_types"].as_array().is_some_and(|types| types.len() == 1), "{body}");
        }
    }
}

fn texts<'a>(values: impl IntoIterator<Item = &'a Value>) -> Vec<String> {
    values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn openai_body(body: &Value, call: &Call, spec: &ModelSpec, dims: Option<usize>) {
    assert_eq!(texts(body["input"].as_array().unwrap()), call.texts);
    assert!(["float", "base64"].map(Some).contains(&body["encoding_format"].as_str()), "{body}");
    match dims {
        Some(dims) => assert_eq!(body["dimensions"], dims),
        None => assert!(spec.shortenable || body.get("dimensions").is_none(), "{body}"),
    }
}

fn bedrock_body(body: &Value, call: &Call, spec: &ModelSpec, query: bool, dims: Option<usize>) {
    if spec.name.starts_with("cohere.") {
        return cohere_body(body, call, query, dims);
    }
    assert_eq!(texts([&body["inputText"]]), call.texts);
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    match spec.name.as_str() {
        "amazon.titan-embed-text-v1" => assert_eq!(keys, ["inputText"]),
        "amazon.titan-embed-text-v2:0" => {
            assert_eq!(body["normalize"], true);
            assert_eq!(body["dimensions"].as_u64().unwrap_or(1024) as usize, dims.unwrap_or(1024));
        }
        _ => assert_eq!(
            body["embeddingConfig"]["outputEmbeddingLength"].as_u64().unwrap_or(1024) as usize,
            dims.unwrap_or(1024)
        ),
    }
}

fn cohere_body(body: &Value, call: &Call, query: bool, dims: Option<usize>) {
    assert_eq!(texts(body["texts"].as_array().unwrap()), call.texts);
    assert_eq!(body["input_type"], if query { "search_query" } else { "search_document" });
    assert_eq!(body["truncate"], "NONE", "nothing is cut in silence");
    if dims.is_some() {
        assert_eq!(body["output_dimension"], json!(dims));
    }
}
