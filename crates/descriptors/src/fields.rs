//! How a field of a public message is named and written in JSON.

use prost_reflect::{FieldDescriptor, Kind, Value};

/// How a field is written where that differs from its protobuf type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonForm {
    /// As its type says.
    Plain,
    /// int64 of nano-USD as a decimal number of USD.
    Usd,
    /// JSON text as the object it holds.
    Object,
    /// A list of names and texts as objects of one entry each.
    Entries,
    /// `google.protobuf.Timestamp` as RFC 3339.
    Timestamp,
}

/// The JSON view of a field.
#[derive(Debug, Clone)]
pub struct JsonField {
    /// Name in protobuf and Rust.
    pub name: String,
    /// Name in JSON.
    pub json_name: String,
    /// How it is written.
    pub form: JsonForm,
    /// Whether absence is told apart from the default value.
    pub optional: bool,
    /// Whether a list that is given must not be empty.
    pub non_empty: bool,
    /// Whether it is never printed with the rest of its message.
    pub secret: bool,
    /// The comment in the contract.
    pub comment: String,
    /// The field itself.
    pub descriptor: FieldDescriptor,
}

impl JsonField {
    /// Reads a field.
    pub fn read(field: &FieldDescriptor) -> Self {
        let explicit = field.json_name() != camel_case(field.name());
        let json_name = if explicit { field.json_name() } else { field.name() };
        Self {
            name: field.name().to_owned(),
            json_name: json_name.to_owned(),
            form: form(field),
            optional: field.supports_presence(),
            non_empty: is_set(field, "embermesh.non_empty"),
            secret: is_set(field, "embermesh.secret"),
            comment: crate::comment(&field.parent_file(), field.path()),
            descriptor: field.clone(),
        }
    }
}

fn form(field: &FieldDescriptor) -> JsonForm {
    let timestamp =
        |kind: Kind| matches!(kind, Kind::Message(m) if m.full_name() == "google.protobuf.Timestamp");
    if timestamp(field.kind()) {
        return JsonForm::Timestamp;
    }
    match option(field, "embermesh.json") {
        Some(Value::EnumNumber(1)) => JsonForm::Usd,
        Some(Value::EnumNumber(2)) => JsonForm::Object,
        Some(Value::EnumNumber(3)) => JsonForm::Entries,
        _ => JsonForm::Plain,
    }
}

fn is_set(field: &FieldDescriptor, name: &str) -> bool {
    matches!(option(field, name), Some(Value::Bool(true)))
}

fn option(field: &FieldDescriptor, name: &str) -> Option<Value> {
    let options = field.options();
    options.extensions().find(|(e, _)| e.full_name() == name).map(|(_, v)| v.clone())
}

/// protobuf's own JSON name of a field, by which an explicit `json_name` is recognised.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}
