//! What a PUT sends: the configuration that was given, with what the flags add.

use std::{fs, io::Read};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::fields::Fields;
use crate::client::Failure;

/// In what the server prints, and never in what it takes.
const KEPT_BY_THE_SERVER: [&str; 2] = ["created_at", "updated_at"];

/// The body of the request.
pub(super) fn body(
    configuration: Option<&str>,
    clear: &[String],
    if_version: Option<i64>,
) -> Result<Vec<u8>, Failure> {
    let mut fields = match configuration {
        None => Fields::default(),
        Some(given) => read(given)?,
    };
    fields.0.retain(|(name, _)| !KEPT_BY_THE_SERVER.contains(&name.as_str()));
    if !clear.is_empty() {
        add(&mut fields, "clear", "--clear", &clear)?;
    }
    if let Some(version) = if_version {
        add(&mut fields, "version", "--if-version", &version)?;
    }
    serde_json::to_vec(&fields).map_err(|error| Failure::Usage(error.to_string()))
}

fn read(given: &str) -> Result<Fields, Failure> {
    let cannot = |error: &std::io::Error| Failure::Usage(format!("cannot read {given}: {error}"));
    let text = match given {
        "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| cannot(&error))?;
            text
        }
        inline if inline.trim_start().starts_with('{') => inline.to_owned(),
        file => fs::read_to_string(file).map_err(|error| cannot(&error))?,
    };
    serde_json::from_str(&text)
        .map_err(|error| Failure::Usage(format!("the configuration is no JSON object: {error}")))
}

fn add(fields: &mut Fields, name: &str, flag: &str, value: &impl Serialize) -> Result<(), Failure> {
    if fields.0.iter().any(|(known, _)| known == name) {
        return Err(Failure::Usage(format!("give {flag} or `{name}` in the configuration, not both")));
    }
    let value: Box<RawValue> = to_raw_value(value).map_err(|error| Failure::Usage(error.to_string()))?;
    fields.0.push((name.to_owned(), value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(
        configuration: Option<&str>,
        clear: &[&str],
        if_version: Option<i64>,
    ) -> Result<String, String> {
        let clear: Vec<String> = clear.iter().map(|name| (*name).to_owned()).collect();
        match body(configuration, &clear, if_version) {
            Ok(body) => Ok(String::from_utf8(body).unwrap()),
            Err(failure) => {
                assert_eq!(failure.exit_code(), std::process::ExitCode::from(2));
                Err(failure.to_string())
            }
        }
    }

    #[test]
    fn a_configuration_is_sent_as_it_was_written() {
        let exact = r#"{"constraints":{"max_cost_per_day": 9007199.254740993},"metadata":{"n":12345678901234567890}}"#;
        assert_eq!(body_of(Some(exact), &[], None).unwrap(), exact);
        // the server refuses a name that stands twice, and must get to see it
        assert_eq!(body_of(Some(r#"{"pii":{},"pii":{}}"#), &[], None).unwrap(), r#"{"pii":{},"pii":{}}"#);
        assert_eq!(
            body_of(None, &["cache", "pii.action"], Some(4)).unwrap(),
            r#"{"clear":["cache","pii.action"],"version":4}"#
        );
    }

    #[test]
    fn what_was_got_can_be_given_back() {
        let got = r#"{"agent_id":"docs","cache":{"ttl":"1h"},"version":3,"created_at":"x","updated_at":"y"}"#;
        assert_eq!(
            body_of(Some(got), &[], None).unwrap(),
            r#"{"agent_id":"docs","cache":{"ttl":"1h"},"version":3}"#
        );
        let both = body_of(Some(got), &[], Some(3)).unwrap_err();
        assert_eq!(both, "give --if-version or `version` in the configuration, not both");
        assert!(body_of(Some(r#"{"clear":[]}"#), &["pii"], None).unwrap_err().starts_with("give --clear"));
    }

    #[test]
    fn a_file_is_read_and_what_is_no_object_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("agent.json");
        fs::write(&file, "\n {\"cache\": {}}\n").unwrap();
        assert_eq!(body_of(file.to_str(), &[], None).unwrap(), r#"{"cache":{}}"#);
        fs::write(&file, "[]").unwrap();
        assert!(body_of(file.to_str(), &[], None).unwrap_err().contains("expected a JSON object"));
        assert!(body_of(Some("{\"cache\""), &[], None).unwrap_err().contains("no JSON object"));
        assert!(
            body_of(Some("no-such-file"), &[], None).unwrap_err().starts_with("cannot read no-such-file")
        );
    }
}
