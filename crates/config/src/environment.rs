//! The well-known variables of deployments, as settings. They lie over the file and under `EMBERMESH__…`.

use figment::value::{Dict, Value};

use crate::sections::embedding::ProviderKind;

/// Settings from `DATABASE_URL`, `REDIS_URL`, `OPENAI_API_KEY` and their like. Empty counts as unset.
pub(crate) fn well_known(variable: &dyn Fn(&str) -> Option<String>) -> Dict {
    let get = |name: &str| variable(name).filter(|value| !value.is_empty());
    let mut settings = Dict::new();
    let mut set = |path: &str, value: Value| insert(&mut settings, path, value);

    for (name, path) in [
        ("DATABASE_URL", "database.url"),
        ("DATABASE_HOST", "database.host"),
        ("DATABASE_SSL_MODE", "database.ssl_mode"),
        ("DB_PASSWORD", "database.password"),
        ("REDIS_URL", "redis.url"),
        ("OPENAI_API_KEY", "embedding.providers.openai.api_key"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "tracing.endpoint"),
        ("OTEL_SERVICE_NAME", "tracing.service_name"),
    ] {
        if let Some(value) = get(name) {
            set(path, value.into());
        }
    }
    for (name, path) in [
        ("REDIS_CLUSTER_ENDPOINTS", "redis.cluster_endpoints"),
        ("DATABASE_REPLICA_URLS", "database.read_replica_pool.urls"),
    ] {
        if let Some(list) = get(name) {
            let list: Vec<Value> = list.split(',').map(|e| e.trim().to_owned().into()).collect();
            set(path, list.into());
        }
    }
    for kind in [ProviderKind::OpenAi, ProviderKind::Bedrock] {
        let name = kind.as_str();
        if let Some(on) = get(&format!("{}_ENABLED", name.to_uppercase())) {
            set(&format!("embedding.providers.{name}.enabled"), is_yes(&on).into());
        }
    }
    if get("BEDROCK_ENABLED").is_some_and(|on| is_yes(&on))
        && let Some(region) = get("AWS_REGION")
    {
        set("embedding.providers.bedrock.region", region.into());
    }
    settings
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on")
}

fn insert(into: &mut Dict, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(into.insert(path.to_owned(), value)),
        Some((head, tail)) => {
            let entry = into.entry(head.to_owned()).or_insert_with(|| Dict::new().into());
            if let Value::Dict(_, dict) = entry {
                insert(dict, tail, value);
            }
        }
    }
}
