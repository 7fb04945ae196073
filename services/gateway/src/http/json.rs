//! JSON bodies: straight from bytes into the message, and errors that say where without repeating what was sent.

use embermesh_errors::Error;
use memchr::{memchr_iter, memchr2_iter};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Deepest nesting that is taken.
const MAX_DEPTH: usize = 128;
/// Longest part of a client's own words in an error.
const MAX_QUOTED: usize = 64;

/// What serde calls a kind of value, and what clients call it.
const PLAIN_KINDS: [(&str, &str); 7] = [
    ("u32", "a whole number from 0 to 4294967295"),
    ("u64", "a whole number from 0 to 18446744073709551615"),
    ("i64", "a whole number"),
    ("f32", "a number"),
    ("f64", "a number"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
];

/// Reads a body as `T`.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let message = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return Err(explain::<T>(body, &error)),
    };
    // metadata is kept as text, in which the parser has looked at neither
    check_depth(body)?;
    check_escapes(body)?;
    Ok(message)
}

/// Names the field at fault, which costs a second reading.
fn explain<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let place = |error: Error| error.with_detail("line", line).with_detail("column", column);
    if std::str::from_utf8(body).is_err() {
        return place(Error::invalid("body", "the body is not valid UTF-8"));
    }
    let said = error.to_string();
    let said = said.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&said);
    if error.classify() != Category::Data {
        return place(Error::invalid(
            "body",
            format!("the body is not valid JSON: {said} at line {line} column {column}"),
        ));
    }
    let path = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(body))
        .err()
        .map_or_else(String::new, |error| error.path().to_string());
    let said = in_plain_words(said);
    match param(&path, &said) {
        Some(param) => place(Error::invalid(&param, format!("{param}: {said}"))),
        None => place(Error::invalid("body", format!("the body: {said}"))),
    }
}

/// The field at fault: the path, with the name of an unknown or repeated field at its end.
pub(crate) fn param(path: &str, said: &str) -> Option<String> {
    let path = if path == "." { "" } else { path };
    let named = ["unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| said.strip_prefix(start))
        .and_then(|rest| rest.split('`').next());
    let named = named.filter(|name| path.rsplit('.').next() != Some(name));
    let whole = match (path, named) {
        ("", name) => name.unwrap_or_default().to_owned(),
        (path, Some(name)) => format!("{path}.{name}"),
        (path, None) => path.to_owned(),
    };
    (!whole.is_empty()).then(|| shorten(&whole))
}

/// serde's message without the text it met, and without Rust's names of types: `invalid type: string "…", expected u32` would repeat
/// what a client sent and tell little to somebody who writes no Rust.
pub(crate) fn in_plain_words(said: &str) -> String {
    let said = without_value(said);
    let plain = said.rsplit_once("expected ").and_then(|(start, expected)| {
        let kind = PLAIN_KINDS.iter().find(|(rust, _)| *rust == expected)?.1;
        Some(format!("{start}expected {kind}"))
    });
    plain.unwrap_or(said)
}

fn without_value(said: &str) -> String {
    for kind in [
        "invalid type: string ",
        "invalid value: string ",
        "invalid type: character ",
        "invalid value: character ",
    ] {
        if let Some((_, expected)) = said.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("{}, expected {expected}", kind.trim_end());
        }
    }
    match said.split_once('`').and_then(|(start, rest)| Some((start, rest.split_once('`')?))) {
        Some((start, (quoted, rest))) if quoted.len() > MAX_QUOTED => {
            format!("{start}`{}`{rest}", shorten(quoted))
        }
        _ => said.to_owned(),
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= MAX_QUOTED {
        return text.to_owned();
    }
    text.chars().take(MAX_QUOTED).chain(['…']).collect()
}

/// Refuses valid JSON that is nested too deep.
fn check_depth(json: &[u8]) -> Result<(), Error> {
    // counting brackets is far cheaper than following them, and few bodies have that many
    if memchr2_iter(b'{', b'[', json).nth(MAX_DEPTH).is_none() {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Error::invalid("body", format!("the body is nested deeper than {MAX_DEPTH} levels")));
        }
    }
    Ok(())
}

/// Refuses valid JSON with an escaped half of a surrogate pair, which stands for no character.
fn check_escapes(json: &[u8]) -> Result<(), Error> {
    let unit = |at: usize| -> Option<u32> {
        let digits = json.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut skip_to = 0;
    for at in memchr_iter(b'\\', json) {
        if at < skip_to {
            continue;
        }
        skip_to = match unit(at) {
            Some(0xD800..=0xDBFF) if unit(at + 6).is_some_and(|low| (0xDC00..=0xDFFF).contains(&low)) => {
                at + 12
            }
            Some(0xD800..=0xDFFF) => {
                return Err(Error::invalid(
                    "body",
                    "the body escapes half of a surrogate pair, which is no character",
                ));
            }
            Some(_) => at + 6,
            None => at + 2,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests;
