//! Metadata: a JSON object, kept as its text was given, compared by a canonical form.

use std::collections::BTreeMap;

use embermesh_errors::Error;
use embermesh_types::is_kept_number;
use serde_json::value::RawValue;

const MAX_DEPTH: usize = 32;

/// A JSON object that PostgreSQL can take as `jsonb`, which filters need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// As given.
    pub(crate) text: String,
    /// The same for all texts of one value: keys sorted, no spaces, strings in one spelling. Numbers stay as written.
    pub(crate) canonical: String,
}

impl Metadata {
    /// Reads an object; empty text is the empty object.
    ///
    /// Duplicate keys count by their last value, as in `jsonb`.
    pub(crate) fn parse(param: &str, text: &str) -> Result<Self, Error> {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let mut canonical = String::with_capacity(text.len());
        let object: &RawValue = serde_json::from_str(text)
            .map_err(|error| Error::invalid(param, format!("{param} is not JSON: {error}")))?;
        if !object.get().starts_with('{') {
            return Err(Error::invalid(param, format!("{param} must be a JSON object")));
        }
        write(object, 0, &mut canonical)
            .map_err(|reason| Error::invalid(param, format!("{param} {reason}")))?;
        Ok(Self { text: text.to_owned(), canonical })
    }

    /// Whether it has no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.canonical == "{}"
    }
}

fn write(value: &RawValue, depth: usize, to: &mut String) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    let text = value.get();
    let unreadable = |error: serde_json::Error| format!("cannot be read: {error}");
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(unreadable)?;
            to.push('{');
            for (at, (key, member)) in members.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write_string(key, to)?;
                to.push(':');
                write(member, depth + 1, to)?;
            }
            to.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(unreadable)?;
            to.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    to.push(',');
                }
                write(item, depth + 1, to)?;
            }
            to.push(']');
        }
        // fails on a lone surrogate, which jsonb refuses too
        Some(b'"') => write_string(&serde_json::from_str::<String>(text).map_err(unreadable)?, to)?,
        Some(b'-' | b'0'..=b'9') => write_number(text, to)?,
        _ => to.push_str(text),
    }
    Ok(())
}

fn write_string(text: &str, to: &mut String) -> Result<(), String> {
    if text.contains('\0') {
        return Err("has a NUL character, which cannot be stored; remove it".to_owned());
    }
    // a string serialises always
    to.push_str(&serde_json::to_string(text).unwrap_or_default());
    Ok(())
}

fn write_number(text: &str, to: &mut String) -> Result<(), String> {
    if !is_kept_number(text) {
        return Err("has a number out of range, send it as a string".to_owned());
    }
    to.push_str(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Metadata::parse("metadata", text).unwrap().canonical
    }

    #[test]
    fn one_value_has_one_canonical_form() {
        let form = r#"{"a":[1,{"x":"é\n","y":null}],"b":12345678901234567890123}"#;
        let spelled = "{ \"b\" : 12345678901234567890123, \"a\":[1 ,{\"y\":null,\"x\":\"\\u00e9\\n\"}]}";
        assert_eq!(canonical(spelled), form);
        assert_eq!(canonical(form), form);
        assert_eq!(canonical(""), "{}");
        assert_eq!(canonical(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
        assert_eq!(Metadata::parse("m", spelled).unwrap().text, spelled);
    }

    #[test]
    fn values_that_differ_have_different_forms() {
        assert_ne!(
            canonical(r#"{"n":12345678901234567890123}"#),
            canonical(r#"{"n":12345678901234567890124}"#)
        );
        assert_ne!(canonical(r#"{"n":"1"}"#), canonical(r#"{"n":1}"#));
    }

    #[test]
    fn what_jsonb_cannot_hold_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        let long = format!("{{\"a\":{}}}", "9".repeat(400));
        let bad = [
            "[]",
            "1",
            "{",
            "{}x",
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1e-99999999999}"#,
            &deep,
            &long,
        ];
        for text in bad {
            let error = Metadata::parse("metadata", text).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("metadata"), "{text}");
        }
    }
}
