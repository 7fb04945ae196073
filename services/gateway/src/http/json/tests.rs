use embermesh_proto::v1::{
    AgentInput, CreateKeyRequest, DeleteEmbeddingsRequest, EmbedRequest, SearchRequest,
};

use super::*;

fn refused<T: DeserializeOwned + std::fmt::Debug>(body: &str) -> Error {
    decode::<T>(body.as_bytes()).expect_err(body)
}

#[test]
fn an_error_names_the_field_by_its_path() {
    for (body, param) in [
        (r#"{"txet": "x"}"#, "txet"),
        (r#"{"text": "x", "text": "y"}"#, "text"),
        (r#"{"dimensions": -1}"#, "dimensions"),
        (r#"{"dimensions": 1.5}"#, "dimensions"),
        (r#"{"metadata": [1]}"#, "metadata"),
        ("null", "body"),
        ("3", "body"),
    ] {
        assert_eq!(refused::<EmbedRequest>(body).param.as_deref(), Some(param), "{body}");
    }
    let nested =
        refused::<AgentInput>(r#"{"constraints": {"rate_limits": {"requests_per_minute": "many"}}}"#);
    assert_eq!(nested.param.as_deref(), Some("constraints.rate_limits.requests_per_minute"));
    let unknown = refused::<AgentInput>(r#"{"model_preferences": [{"task_type": "a"}, {"task": "b"}]}"#);
    assert_eq!(unknown.param.as_deref(), Some("model_preferences[1].task"));
}

#[test]
fn an_error_speaks_no_rust() {
    for (body, expected) in [
        (r#"{"dimensions": "x"}"#, "expected a whole number from 0 to 4294967295"),
        (r#"{"dimensions": -1}"#, "expected a whole number from 0 to 4294967295"),
        (r#"{"store": 1}"#, "expected true or false"),
        (r#"{"text": 1}"#, "expected a string"),
    ] {
        let message = refused::<EmbedRequest>(body).message;
        assert!(message.ends_with(expected), "{body}: {message}");
    }
    let message = refused::<AgentInput>(r#"{"constraints": {"max_tokens_per_request": true}}"#).message;
    assert!(message.ends_with("expected a whole number from 0 to 18446744073709551615"), "{message}");
    let message = refused::<SearchRequest>(r#"{"min_similarity": "x"}"#).message;
    assert!(message.ends_with("expected a number"), "{message}");
    let message = refused::<SearchRequest>(r#"{"query_embedding": 1}"#).message;
    assert!(message.ends_with("expected a list"), "{message}");
}

#[test]
fn an_empty_list_never_stands_for_no_list() {
    let filter = refused::<DeleteEmbeddingsRequest>(r#"{"agent_id": "a", "embedding_ids": []}"#);
    assert_eq!(filter.param.as_deref(), Some("embedding_ids"));
    assert!(filter.message.contains("leave it out or name at least one"), "{filter}");
    let key = refused::<CreateKeyRequest>(r#"{"name": "ci", "scopes": []}"#);
    assert_eq!(key.param.as_deref(), Some("scopes"));
}

#[test]
fn a_syntax_error_says_where() {
    let error = refused::<EmbedRequest>("{\n  \"text\": \"x\",,\n}");
    assert_eq!((error.details["line"].as_u64(), error.details["column"].as_u64()), (Some(2), Some(15)));
    assert!(error.message.contains("line 2 column 15"), "{error}");
}

#[test]
fn an_error_never_repeats_a_text() {
    let secret = "my SSN is 123-45-6789, expected by nobody";
    for body in [
        format!(r#"{{"dimensions": "{secret}"}}"#),
        format!(r#"{{"store": "{secret}"}}"#),
        format!(r#"{{"metadata": "{secret}"}}"#),
        format!(r#""{secret}""#),
        format!(r#"["{secret}", ["{secret}"], 3]"#),
    ] {
        let error = refused::<EmbedRequest>(&body);
        assert!(!format!("{error:?}").contains("SSN"), "{error:?}");
    }
    let long = refused::<EmbedRequest>(&format!(r#"{{"{}": 1}}"#, "k".repeat(5000)));
    assert!(long.message.len() < 500 && long.param.unwrap().len() < 100);
}

#[test]
fn depth_is_limited_inside_metadata_too() {
    let nested =
        |depth: usize| format!(r#"{{"metadata": {{"a": {}1{}}}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(decode::<EmbedRequest>(nested(MAX_DEPTH - 2).as_bytes()).is_ok());
    assert!(refused::<EmbedRequest>(&nested(MAX_DEPTH - 1)).message.contains("128"));
    assert!(refused::<EmbedRequest>(&nested(200_000)).message.contains("128"));
    // brackets in texts are no nesting, and many objects side by side are not either
    let texts = format!(r#"{{"metadata": {{"a": "{}\"\\"}}}}"#, "[{".repeat(500));
    assert!(decode::<EmbedRequest>(texts.as_bytes()).is_ok());
    let flat = format!(r#"{{"metadata": {{"a": [{}{{}}]}}}}"#, "{},".repeat(500));
    assert!(decode::<EmbedRequest>(flat.as_bytes()).is_ok());
}

#[test]
fn half_a_surrogate_pair_is_refused_wherever_it_stands() {
    for bad in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\udc00\ud800", r"x\uD83Dx", r"\ud83d\n", r"\\\ud83d"]
    {
        for body in [format!(r#"{{"text": "{bad}"}}"#), format!(r#"{{"metadata": {{"a": "{bad}"}}}}"#)] {
            refused::<EmbedRequest>(&body);
        }
    }
    for good in [r"\ud83d\ude00", r"\\ud800", r"\u00e9\\", r"\\\\ud800\ud83d\ude00"] {
        for body in [format!(r#"{{"text": "{good}"}}"#), format!(r#"{{"metadata": {{"a": "{good}"}}}}"#)] {
            decode::<EmbedRequest>(body.as_bytes()).expect(&body);
        }
    }
}

#[test]
fn invalid_utf_8_is_refused_wherever_it_stands() {
    for body in [&b"{\"text\": \"\xff\"}"[..], b"{\"metadata\": {\"a\": \"\xc3\"}}", b"\xff\xfe{}"] {
        let error = decode::<EmbedRequest>(body).unwrap_err();
        assert!(error.message.contains("UTF-8"), "{error}");
    }
}
