//! Messages as JSON schemas, in the form that they have on the wire.

use std::collections::BTreeMap;

use embermesh_descriptors::{JsonField, JsonForm};
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

/// Every message that a request or an answer holds, by name.
#[derive(Default)]
pub struct Schemas(pub BTreeMap<String, Value>);

impl Schemas {
    /// A reference to the message, which is added together with all it holds.
    pub fn reference(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.name().to_owned();
        if !self.0.contains_key(&name) {
            // known from here on, so that a message may hold itself
            self.0.insert(name.clone(), Value::Null);
            let mut properties = Map::new();
            for field in message.fields().map(|field| JsonField::read(&field)) {
                properties.insert(field.json_name.clone(), self.field(&field));
            }
            let object = json!({"type": "object", "properties": properties, "additionalProperties": false});
            self.0.insert(name.clone(), object);
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// The schema of a field, with its comment.
    pub fn field(&mut self, field: &JsonField) -> Value {
        let mut schema = self.shape(field);
        if !field.comment.is_empty()
            && let Value::Object(members) = &mut schema
        {
            members.insert("description".to_owned(), field.comment.clone().into());
        }
        schema
    }

    fn shape(&mut self, field: &JsonField) -> Value {
        let descriptor = &field.descriptor;
        match descriptor.kind() {
            Kind::Message(entry) if descriptor.is_map() => {
                let value = match field.form {
                    JsonForm::Usd => usd(),
                    _ => self.kind(&entry.map_entry_value_field().kind()),
                };
                json!({"type": "object", "additionalProperties": value})
            }
            _ if field.form == JsonForm::Entries => {
                let entry = json!({
                    "type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1, "maxProperties": 1,
                });
                json!({"type": "array", "items": entry})
            }
            kind if descriptor.is_list() && field.non_empty => {
                json!({"type": "array", "items": self.kind(&kind), "minItems": 1})
            }
            kind if descriptor.is_list() => json!({"type": "array", "items": self.kind(&kind)}),
            kind => match field.form {
                JsonForm::Usd => usd(),
                JsonForm::Object => json!({"type": "object", "additionalProperties": true}),
                JsonForm::Timestamp => json!({"type": "string", "format": "date-time"}),
                JsonForm::Plain | JsonForm::Entries => self.kind(&kind),
            },
        }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "integer", "format": "int64"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "integer", "minimum": 0, "format": "int64"}),
            Kind::Enum(_) => json!({"type": "integer"}),
            Kind::Message(message) => self.reference(message),
        }
    }
}

fn usd() -> Value {
    json!({"type": "number", "format": "decimal", "multipleOf": 0.000_000_001})
}
