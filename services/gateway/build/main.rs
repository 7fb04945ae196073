//! Makes the REST routes, the table of scopes and the OpenAPI document from the contracts.

mod authorisation;
mod openapi;
mod routes;
mod schema;

use std::{env, error::Error, fs, path::Path};

use embermesh_descriptors::{Contracts, Method};

/// The package of the public API.
const PUBLIC: &str = "embermesh.v1";

fn main() -> Result<(), Box<dyn Error>> {
    let crate_root = env::var("CARGO_MANIFEST_DIR")?;
    let crate_root = Path::new(&crate_root);
    let contracts_root = crate_root.join("../../proto");
    println!("cargo::rerun-if-changed={}", contracts_root.display());
    println!("cargo::rerun-if-changed=build");

    let contracts = Contracts::compile(&contracts_root)?;
    let methods = contracts.methods(PUBLIC)?;
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("routes.rs"), routes::generate(&methods)?)?;
    fs::write(out.join("methods.rs"), authorisation::generate(&methods)?)?;
    let document = openapi::generate(&contracts, &methods, crate_root)?;
    fs::write(out.join("openapi.json"), serde_json::to_vec(&document)?)?;
    Ok(())
}

/// `EmbedBatch` as `embed_batch`.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The name of a method's constant: `EMBEDDINGS_EMBED_BATCH`.
fn constant(method: &Method) -> String {
    format!("{}_{}", snake_case(&method.service), snake_case(&method.name)).to_uppercase()
}
