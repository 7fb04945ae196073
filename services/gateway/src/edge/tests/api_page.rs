//! `docs/api.md` lists every route, gRPC method and error code. They are read off what is served, so none is missing and none is made
//! up.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use embermesh_auth::Scope;
use embermesh_errors::Code;
use embermesh_proto::DESCRIPTORS;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde_json::Value;

use super::scopes::{Documented, documented};
use crate::{authorise, http::OPENAPI};

const PAGE: &str = "docs/api.md";
/// Where codes are declared, each below a comment that says what it is for.
const CODES: &str = "crates/errors/src/code.rs";
/// The package of the public API.
const PUBLIC: &str = "embermesh.v1";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn the_page_lists_every_route_method_and_code_as_they_are_served() {
    let written = read(PAGE);
    let due = with(&with(&written, "routes", &routes()), "codes", &codes());
    if std::env::var_os("EMBERMESH_WRITE").is_some() {
        fs::write(root().join(PAGE), due).unwrap();
        return;
    }
    let differs = due.lines().find(|line| !written.lines().any(|other| other == *line));
    let gone = written.lines().find(|line| !due.lines().any(|other| other == *line));
    assert!(due == written, "{PAGE} is another, run this test with EMBERMESH_WRITE=1: {differs:?}, {gone:?}");
}

#[test]
fn the_methods_that_reflection_shows_are_the_ones_that_have_a_route_and_a_rule() {
    let served = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let mut methods = BTreeSet::new();
    for file in served.file.iter().filter(|file| file.package() == PUBLIC) {
        for service in &file.service {
            let name = service.name();
            methods.extend(service.method.iter().map(|method| format!("/{PUBLIC}.{name}/{}", method.name())));
        }
    }
    let documented = documented();
    for method in &documented {
        let rule = authorise::method(&method.grpc).unwrap();
        let scopes: Vec<&str> = rule.scopes.iter().map(|scope| scope.as_str()).collect();
        assert_eq!(scopes, method.scopes, "{}", method.grpc);
        assert_eq!(rule.operator, method.operator, "{}", method.grpc);
    }
    assert_eq!(documented.into_iter().map(|method| method.grpc).collect::<BTreeSet<_>>(), methods);
}

#[test]
fn the_page_speaks_of_every_parameter_that_openais_clients_may_send() {
    let (page, document) = (read(PAGE), document());
    let request = document.pointer("/components/schemas/OpenAiEmbeddingsRequest/properties").unwrap();
    for name in request.as_object().unwrap().keys() {
        assert!(page.contains(&format!("\n| `{name}` |")), "{name}");
    }
}

/// `page` with `tables` between its two comments of this name.
fn with(page: &str, name: &str, tables: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (head, rest) = page.split_once(&begin).unwrap();
    let (_, tail) = rest.split_once(&end).unwrap();
    format!("{head}{begin}{tables}\n{end}{tail}")
}

/// A table for each service of the contracts, and for each group of routes beside them.
fn routes() -> String {
    let route_of = |method: Documented| ((method.path, method.verb.to_string()), method.grpc);
    let mut methods: BTreeMap<_, _> = documented().into_iter().map(route_of).collect();
    let mut groups: BTreeMap<String, BTreeMap<(String, String), String>> = BTreeMap::new();
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for (verb, operation) in operations.as_object().unwrap() {
            let route = (path.clone(), verb.to_uppercase());
            let method = methods.remove(&route);
            let method = method.as_deref().and_then(|method| method.rsplit('/').next());
            let row = row(&route, method, operation);
            let group = operation["tags"][0].as_str().unwrap().to_owned();
            groups.entry(group).or_default().insert(route, row);
        }
    }
    assert!(methods.is_empty(), "{methods:?}");
    let table = |(name, rows): (&String, &BTreeMap<_, String>)| {
        let rows: String = rows.values().map(String::as_str).collect();
        format!("\n### {name}\n\n| method | path | gRPC | scope | what |\n|---|---|---|---|---|\n{rows}")
    };
    groups.iter().map(table).collect()
}

fn row((path, verb): &(String, String), method: Option<&str>, operation: &Value) -> String {
    let method = method.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"));
    let what = operation["description"].as_str().map(first_sentence);
    let what = what.unwrap_or_else(|| panic!("{verb} {path} does not say what it is for"));
    format!("| {verb} | `{path}` | {method} | {} | {what} |\n", scopes(operation))
}

/// What a key must have for it.
fn scopes(operation: &Value) -> String {
    let ways = operation["security"].as_array().unwrap();
    let Some(scopes) = ways.iter().find_map(|way| way["ApiKey"].as_array()) else { return "none".to_owned() };
    let names = scopes.iter().map(|scope| format!("`{}`", scope.as_str().unwrap()));
    let names = match scopes.len() == Scope::ALL.len() {
        true => "any".to_owned(),
        false => names.collect::<Vec<_>>().join(", "),
    };
    let keyless = ways.iter().any(|way| way.as_object().unwrap().is_empty());
    match (keyless, operation["x-operator-only"] == true) {
        (true, _) => format!("none nearby, else {names}"),
        (_, true) => format!("{names} of the operator"),
        _ => names,
    }
}

fn first_sentence(text: &str) -> String {
    text.split_inclusive(". ").next().unwrap().trim_end().replace('|', "\\|")
}

fn codes() -> String {
    let declared = read(CODES);
    let row = |code: Code| {
        let (name, status, kind) = (code.as_str(), code.http().as_u16(), code.openai_type());
        let grpc = in_capitals(&format!("{:?}", code.grpc()));
        let retry = if code.is_retryable() { "yes" } else { "no" };
        format!("| `{name}` | {status} | `{grpc}` | `{kind}` | {retry} | {} |\n", meaning(code, &declared))
    };
    let rows: String = Code::all().map(row).collect();
    format!("\n| `code` | HTTP | gRPC | `type` | retry | what |\n|---|---|---|---|---|---|\n{rows}")
}

/// The comment above a code where it is declared.
fn meaning(code: Code, declared: &str) -> String {
    let lines: Vec<&str> = declared.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| *line == format!("{code:?},")).unwrap();
    let comment = lines[..at].iter().rev().map_while(|line| line.strip_prefix("/// "));
    let mut comment: Vec<&str> = comment.collect();
    comment.reverse();
    assert!(!comment.is_empty(), "{code:?} does not say what it is for");
    comment.join(" ")
}

/// `InvalidArgument` as `INVALID_ARGUMENT`.
fn in_capitals(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
