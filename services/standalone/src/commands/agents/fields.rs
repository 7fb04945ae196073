//! JSON objects as they were written: no number passes through a float, and a name that stands twice is there twice.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The fields of an object, in their order.
#[derive(Debug, Default)]
pub(super) struct Fields(pub Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        from.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Fields {
    /// What is set, each field under its name and those of its objects behind a point, as people read it.
    pub fn set(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, before: &str, found: &mut Vec<(String, String)>) {
        for (name, value) in &self.0 {
            let name = format!("{before}{name}");
            let value = value.get();
            // the metadata is one value: its names are not of the configuration
            if let Some(part) = parsed::<Self>(value).filter(|_| name != "metadata") {
                part.collect(&format!("{name}."), found);
            } else if let Some(preferences) = preferences(&name, value) {
                found.extend(
                    preferences.iter().map(|one| (format!("{name}.{}", one.task_type), one.models())),
                );
            } else {
                let text = parsed::<String>(value)
                    .or_else(|| Some(parsed::<Vec<String>>(value)?.join(", ")))
                    .unwrap_or_else(|| value.to_owned());
                if !matches!(text.as_str(), "" | "null" | "{}") {
                    found.push((name, text));
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Preference {
    task_type: String,
    primary_models: Vec<String>,
    fallback_models: Vec<String>,
}

impl Preference {
    fn models(&self) -> String {
        let primary = self.primary_models.join(", ");
        match self.fallback_models.join(", ") {
            none if none.is_empty() => primary,
            fallback => format!("{primary}; then {fallback}"),
        }
    }
}

fn preferences(name: &str, value: &str) -> Option<Vec<Preference>> {
    (name == "model_preferences").then(|| parsed(value))?
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    serde_json::from_str(text).ok()
}
