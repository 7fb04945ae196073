//! Providers, for people.

use serde::Deserialize;

use crate::commands::{output::printable, table::table};

#[derive(Deserialize)]
pub(super) struct List {
    #[serde(default)]
    providers: Vec<Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    name: String,
    kind: String,
    enabled: bool,
    source: String,
    base_url: Option<String>,
    models: Vec<String>,
    region: Option<String>,
    timeout: Option<String>,
    has_credential: bool,
    credential_fingerprint: Option<String>,
    credential_removed: bool,
    version: i64,
}

impl Entry {
    fn state(&self) -> &'static str {
        if self.enabled { "on" } else { "off" }
    }

    fn credential(&self) -> String {
        match (&self.credential_fingerprint, self.has_credential, self.credential_removed) {
            (Some(fingerprint), ..) => fingerprint.clone(),
            (None, true, _) => "yes".to_owned(),
            (None, false, true) => "removed, give it again".to_owned(),
            (None, false, false) => "none".to_owned(),
        }
    }

    fn models(&self) -> String {
        if self.models.is_empty() { "all of its kind".to_owned() } else { self.models.join(", ") }
    }
}

pub(super) fn list(list: &List) -> String {
    if list.providers.is_empty() {
        return "no provider is configured\n".to_owned();
    }
    let rows = list.providers.iter().map(|entry| {
        vec![
            entry.name.clone(),
            entry.kind.clone(),
            entry.source.clone(),
            entry.state().to_owned(),
            entry.credential(),
            entry.version.to_string(),
        ]
    });
    let header = ["provider", "kind", "from", "state", "credential", "version"];
    table(5, &header, &rows.collect::<Vec<_>>())
}

pub(super) fn one(entry: &Entry) -> String {
    let version = entry.version.to_string();
    let (credential, models) = (entry.credential(), entry.models());
    let lines = [
        ("provider", Some(entry.name.as_str())),
        ("kind", Some(entry.kind.as_str())),
        ("from", Some(entry.source.as_str())),
        ("state", Some(entry.state())),
        ("base_url", entry.base_url.as_deref()),
        ("region", entry.region.as_deref()),
        ("models", Some(models.as_str())),
        ("timeout", entry.timeout.as_deref()),
        ("credential", Some(credential.as_str())),
        ("version", Some(version.as_str())),
    ];
    let given = lines.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    given.map(|(name, value)| format!("{name:<12}{}\n", printable(value))).collect()
}

pub(super) fn removed(provider: &str) -> String {
    format!("removed {}\n", printable(provider))
}
