//! Dependencies point down only, and no service knows another service's crate.

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Crates by height; each may depend on lower ones only.
const LAYERS: [&[&str]; 8] = [
    &[
        "types",
        "descriptors",
        "lifecycle",
        "pii",
        "tokens",
        "telemetry",
        "loopback",
        "egress",
        "sealing",
        "vector-key",
        "rank-fusion",
    ],
    &["errors", "auth", "minilm", "postgres", "resilience", "cache", "private-postgres"],
    &["proto", "transport", "backup"],
    &["config", "subscription", "escrow"],
    &["process", "providers", "provider-entry"],
    &["gateway", "provider-router", "cost-ledger", "vector-store", "admin"],
    &["standalone", "testing"],
    &["integration-tests", "bench"],
];

/// What only some crates may touch directly.
const RESERVED: [(&str, &[&str]); 7] = [
    ("fred", &["cache"]),
    ("aws-sdk-bedrockruntime", &["providers"]),
    ("tokio-postgres", &["postgres", "private-postgres"]),
    ("deadpool-postgres", &["postgres"]),
    ("pgvector", &["vector-store"]),
    (
        "tonic",
        &[
            "proto",
            "errors",
            "transport",
            "process",
            "gateway",
            "provider-router",
            "cost-ledger",
            "vector-store",
            "admin",
            "subscription",
        ],
    ),
    (
        "axum",
        &[
            "transport",
            "process",
            "gateway",
            "provider-router",
            "cost-ledger",
            "vector-store",
            "admin",
            "standalone",
            "testing",
        ],
    ),
];

/// Direct dependencies of each of our crates, without those that only tests have.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let short = |name: &str| name.strip_prefix("embermesh-").unwrap_or(name).to_owned();
    let of = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .filter(|d| d.kind != DependencyKind::Development)
            .map(|d| d.name.clone())
            .collect()
    };
    metadata.packages.iter().map(|package| (short(&package.name), of(package))).collect()
}

fn height(name: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&name))
        .unwrap_or_else(|| panic!("{name} has no place in LAYERS"))
}

#[test]
fn dependencies_point_down() {
    for (name, dependencies) in dependencies() {
        for lower in dependencies.iter().filter_map(|d| d.strip_prefix("embermesh-")) {
            assert!(height(lower) < height(&name), "{name} must not depend on {lower}");
        }
    }
}

#[test]
fn types_stand_on_next_to_nothing() {
    let allowed = ["serde", "thiserror", "uuid"];
    let found = &dependencies()["types"];
    assert!(found.iter().all(|d| allowed.contains(&d.as_str())), "{found:?}");
}

#[test]
fn reserved_libraries_stay_where_they_belong() {
    for (name, dependencies) in dependencies() {
        if ["integration-tests", "bench"].contains(&name.as_str()) {
            continue;
        }
        for (library, allowed) in RESERVED {
            let uses = dependencies.iter().any(|d| d == library);
            assert!(!uses || allowed.contains(&name.as_str()), "{name} must not depend on {library}");
        }
    }
}
