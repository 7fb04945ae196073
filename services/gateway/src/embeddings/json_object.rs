//! Metadata and filters: a JSON object kept as the client wrote it, checked for all that the database would refuse later.

use std::{borrow::Cow, ops::Range};

use embermesh_errors::Error;
use embermesh_types::is_kept_number;
use serde_json::value::RawValue;

/// Deeper objects are data, not metadata. It is the limit of the vector store, which would refuse the row only after its vector was
/// paid for.
const MAX_DEPTH: usize = 32;
/// The text of a JSON object: well-formed, of bounded size and depth, without NUL or numbers out of range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonObject(String);

/// A string or a number inside an object.
#[derive(Debug)]
pub(crate) struct JsonScalar<'a> {
    /// What the string stands for, without escapes; the number as it was given.
    pub text: Cow<'a, str>,
    /// Whether it names a member, instead of being a value.
    pub is_key: bool,
    /// The names of the members that it lies in, innermost last; of an element of an array, those that the array lies in.
    pub within: &'a [Cow<'a, str>],
    /// Where its literal begins in the object's text.
    pub at: usize,
}

impl JsonObject {
    /// Checks `text`, which came as the field `param`. Empty means absent.
    pub fn parse(param: &str, text: &str, max_bytes: usize) -> Result<Option<Self>, Error> {
        let invalid = |message: String| Error::invalid(param, message);
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > max_bytes {
            let message = format!("{param} has {} bytes, at most {max_bytes} are kept", text.len());
            return Err(invalid(message)
                .with_detail("bytes", text.len())
                .with_detail("max_bytes", max_bytes));
        }
        let raw: &RawValue = serde_json::from_str(text)
            .map_err(|error| invalid(format!("{param} is not valid JSON: {error}")))?;
        let object = raw.get();
        if !object.starts_with('{') {
            return Err(invalid(format!("{param} must be a JSON object")));
        }
        let mut depth = 0_usize;
        for token in Tokens::of(object) {
            match token {
                Token::Open => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return Err(invalid(format!("{param} is nested deeper than {MAX_DEPTH} levels")));
                    }
                }
                Token::Close => depth = depth.saturating_sub(1),
                Token::Number(span) => {
                    if !is_kept_number(&object[span]) {
                        return Err(invalid(format!(
                            "{param} holds a number out of range, send it as a string"
                        )));
                    }
                }
                Token::String { span, .. } => {
                    let text = unescape(&object[span]).ok_or_else(|| {
                        invalid(format!("{param} holds an escape that stands for no character"))
                    })?;
                    if text.contains('\0') {
                        return Err(invalid(format!("{param} must not contain NUL (U+0000)")));
                    }
                }
            }
        }
        Ok(Some(Self(object.to_owned())))
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        !Tokens::of(&self.0).any(|token| matches!(token, Token::String { .. }))
    }

    /// Shows every string and number to `replace` and puts the string that it answers in its place; all else stays as it was given.
    pub fn replace_scalars<E>(
        self,
        mut replace: impl FnMut(JsonScalar<'_>) -> Result<Option<String>, E>,
    ) -> Result<Self, E> {
        let mut changed: Option<String> = None;
        let mut copied = 0;
        // of each level that is open, how many names lead to it
        let (mut names, mut levels) = (Vec::new(), Vec::new());
        for token in Tokens::of(&self.0) {
            let (span, is_key, text) = match token {
                Token::String { span, is_key } => {
                    // `parse` has decoded every literal once already
                    let Some(text) = unescape(&self.0[span.clone()]) else { continue };
                    (span, is_key, text)
                }
                Token::Number(span) => (span.clone(), false, Cow::Borrowed(&self.0[span])),
                Token::Open => {
                    levels.push(names.len());
                    continue;
                }
                Token::Close => {
                    names.truncate(levels.pop().unwrap_or_default());
                    continue;
                }
            };
            if is_key {
                names.truncate(levels.last().copied().unwrap_or_default());
            }
            let name = is_key.then(|| text.clone());
            let scalar = JsonScalar { text, is_key, within: &names, at: span.start };
            let replacement = replace(scalar)?;
            names.extend(name);
            if let Some(replacement) = replacement {
                let out = changed.get_or_insert_default();
                out.push_str(&self.0[copied..span.start]);
                out.push_str(&serde_json::Value::String(replacement).to_string());
                copied = span.end;
            }
        }
        Ok(match changed {
            None => self,
            Some(mut out) => {
                out.push_str(&self.0[copied..]);
                Self(out)
            }
        })
    }
}

impl From<JsonObject> for String {
    fn from(object: JsonObject) -> Self {
        object.0
    }
}

