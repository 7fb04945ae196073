//! The shape of an embedding request without parsing it: the upstream must cost next to nothing.

use memchr::{memchr, memchr2};

/// What an answer has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Number of inputs.
    pub inputs: usize,
    /// Whether base64 was asked for.
    pub base64: bool,
    /// Components per vector, if the request says.
    pub dims: Option<usize>,
}

/// Reads the shape off a request in OpenAI's format; `None` if it is no such JSON object.
///
/// Checks no more than it needs: garbage inside skipped values passes.
#[must_use]
pub fn scan(body: &[u8]) -> Option<Shape> {
    let mut cursor = Cursor { body, at: 0 };
    let mut shape = Shape { inputs: 0, base64: false, dims: None };
    cursor.expect(b'{')?;
    loop {
        cursor.expect(b'"')?;
        let key = cursor.rest_of_string()?;
        cursor.expect(b':')?;
        match key {
            b"input" => shape.inputs = cursor.inputs()?,
            b"encoding_format" => shape.base64 = cursor.value()? == br#""base64""#,
            b"dimensions" => shape.dims = std::str::from_utf8(cursor.value()?).ok()?.parse().ok(),
            _ => {
                cursor.value()?;
            }
        }
        match cursor.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    (shape.inputs > 0).then_some(shape)
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&mut self) -> Option<u8> {
        while self.body.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// From behind the opening quote to behind the closing one.
    fn rest_of_string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        loop {
            let rest = self.body.get(self.at..)?;
            let hit = memchr2(b'"', b'\\', rest)?;
            if rest[hit] == b'"' {
                let end = self.at + hit;
                self.at = end + 1;
                return Some(&self.body[start..end]);
            }
            self.at += hit + 2;
        }
    }

    fn inputs(&mut self) -> Option<usize> {
        if self.peek()? == b'"' {
            self.value()?;
            return Some(1);
        }
        self.expect(b'[')?;
        let first = self.peek()?;
        if first.is_ascii_digit() {
            self.at += memchr(b']', &self.body[self.at..])? + 1;
            return Some(1);
        }
        for count in 1.. {
            self.value()?;
            match self.next()? {
                b',' => {}
                b']' => return Some(count),
                _ => return None,
            }
        }
        None
    }

    /// Skips a value and returns its bytes.
    fn value(&mut self) -> Option<&'a [u8]> {
        let mut depth = 0_usize;
        self.peek()?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => {
                    self.rest_of_string()?;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.checked_sub(1)?,
                b',' | b':' if depth > 0 => continue,
                b',' | b':' => return None,
                _ => {
                    let rest = &self.body[self.at..];
                    let ends = |byte: &u8| b",]}: \t\r\n\"".contains(byte);
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Some(&self.body[start..self.at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn input() -> impl Strategy<Value = (Value, usize)> {
        prop_oneof![
            any::<String>().prop_map(|text| (json!(text), 1)),
            prop::collection::vec(any::<String>(), 1..40).prop_map(|texts| (json!(texts), texts.len())),
            prop::collection::vec(any::<u32>(), 1..40).prop_map(|ids| (json!(ids), 1)),
            prop::collection::vec(prop::collection::vec(any::<u32>(), 0..4), 1..9)
                .prop_map(|ids| (json!(ids), ids.len())),
        ]
    }

    proptest! {
        #[test]
        fn sees_what_a_json_parser_sees(
            (input, inputs) in input(),
            base64: bool,
            dims in prop::option::of(1_usize..4000),
            user: String,
            pretty: bool,
        ) {
            let mut body = json!({"user": user, "input": input, "zeta": {"input": [1, {"a": "]"}, null]}});
            body["encoding_format"] = json!(if base64 { "base64" } else { "float" });
            if let Some(dims) = dims {
                body["dimensions"] = json!(dims);
            }
            let text = if pretty { format!("{body:#}") } else { body.to_string() };
            prop_assert_eq!(scan(text.as_bytes()), Some(Shape { inputs, base64, dims }));
        }

        #[test]
        fn a_cut_body_has_no_shape(cut in 0_usize..50, garbage: Vec<u8>) {
            let whole = br#"{"input":["a\"b",[1,2]],"dimensions":3,"user":"x"}"#;
            prop_assert_eq!(scan(&whole[..cut.min(whole.len() - 1)]), None);
            let torn = [&whole[..cut.min(whole.len() - 1)], &garbage].concat();
            prop_assert!(scan(&torn).is_none_or(|shape| shape.inputs <= torn.len()));
        }
    }

    #[test]
    fn refuses_what_is_no_embedding_request() {
        for body in
            ["", "[]", "{}", r#"{"input":[]}"#, r#"{"model":"x"}"#, r#"{"input":"a""#, r#"{"input":}"#]
        {
            assert_eq!(scan(body.as_bytes()), None, "{body}");
        }
    }
}
