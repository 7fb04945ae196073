//! What a search asks of metadata: values that must be equal, and operators.
//!
//! `{"lang": "en", "year": {"$gte": 2020, "$lt": 2024}, "path": {"$prefix": "src/"}, "tag": {"$in": ["a", "b"]}, "draft": {"$exists":
//! false}}`. All of it must hold. Operators may stand at any depth, where equal values may.

use std::collections::BTreeMap;

use embermesh_errors::Error;
use serde_json::value::RawValue;

use super::metadata::Metadata;

const OPERATORS: &str = "$eq, $in, $gt, $gte, $lt, $lte, $prefix and $exists";
/// Most values of one `$in`.
const MAX_VALUES: usize = 1_000;
/// Most operators of one filter.
const MAX_CONDITIONS: usize = 100;

/// A conjunction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataFilter {
    /// Containment: every key must be there with this value. An object or array may hold more than is asked for.
    pub(crate) equal: Option<Metadata>,
    pub(crate) conditions: Vec<Condition>,
}

/// What must hold of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The keys that lead to it.
    pub(crate) path: Vec<String>,
    pub(crate) test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// It is one of these, or an array that holds one of them; as JSON.
    In(Vec<String>),
    /// It is a number and compares so.
    Number(Comparison, String),
    /// It is a string and compares so, by code points.
    Text(Comparison, String),
    Prefix(String),
    Exists(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Comparison {
    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }
}

