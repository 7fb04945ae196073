//! What must never be seen in a log, a metric or an error: it is looked for at the end of every [`Running`](crate::running::Running).

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use embermesh_auth::{ApiKey, ShownKey};

/// Personal data that tests put into texts. Nothing behind the scrubber sees it.
pub const PERSONAL: [&str; 4] =
    ["jane.roe@example.com", "536-90-4399", "4111 1111 1111 1111", "+1 415-555-0132"];
/// What stands in texts and metadata that tests send, and is for the store and the provider alone.
pub const TEXT: &str = "canary-in-a-text-4d1f";

/// Settings of the configuration that are secret.
const SECRET_SETTINGS: [&str; 4] = ["api_key: ", "secret_access_key: ", "session_token: ", "password: "];
/// Bodies of errors are kept up to this; they are small.
const MOST_ERRORS: usize = 4 * 1024 * 1024;

/// Bodies of the errors that clients got, by URL.
static ERRORS: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Keeps an answer that a client got, if it is an error.
pub fn answered(url: &str, status: u16, body: &[u8]) {
    if status < 400 {
        return;
    }
    let mut errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = errors.entry(url.to_owned()).or_default();
    if seen.len() < MOST_ERRORS {
        seen.push_str(&String::from_utf8_lossy(body));
        seen.push('\n');
    }
}

/// The errors that clients of this URL got.
pub fn errors(url: &str) -> String {
    ERRORS.lock().unwrap_or_else(PoisonError::into_inner).remove(url).unwrap_or_default()
}

/// The metrics of a process, or nothing of one that is gone.
pub fn metrics(port: u16) -> String {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().unwrap_or_default()
}

/// A secret, and what it is.
pub type Secret = (&'static str, String);

/// The secrets of a configuration in YAML, of the URL of a database, and those that every test has.
pub fn known(yaml: &str, database: Option<&str>) -> Vec<Secret> {
    let mut known: Vec<Secret> = Vec::new();
    for setting in SECRET_SETTINGS {
        for rest in yaml.split(setting).skip(1) {
            let value =
                rest.split([',', '}', '\n', ' ']).next().unwrap_or_default().trim_matches(['\'', '"']);
            if !value.is_empty() && !value.starts_with('$') {
                known.push(("a credential of the configuration", value.to_owned()));
            }
        }
    }
    let password = database.and_then(|url| url.split_once("://")?.1.split_once('@')?.0.split_once(':'));
    known.extend(password.map(|(_, password)| ("the password of the database", password.to_owned())));
    known.extend(PERSONAL.map(|personal| ("personal data", personal.to_owned())));
    known.push(("a text", TEXT.to_owned()));
    known
}

/// Where something is that must not be there, as place and kind. Any API key counts, whoever made it.
pub fn found(place: &str, seen: &str, known: &[Secret]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut note = |kind: &str| found.push(format!("{kind} in {place}"));
    for (kind, value) in known {
        if seen.contains(value.as_str()) {
            note(kind);
        }
    }
    for (at, _) in seen.match_indices("emb_") {
        let end = seen[at..].find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        if ShownKey::parse(&seen[at..end.map_or(seen.len(), |end| at + end)]).is_ok() {
            note("an API key");
        }
    }
    found
}

/// The log without what the first start shows on standard output, once and by design.
pub fn without_banner(log: &str, url: &str) -> String {
    let is_banner = |line: &str| {
        ["  admin key  emb_", "  agent key  emb_"].iter().any(|start| line.starts_with(start))
            || line.starts_with(&format!("  curl -s {url}/api/v1/")) && line.contains("-H 'X-API-Key: emb_")
    };
    log.lines().filter(|line| !is_banner(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_must_not_be_seen_is_found_and_never_told() {
    let yaml = "embedding: {providers: {a: {api_key: sk-1, models: [m]}, b: {api_key: 'sk-2'}, c: {api_key: ${VAR}}}}\n\
        database: {password: secret-3}";
    let known = known(yaml, Some("postgresql://me:secret-4@localhost/x"));
    let values: Vec<&str> = known.iter().map(|(_, value)| value.as_str()).collect();
    assert!(
        ["sk-1", "sk-2", "secret-3", "secret-4", TEXT].iter().all(|value| values.contains(value)),
        "{values:?}"
    );
    assert!(!values.contains(&"${VAR}"));

    let key = ApiKey::generate("live", &mut rand::rng());
    for secret in values.iter().copied().chain([key.reveal()]) {
        let hits = found("the log", &format!("WARN something \"{secret}\" happened"), &known);
        assert_eq!(hits.len(), 1, "{secret}");
        assert!(hits[0].ends_with("in the log") && !hits[0].contains(secret));
    }
    let harmless = format!("key id {} emb_live_ emb_live_x_y_z", key.id());
    assert_eq!(found("the log", &harmless, &known), Vec::<String>::new());
    let banner = format!("  admin key  {}\nmore", key.reveal());
    assert_eq!(without_banner(&banner, "http://a"), "more");
}