/// The text of a literal with its quotes; `None` for a lone surrogate.
fn unescape(literal: &str) -> Option<Cow<'_, str>> {
    if literal.contains('\\') {
        serde_json::from_str(literal).ok().map(Cow::Owned)
    } else {
        literal.get(1..literal.len() - 1).map(Cow::Borrowed)
    }
}

enum Token {
    Open,
    Close,
    Number(Range<usize>),
    String { span: Range<usize>, is_key: bool },
}

/// The tokens of JSON that is known to be well-formed.
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tokens<'a> {
    fn of(json: &'a str) -> Self {
        Self { bytes: json.as_bytes(), at: 0 }
    }

    /// The end of what goes on while `inside` holds.
    fn run(&self, from: usize, inside: impl Fn(u8) -> bool) -> usize {
        self.bytes[from..].iter().position(|b| !inside(*b)).map_or(self.bytes.len(), |length| from + length)
    }

    fn string(&mut self, start: usize) -> Token {
        let mut end = start + 1;
        loop {
            end = self.run(end, |b| b != b'"' && b != b'\\');
            match self.bytes.get(end) {
                Some(b'\\') => end += 2,
                _ => break,
            }
        }
        let end = (end + 1).min(self.bytes.len());
        self.at = end;
        let next = self.run(end, |b| b.is_ascii_whitespace());
        Token::String { span: start..end, is_key: self.bytes.get(next) == Some(&b':') }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let start = self.at;
            let byte = *self.bytes.get(start)?;
            self.at += 1;
            return Some(match byte {
                b'{' | b'[' => Token::Open,
                b'}' | b']' => Token::Close,
                b'"' => self.string(start),
                b'-' | b'0'..=b'9' => {
                    self.at =
                        self.run(start, |b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                    Token::Number(start..self.at)
                }
                _ => continue,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use embermesh_errors::Code;

    use super::*;

    fn parse(text: &str) -> Result<Option<JsonObject>, Error> {
        JsonObject::parse("metadata", text, 1000)
    }

    #[test]
    fn an_object_is_kept_as_given() {
        let text = r#"{"b":1.0, "a":[12345678901234567890,{"x":"\u00e9\"\\"}],"c":-1e-5,"c":null}"#;
        assert_eq!(parse(text).unwrap().unwrap().as_str(), text);
        assert_eq!(parse(&format!(" {text}\n")).unwrap().unwrap().as_str(), text);
        assert_eq!(parse("").unwrap(), None);
    }

    #[test]
    fn what_the_database_would_refuse_is_refused_here() {
        let nested = |depth| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        let deep = nested(MAX_DEPTH + 1);
        for (bad, why) in [
            ("[1]", "must be a JSON object"),
            ("\"x\"", "must be a JSON object"),
            ("{", "not valid JSON"),
            ("{} {}", "not valid JSON"),
            (r#"{"a":"\u0000"}"#, "NUL"),
            (r#"{"a\u0000":1}"#, "NUL"),
            (r#"{"a":"\ud800"}"#, "stands for no character"),
            (r#"{"a":1e999}"#, "out of range"),
            (r#"{"a":1e-99999}"#, "out of range"),
            (&deep, "nested deeper"),
            (&format!(r#"{{"a":"{}"}}"#, "x".repeat(1000)), "1008 bytes"),
        ] {
            let error = parse(bad).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("metadata")), "{bad}");
            assert!(error.message.contains(why), "{bad}: {error}");
        }
        assert!(parse(r#"{"a":[0.0e-5,-0,1e300,"1e999 {"]}"#).is_ok());
    }

    #[test]
    fn only_the_replaced_scalars_change() {
        let object =
            parse(r#"{ "k" : "a\"b", "n":[1, -2.50, "keep",{"x":"a\"b"}], "é":"ü" }"#).unwrap().unwrap();
        let mut seen = Vec::new();
        let replaced = object
            .replace_scalars(|scalar| {
                seen.push((scalar.text.clone().into_owned(), scalar.is_key));
                Ok::<_, ()>(["a\"b", "-2.50"].contains(&&*scalar.text).then(|| "\"new\"".to_owned()))
            })
            .unwrap();
        assert_eq!(
            replaced.as_str(),
            r#"{ "k" : "\"new\"", "n":[1, "\"new\"", "keep",{"x":"\"new\""}], "é":"ü" }"#
        );
        let keys: Vec<_> = seen.iter().filter(|(_, is_key)| *is_key).map(|(text, _)| text.as_str()).collect();
        assert_eq!(keys, ["k", "n", "x", "é"]);
    }

    #[test]
    fn empty_means_no_members() {
        for (text, empty) in [(r#"{"a":"[","b":1}"#, false), (" { } ", true), (r#"{"a":[]}"#, false)] {
            assert_eq!(parse(text).unwrap().unwrap().is_empty(), empty, "{text}");
        }
    }
}
