//! Generates messages, clients and servers from `proto/`, with serde on the public messages.

use std::{env, error::Error, path::Path};

use embermesh_descriptors::{Contracts, JsonField, JsonForm};

/// Whether this message prints a field depends on another one, see `src/json/batch_entry.rs`.
const WRITTEN_BY_HAND: &str = "BatchEntry";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let contracts = Contracts::compile(&root)?;
    println!("cargo::rerun-if-changed={}", root.display());

    let public = ".embermesh.v1";
    let messages = contracts.messages("embermesh.v1");
    let mut builder = tonic_prost_build::configure()
        .bytes(".embermesh.internal")
        .btree_map(".embermesh")
        // several times the size of what it stands beside
        .boxed(".embermesh.internal.v1.KeptAnswer.kept.one")
        .type_attribute(public, "#[derive(serde::Serialize, serde::Deserialize)]")
        // `remote` derives functions instead of the traits, which `src/json/message.rs` implements over them
        .type_attribute(
            public,
            "#[serde(remote = \"Self\", default, deny_unknown_fields, expecting = \"an object\")]",
        );
    let mut discreet = String::new();
    for message in &messages {
        let fields: Vec<JsonField> = message.fields().map(|field| JsonField::read(&field)).collect();
        if fields.iter().any(|field| field.secret) {
            builder = builder.skip_debug([format!(".{}", message.full_name())]);
            let shown = fields.iter().filter(|field| !field.secret).map(|field| field.name.as_str());
            discreet.push_str(&format!("{} {{ {} }} ", message.name(), shown.collect::<Vec<_>>().join(" ")));
        }
        for field in &fields {
            if let Some(attribute) = serde_attribute(field) {
                let path = format!(".{}.{}", message.full_name(), field.name);
                builder = builder.field_attribute(path, attribute);
            }
        }
    }
    builder.compile_fds(contracts.set)?;
    let out = env::var("OUT_DIR")?;
    let names: Vec<&str> = messages.iter().map(|message| message.name()).collect();
    let out = Path::new(&out);
    let derived: Vec<&str> = names.iter().copied().filter(|name| *name != WRITTEN_BY_HAND).collect();
    let macros =
        format!("read_objects! {{ {} }}\nwrite_objects! {{ {} }}", names.join(" "), derived.join(" "));
    std::fs::write(out.join("messages.rs"), macros)?;
    std::fs::write(out.join("discreet.rs"), format!("show_without_secrets! {{ {discreet} }}"))?;
    std::fs::write(out.join("descriptors.bin"), contracts.encoded)?;
    Ok(())
}

fn serde_attribute(field: &JsonField) -> Option<String> {
    let mut parts = Vec::new();
    if field.json_name != field.name {
        parts.push(format!("rename = \"{}\"", field.json_name));
    }
    let module = match (field.form, field.descriptor.is_map(), field.optional) {
        (JsonForm::Plain, ..) => None,
        (JsonForm::Usd, true, _) => Some("usd_map"),
        (JsonForm::Usd, _, true) => Some("optional_usd"),
        (JsonForm::Usd, _, false) => Some("usd"),
        (JsonForm::Object, ..) => Some("object"),
        (JsonForm::Entries, ..) => Some("entries"),
        (JsonForm::Timestamp, ..) => Some("timestamp"),
    };
    if let Some(module) = module {
        parts.push(format!("with = \"crate::json::{module}\""));
    }
    if field.non_empty {
        parts.push("deserialize_with = \"crate::json::non_empty\"".to_owned());
    }
    if field.optional {
        parts.push("skip_serializing_if = \"Option::is_none\"".to_owned());
    }
    (!parts.is_empty()).then(|| format!("#[serde({})]", parts.join(", ")))
}
