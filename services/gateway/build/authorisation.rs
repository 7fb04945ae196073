//! `methods.rs`: every public method with the scopes it needs, for gRPC and REST alike.

use std::fmt::Write;

use embermesh_descriptors::Method;

use crate::constant;

pub fn generate(methods: &[Method]) -> Result<String, String> {
    let mut constants = String::new();
    let mut arms = String::new();
    for method in methods {
        let scopes = method.scopes.iter().map(|name| variant(method, name)).collect::<Result<Vec<_>, _>>()?;
        let (name, path) = (constant(method), format!("/{}/{}", method.service_full_name, method.name));
        let (scopes, operator) = (scopes.join(", "), method.operator);
        let written = writeln!(
            constants,
            "pub(crate) const {name}: Method = Method {{ path: {path:?}, scopes: &[{scopes}], operator: {operator} }};"
        )
        .and_then(|()| writeln!(arms, "        {path:?} => Some(&{name}),"));
        written.map_err(|error| error.to_string())?;
    }
    Ok(format!(
        "{constants}\n/// The method that a gRPC path names.\npub(crate) fn method(path: &str) -> Option<&'static Method> {{\n    match path {{\n{arms}        _ => None,\n    }}\n}}\n"
    ))
}

fn variant(method: &Method, scope: &str) -> Result<&'static str, String> {
    match scope {
        "embed" => Ok("Scope::Embed"),
        "search" => Ok("Scope::Search"),
        "read" => Ok("Scope::Read"),
        "costs" => Ok("Scope::Costs"),
        "admin" => Ok("Scope::Admin"),
        other => Err(format!("{}.{}: '{other}' is not a scope", method.service_full_name, method.name)),
    }
}