impl MetadataFilter {
    /// Reads a filter; `None` when it asks for nothing.
    pub(crate) fn parse(param: &str, text: &str) -> Result<Option<Self>, Error> {
        // whatever is wrong with it as JSON is wrong with it as a filter
        let whole = Metadata::parse(param, text)?;
        let mut conditions = Vec::new();
        let equal = split(&whole.text, &mut Vec::new(), &mut conditions)
            .map_err(|mistake| Error::invalid(param, format!("{param}: {mistake}")))?;
        if conditions.len() > MAX_CONDITIONS {
            let count = conditions.len();
            return Err(Error::invalid(
                param,
                format!("{param} has {count} operators, the most is {MAX_CONDITIONS}"),
            ));
        }
        let equal = Some(Metadata::parse(param, &equal)?).filter(|equal| !equal.is_empty());
        Ok(Some(Self { equal, conditions })
            .filter(|filter| filter.equal.is_some() || !filter.conditions.is_empty()))
    }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Takes the operators out of an object; what is left of it asks for equal values.
fn split(object: &str, path: &mut Vec<String>, conditions: &mut Vec<Condition>) -> Result<String, String> {
    let members: Members<'_> = serde_json::from_str(object).map_err(|error| error.to_string())?;
    let mut equal = Vec::new();
    for (key, value) in members {
        if key.starts_with('$') {
            return Err(format!(
                "the operator {key} stands where a key is expected; write {{\"key\": {{\"{key}\": …}}}}"
            ));
        }
        path.push(key);
        match inner(value.get())? {
            Inner::Operators(operators) => {
                for (name, operand) in operators {
                    conditions.push(Condition { path: path.clone(), test: test(&name, operand)? });
                }
            }
            Inner::Object => {
                let before = conditions.len();
                let rest = split(value.get(), path, conditions)?;
                if rest != "{}" || conditions.len() == before {
                    equal.push((path[path.len() - 1].clone(), rest));
                }
            }
            Inner::Value => equal.push((path[path.len() - 1].clone(), value.get().to_owned())),
        }
        path.pop();
    }
    let members =
        equal.iter().map(|(key, value)| format!("{}:{value}", serde_json::Value::from(key.as_str())));
    Ok(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
}

enum Inner<'a> {
    Operators(Members<'a>),
    Object,
    Value,
}

fn inner(value: &str) -> Result<Inner<'_>, String> {
    if !value.starts_with('{') {
        return Ok(Inner::Value);
    }
    let members: Members<'_> = serde_json::from_str(value).map_err(|error| error.to_string())?;
    let operators = members.keys().filter(|key| key.starts_with('$')).count();
    match operators {
        0 => Ok(Inner::Object),
        all if all == members.len() => Ok(Inner::Operators(members)),
        _ => Err("an object mixes operators and keys; put them into objects of their own".to_owned()),
    }
}

fn test(name: &str, operand: &RawValue) -> Result<Test, String> {
    let text = operand.get();
    let string = || serde_json::from_str::<String>(text);
    let comparison = |how| match text.as_bytes().first() {
        Some(b'"') => Ok(Test::Text(how, string().map_err(|error| error.to_string())?)),
        Some(b'-' | b'0'..=b'9') => Ok(Test::Number(how, text.to_owned())),
        _ => Err(format!("{name} compares with a number or a string, not with {}", kind(text))),
    };
    match name {
        "$eq" => Ok(Test::In(vec![text.to_owned()])),
        "$in" => {
            let values: Vec<&RawValue> = serde_json::from_str(text)
                .map_err(|_| format!("$in takes an array of values, not {}", kind(text)))?;
            if values.len() > MAX_VALUES {
                return Err(format!("$in has {} values, the most is {MAX_VALUES}", values.len()));
            }
            Ok(Test::In(values.into_iter().map(|value| value.get().to_owned()).collect()))
        }
        "$lt" => comparison(Comparison::Less),
        "$lte" => comparison(Comparison::AtMost),
        "$gt" => comparison(Comparison::Greater),
        "$gte" => comparison(Comparison::AtLeast),
        "$prefix" => {
            string().map(Test::Prefix).map_err(|_| format!("$prefix takes a string, not {}", kind(text)))
        }
        "$exists" => serde_json::from_str(text)
            .map(Test::Exists)
            .map_err(|_| format!("$exists takes true or false, not {}", kind(text))),
        _ => Err(format!("{name} is no operator; there are {OPERATORS}")),
    }
}

/// What a JSON value is, without its content.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> MetadataFilter {
        MetadataFilter::parse("metadata_filter", text).unwrap().unwrap()
    }

    #[test]
    fn operators_are_taken_out_and_equal_values_stay() {
        let filter = parse(
            r#"{"lang":"en","year":{"$gte":2020,"$lt":2.5e3},"a":{"b":{"$prefix":"x"},"c":1},"only":{"d":{"$exists":true}},"e":{}}"#,
        );
        assert_eq!(filter.equal.unwrap().canonical, r#"{"a":{"c":1},"e":{},"lang":"en"}"#);
        let condition = |path: &[&str], test| Condition {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            test,
        };
        assert_eq!(
            filter.conditions,
            [
                condition(&["a", "b"], Test::Prefix("x".into())),
                condition(&["only", "d"], Test::Exists(true)),
                condition(&["year"], Test::Number(Comparison::AtLeast, "2020".into())),
                condition(&["year"], Test::Number(Comparison::Less, "2.5e3".into())),
            ]
        );
        let filter = parse(r#"{"t":{"$in":["a",1,null]},"u":{"$eq":{"$lt":1}},"w":{"$gt":"m"}}"#);
        assert!(filter.equal.is_none());
        assert_eq!(filter.conditions[0].test, Test::In(vec![r#""a""#.into(), "1".into(), "null".into()]));
        assert_eq!(filter.conditions[1].test, Test::In(vec![r#"{"$lt":1}"#.into()]));
        assert_eq!(filter.conditions[2].test, Test::Text(Comparison::Greater, "m".into()));
        assert_eq!(MetadataFilter::parse("m", " { } ").unwrap(), None);
    }

    #[test]
    fn what_is_no_filter_is_named() {
        for (text, expected) in [
            (r#"{"a":{"$near":1}}"#, "$near is no operator"),
            (r#"{"$in":[1]}"#, "stands where a key is expected"),
            (r#"{"a":{"$lt":1,"b":2}}"#, "mixes operators and keys"),
            (r#"{"a":{"$lt":true}}"#, "not with a boolean"),
            (r#"{"a":{"$in":"x"}}"#, "not a string"),
            (r#"{"a":{"$prefix":1}}"#, "not a number"),
            (r#"{"a":{"$exists":"yes"}}"#, "not a string"),
            ("[1]", "must be a JSON object"),
        ] {
            let error = MetadataFilter::parse("metadata_filter", text).unwrap_err();
            assert!(error.message.contains(expected), "{text}: {}", error.message);
            assert_eq!(error.param.as_deref(), Some("metadata_filter"));
        }
    }
}
