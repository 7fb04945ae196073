//! A string that holds a JSON object, written as that object; empty means absent and is written `{}`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// Writes the object as it was given.
pub fn serialize<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
    let text = if text.is_empty() { "{}" } else { text };
    serde_json::from_str::<&RawValue>(text).map_err(S::Error::custom)?.serialize(to)
}

/// Keeps the object's own text; `null` is absent.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let raw = Box::<RawValue>::deserialize(from)?;
    match raw.get() {
        "null" => Ok(String::new()),
        text if text.starts_with('{') => Ok(text.to_owned()),
        _ => Err(D::Error::custom("expected a JSON object")),
    }
}
