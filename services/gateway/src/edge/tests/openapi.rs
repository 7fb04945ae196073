use serde_json::Value;

use super::scopes::documented;
use crate::http::OPENAPI;

#[test]
fn routes_and_scopes() {
    let mut lines: Vec<String> = documented()
        .iter()
        .map(|method| {
            let operator = if method.operator { " of the operator" } else { "" };
            let scopes = method.scopes.join(",");
            format!("{:6} {} {} {scopes}{operator}", method.verb, method.path, method.grpc)
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn paths_of_the_document() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let documented = |path: &&String| path.starts_with("/api/v1/embeddings");
    let paths: serde_json::Map<_, _> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(path, _)| documented(path))
        .map(|(path, operations)| (path.clone(), operations.clone()))
        .collect();
    insta::assert_snapshot!(serde_json::to_string_pretty(&paths).unwrap());
}

#[test]
fn the_openai_routes_are_documented() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    for (path, verb, answer) in [
        ("/v1/embeddings", "post", "/$ref"),
        ("/v1/models", "get", "/properties/data/items/$ref"),
        ("/v1/models/{id}", "get", "/$ref"),
    ] {
        let operation = &document["paths"][path][verb];
        assert_eq!(operation["tags"][0], "OpenAI", "{verb} {path}");
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let reference = schema.pointer(answer).unwrap().as_str().unwrap();
        assert!(reference.starts_with("#/components/schemas/OpenAi"), "{reference}");
    }
}

#[test]
fn fields_have_the_form_that_they_have_on_the_wire() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let schemas = &document["components"]["schemas"];
    let of = |message: &str, field: &str| schemas[message]["properties"][field].clone();
    assert_eq!(of("EmbedResponse", "cost_usd")["type"], "number");
    assert_eq!(of("EmbedRequest", "metadata")["type"], "object");
    assert_eq!(of("StoredEmbedding", "created_at")["format"], "date-time");
    assert_eq!(of("AgentCosts", "by_model")["additionalProperties"]["type"], "number");
    assert_eq!(of("EmbedBatchResponse", "embeddings")["items"]["$ref"], "#/components/schemas/BatchEntry");
    assert_eq!(of("EmbedRequest", "input_type")["description"], "document (default) or query.");
    assert!(of("EmbedResponse", "cost_nano_usd").is_null());
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut open = vec![&document];
    let mut references = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some_and(Value::is_object), "{reference}");
                    references += 1;
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(references > 50, "{references}");
}
