use super::*;
use crate::embeddings::EmbeddingLimits;

fn parse(body: &str) -> Result<EmbeddingsRequest<'_>, Error> {
    EmbeddingsRequest::parse(body.as_bytes())
}

fn input(json: &str) -> Result<Vec<String>, Error> {
    let body = format!(r#"{{"model":"m","input":{json}}}"#);
    let request = parse(&body)?;
    Ok(request.input.into_texts(&EmbeddingLimits::default())?.into_iter().map(Cow::into_owned).collect())
}

#[test]
fn input_has_four_forms() {
    assert_eq!(input(r#""text""#).unwrap(), ["text"]);
    assert_eq!(input(r#"["a", "b\n\u00e9", "日本"]"#).unwrap(), ["a", "b\né", "日本"]);
    // cl100k_base: "hello world" is 15339, 1917
    assert_eq!(input("[15339, 1917]").unwrap(), ["hello world"]);
    assert_eq!(input("[[15339, 1917], [15339]]").unwrap(), ["hello world", "hello"]);
}

#[test]
fn tokens_are_read_no_further_than_the_limits() {
    // 58040 is a run of spaces: 128 bytes
    let long = |tokens: usize| format!("[{}]", vec!["58040"; tokens].join(","));
    assert_eq!(input(&long(4096)).unwrap()[0].len(), 512 * 1024);
    for (json, param) in [(long(4097), "input"), (format!("[{},{}]", long(1), long(500_000)), "input[1]")] {
        let error = input(&json).unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::InputTooLong, Some(param)));
        assert_eq!(error.details["max_bytes"], 512 * 1024);
    }
    let many = format!("[{}]", vec![long(4000); 17].join(","));
    let error = input(&many).unwrap_err();
    assert_eq!(error.code, Code::TooLarge);
    // the first sum that is too large: the rest is not read
    assert_eq!(error.details["bytes"], 17 * 4000 * 128);
}

#[test]
fn text_without_escapes_is_borrowed_from_the_body() {
    let request = parse(r#"{"input":["plain","esc\"aped"],"model":"m"}"#).unwrap();
    let Input::Texts(texts) = request.input else { panic!() };
    assert!(matches!((&texts[0], &texts[1]), (Cow::Borrowed("plain"), Cow::Owned(_))));
}

#[test]
fn null_is_absent_and_float_is_the_default() {
    let body = r#"{"input":"x","model":"m","encoding_format":null,"dimensions":null,"user":null}"#;
    let request = parse(body).unwrap();
    assert_eq!((request.encoding, request.dimensions, request.user), (Encoding::Float, None, None));
    let body = r#"{"input":"x","model":"m","encoding_format":"base64","dimensions":256,"user":"u"}"#;
    let request = parse(body).unwrap();
    assert_eq!(
        (request.encoding, request.dimensions, request.user.as_deref()),
        (Encoding::Base64, Some(256), Some("u"))
    );
}

#[test]
fn each_bad_member_is_named() {
    for (body, param) in [
        (r#"{"model":"m"}"#, "input"),
        (r#"{"input":"x"}"#, "model"),
        (r#"{"input":"x","model":null}"#, "model"),
        (r#"{"input":"x","model":7}"#, "model"),
        (r#"{"input":"x","model":"m","input_type":"query"}"#, "input_type"),
        (r#"{"input":"x","model":"m","input":"y"}"#, "input"),
        (r#"{"input":"x","model":"m","encoding_format":"Base64"}"#, "encoding_format"),
        (r#"{"input":"x","model":"m","encoding_format":["float"]}"#, "encoding_format"),
        (r#"{"input":"x","model":"m","dimensions":"256"}"#, "dimensions"),
        (r#"{"input":"x","model":"m","dimensions":-1}"#, "dimensions"),
        (r#"{"input":"x","model":"m","dimensions":256.5}"#, "dimensions"),
        (r#"{"input":"x","model":"m","dimensions":4294967296}"#, "dimensions"),
        (r#"{"input":"x","model":"m","dimensions":99999999999999999999999}"#, "dimensions"),
        (r#"{"input":"x","model":"m","user":{}}"#, "user"),
    ] {
        let error = parse(body).unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{body}: {error}");
    }
}

#[test]
fn each_bad_input_is_named() {
    for (json, param) in [
        ("[]", "input"),
        ("null", "input"),
        ("7", "input"),
        ("true", "input"),
        (r#"{"text":"x"}"#, "input"),
        ("[null]", "input[0]"),
        (r#"["a", 1]"#, "input[1]"),
        (r#"["a", ["b"]]"#, "input[1]"),
        ("[1, \"a\"]", "input[1]"),
        ("[1, -1]", "input[1]"),
        ("[1, 1.5]", "input[1]"),
        ("[[1], 2]", "input[1]"),
        ("[[1], [2, \"x\"]]", "input[1][1]"),
        ("[[1], [[2]]]", "input[1][0]"),
        ("[[1], []]", "input[1]"),
        ("[[], [1]]", "input[0]"),
        ("[[1, 99999999999]]", "input[0]"),
        ("[100300]", "input"),
        ("[[15339], [15339, 100257]]", "input[1]"),
    ] {
        let error = input(json).unwrap_err();
        assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some(param)), "{json}: {error}");
    }
    assert_eq!(input("[15339, 100300]").unwrap_err().details["index"], 1);
    assert_eq!(input("[15339, 99999999999]").unwrap_err().details["index"], 1);
}

#[test]
fn more_than_2048_entries_are_counted_and_refused() {
    for entry in ["\"x\"", "[1]"] {
        let many = |count: usize| format!("[{}]", vec![entry; count].join(","));
        assert_eq!(input(&many(2048)).unwrap().len(), 2048);
        let error = input(&many(2049)).unwrap_err();
        assert_eq!(
            (error.param.as_deref(), &error.details["count"]),
            (Some("input"), &serde_json::json!(2049))
        );
    }
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let deep = format!(r#"{{"model":"m","input":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in
        ["", "[]", "{", "nul", r#"{"input":"x","model":"m"} x"#, r#"{"input":1e999,"model":"m"}"#, &deep]
    {
        assert_eq!(parse(body).unwrap_err().code, Code::Invalid, "{body:.40}");
    }
    assert_eq!(
        EmbeddingsRequest::parse(b"{\"input\":\"\xff\",\"model\":\"m\"}").unwrap_err().code,
        Code::Invalid
    );
    assert_eq!(parse(r#"{"input":"\ud800","model":"m"}"#).unwrap_err().code, Code::Invalid);
}
