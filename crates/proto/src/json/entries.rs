//! A list of patterns, each written as an object of one entry: the entity's name and the expression.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};

use crate::v1::PiiPattern;

/// One pattern.
struct Entry<'a>(&'a PiiPattern);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry(&self.0.name, &self.0.regex)?;
        map.end()
    }
}

/// Writes each pattern.
pub fn serialize<S: Serializer>(patterns: &[PiiPattern], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(patterns.iter().map(Entry))
}

/// Reads each pattern.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PiiPattern>, D::Error> {
    struct Owned(PiiPattern);

    impl<'de> Deserialize<'de> for Owned {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            from.deserialize_map(OneEntry).map(Owned)
        }
    }

    Ok(Vec::<Owned>::deserialize(from)?.into_iter().map(|owned| owned.0).collect())
}

struct OneEntry;

impl<'de> Visitor<'de> for OneEntry {
    type Value = PiiPattern;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of one entry, `name: regex`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PiiPattern, A::Error> {
        let (name, regex) = map.next_entry()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        if map.next_key::<String>()?.is_some() {
            return Err(A::Error::invalid_length(2, &self));
        }
        Ok(PiiPattern { name, regex })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::v1::{PiiPattern, PiiPolicyInput};

    #[test]
    fn patterns_are_written_as_in_the_configuration_file() {
        let text = json!({"patterns": [{"badge": "B[0-9]{5}"}, {"badge": "C[0-9]{5}"}]});
        let input: PiiPolicyInput = serde_json::from_value(text.clone()).unwrap();
        let pattern = |regex: &str| PiiPattern { name: "badge".to_owned(), regex: regex.to_owned() };
        assert_eq!(input.patterns, [pattern("B[0-9]{5}"), pattern("C[0-9]{5}")]);
        assert_eq!(serde_json::to_value(&input).unwrap()["patterns"], text["patterns"]);
        for bad in
            [json!([{}]), json!([{"a": "x", "b": "y"}]), json!({"a": "x"}), json!(["a"]), json!([{"a": 1}])]
        {
            assert!(serde_json::from_value::<PiiPolicyInput>(json!({"patterns": bad})).is_err(), "{bad}");
        }
    }
}
