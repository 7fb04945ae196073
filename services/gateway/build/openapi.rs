//! The OpenAPI document: generated paths and schemas over the written parts of the edges that are not in the contracts.

use std::{error::Error, fs, path::Path};

use embermesh_descriptors::{Body, Contracts, JsonField, Method};
use serde_json::{Map, Value, json};

use crate::{PUBLIC, routes::FORM, schema::Schemas, snake_case};

/// What is written by hand: the frame with health and metrics, and the OpenAI-compatible edge.
const WRITTEN: [&str; 2] = ["src/http/openapi.json", "src/openai/openapi.json"];

pub fn generate(
    contracts: &Contracts,
    methods: &[Method],
    crate_root: &Path,
) -> Result<Value, Box<dyn Error>> {
    let mut document = json!({"info": {"version": std::env::var("CARGO_PKG_VERSION")?}});
    for part in WRITTEN {
        println!("cargo::rerun-if-changed={part}");
        merge(&mut document, serde_json::from_slice(&fs::read(crate_root.join(part))?)?);
    }
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for method in methods {
        let operations = paths.entry(method.path.clone()).or_insert_with(|| json!({}));
        operations[method.verb.lower()] = operation(method, &mut schemas);
    }
    for message in contracts.messages(PUBLIC).iter().filter(|m| m.name() == "ErrorBody") {
        schemas.reference(message);
    }
    merge(&mut document, json!({"paths": paths, "components": {"schemas": schemas.0}}));
    Ok(document)
}

fn operation(method: &Method, schemas: &mut Schemas) -> Value {
    let status = if method.created { "201" } else { "200" };
    let mut content = json!({"application/json": {"schema": schemas.reference(&method.output)}});
    if method.input.get_field_by_name(FORM).is_some() {
        content["text/csv"] = json!({"schema": {"type": "string"}});
    }
    let mut operation = json!({
        "operationId": format!("{}_{}", snake_case(&method.service), snake_case(&method.name)),
        "tags": [method.service],
        "security": [{"ApiKey": method.scopes}, {"Bearer": method.scopes}],
        "responses": {
            status: {"description": "The answer.", "content": content},
            "default": {"$ref": "#/components/responses/Error"},
        },
    });
    if method.operator {
        // no part of OpenAPI says that a key must be of one tenant
        operation["x-operator-only"] = true.into();
    }
    if !method.comment.is_empty() {
        operation["description"] = method.comment.clone().into();
    }
    let fields: Vec<JsonField> = method.input.fields().map(|field| JsonField::read(&field)).collect();
    let in_path = |field: &&JsonField| method.path_fields.contains(&field.name);
    let in_query = |field: &&JsonField| {
        !in_path(field) && !matches!(&method.body, Body::Field(body) if *body == field.name)
    };

    let mut parameters: Vec<Value> =
        fields.iter().filter(in_path).map(|f| parameter(f, "path", schemas)).collect();
    if method.body != Body::Whole {
        parameters.extend(fields.iter().filter(in_query).map(|f| parameter(f, "query", schemas)));
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    let body = match &method.body {
        Body::Query => None,
        Body::Whole => Some(schemas.reference(&method.input)),
        Body::Field(name) => {
            fields.iter().find(|field| field.name == *name).map(|field| schemas.field(field))
        }
    };
    if let Some(schema) = body {
        operation["requestBody"] = json!({"content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn parameter(field: &JsonField, place: &str, schemas: &mut Schemas) -> Value {
    let mut schema = schemas.field(field);
    let description = schema.as_object_mut().and_then(|members| members.remove("description"));
    let mut parameter =
        json!({"name": field.json_name, "in": place, "required": place == "path", "schema": schema});
    if let Some(description) = description {
        parameter["description"] = description;
    }
    parameter
}

/// Puts the members of `part` into `document`, objects into objects.
fn merge(document: &mut Value, part: Value) {
    match (document, part) {
        (Value::Object(document), Value::Object(part)) => {
            for (name, value) in part {
                merge(document.entry(name).or_insert(Value::Null), value);
            }
        }
        (document, part) => *document = part,
    }
}
