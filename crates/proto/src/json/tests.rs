use serde::de::DeserializeOwned;

use crate::v1::{
    AgentInput, BatchEntry, CostReport, CreateKeyRequest, DeleteEmbeddingsRequest, EmbedBatchRequest,
    EmbedRequest, EmbedResponse, ErrorBody, ProvidersHealth,
};

#[test]
fn money_is_exact_both_ways() {
    let text = r#"{"constraints":{"max_cost_per_day":150.0,"max_cost_per_request":0.00000002}}"#;
    let input: AgentInput = serde_json::from_str(text).unwrap();
    let constraints = input.constraints.unwrap();
    assert_eq!(constraints.max_cost_per_day_nano_usd, Some(150_000_000_000));
    assert_eq!(constraints.max_cost_per_request_nano_usd, Some(20));
    let json =
        serde_json::to_string(&CostReport { total_cost_nano_usd: i64::MAX, ..Default::default() }).unwrap();
    assert!(json.contains(r#""total_cost_usd":9223372036.854775807"#), "{json}");
}

#[test]
fn metadata_is_kept_as_given() {
    let given = r#"{"b":1.0,"a":[12345678901234567890,{"x":"\u00e9"}]}"#;
    let request: EmbedRequest =
        serde_json::from_str(&format!(r#"{{"text":"t","metadata":{given}}}"#)).unwrap();
    assert_eq!(request.metadata, given);
    let answer = EmbedResponse { metadata: request.metadata, ..Default::default() };
    assert!(serde_json::to_string(&answer).unwrap().contains(given));
}

#[test]
fn unknown_and_repeated_fields_are_refused() {
    for bad in
        [r#"{"txet":"x"}"#, r#"{"text":"x","text":"y"}"#, r#"{"metadata":[1]}"#, r#"{"dimensions":-1}"#]
    {
        assert!(serde_json::from_str::<EmbedRequest>(bad).is_err(), "{bad}");
    }
}

#[test]
fn defaults_are_printed_and_absent_fields_are_not() {
    let json = serde_json::to_string(&EmbedResponse::default()).unwrap();
    for part in [r#""cached":false"#, r#""cost_usd":0"#, r#""tokens_used":0"#, r#""metadata":{}"#] {
        assert!(json.contains(part), "{part} in {json}");
    }
    assert!(!json.contains("embedding_id"));
}

#[test]
fn times_are_rfc_3339() {
    let request: CreateKeyRequest =
        serde_json::from_str(r#"{"expires_at":"2026-01-31T13:00:00.5+01:00"}"#).unwrap();
    let json = serde_json::to_string(&request).unwrap();
    assert!(json.contains(r#""expires_at":"2026-01-31T12:00:00.5Z""#), "{json}");
    let error = serde_json::from_str::<CreateKeyRequest>(r#"{"expires_at":"tomorrow"}"#).unwrap_err();
    assert!(error.to_string().contains("RFC 3339"), "{error}");
}

/// What is said about a text that is no `T`.
fn refused<T: DeserializeOwned + std::fmt::Debug>(text: &str) -> String {
    serde_json::from_str::<T>(text).expect_err(text).to_string()
}

#[test]
fn a_message_is_an_object_wherever_it_stands() {
    const SAID: &str = "invalid type: sequence, expected an object at";
    for said in [
        refused::<EmbedRequest>(r#"["a","b"]"#),
        refused::<EmbedRequest>("[]"),
        refused::<Vec<EmbedRequest>>(r#"[["a","b"]]"#),
        refused::<EmbedBatchRequest>(r#"{"requests":[{},["a","b"]]}"#),
        refused::<AgentInput>(r#"{"constraints":[1]}"#),
        refused::<AgentInput>(r#"{"constraints":{"rate_limits":[]}}"#),
        refused::<AgentInput>(r#"{"model_preferences":[["a",[],[]]]}"#),
        refused::<ProvidersHealth>(r#"{"providers":{"local":["local"]}}"#),
    ] {
        assert!(said.starts_with(SAID), "{said}");
    }
    assert!(refused::<AgentInput>(r#"{"pii":"off"}"#).ends_with("expected an object at line 1 column 12"));
    assert!(refused::<EmbedRequest>("null").starts_with("invalid type: null, expected an object"));
}

#[test]
fn null_stands_for_an_absent_message_and_an_empty_object_for_an_empty_one() {
    let read = |text| serde_json::from_str::<AgentInput>(text).unwrap();
    assert_eq!(read(r#"{"constraints":null}"#), AgentInput::default());
    assert_eq!(read(r#"{"constraints":{}}"#).constraints, Some(Default::default()));
}

#[test]
fn a_failed_entry_prints_what_it_has() {
    let error = Some(ErrorBody { code: "unavailable".to_owned(), ..Default::default() });
    let json = |entry: &BatchEntry| serde_json::to_string(entry).unwrap();
    let failed = json(&BatchEntry { error: error.clone(), ..Default::default() });
    assert!(
        failed.starts_with(r#"{"error":{"code":"unavailable""#) && !failed.contains("embedding"),
        "{failed}"
    );
    let unstored = BatchEntry {
        cost_nano_usd: Some(i64::MAX),
        embedding: vec![0.1],
        error: error.clone(),
        ..Default::default()
    };
    let unstored = json(&unstored);
    assert!(!unstored.contains("metadata") && unstored.contains(r#""embedding":[0.1]"#), "{unstored}");
    assert!(unstored.contains(r#""cost_usd":9223372036.854775807"#), "{unstored}");
    let whole =
        BatchEntry { embedding: vec![0.1], metadata: r#"{"a":1.0}"#.to_owned(), error, ..Default::default() };
    assert!(json(&whole).contains(r#""metadata":{"a":1.0}"#));
    assert_eq!(json(&BatchEntry::default()), r#"{"embedding":[],"metadata":{}}"#);
}

#[test]
fn a_list_that_must_name_something_is_refused_when_it_is_empty() {
    for said in [
        refused::<DeleteEmbeddingsRequest>(r#"{"agent_id":"a","embedding_ids":[]}"#),
        refused::<CreateKeyRequest>(r#"{"name":"ci","scopes":[]}"#),
    ] {
        assert!(said.contains("leave it out or name at least one"), "{said}");
    }
    assert!(serde_json::from_str::<CreateKeyRequest>(r#"{"name":"ci"}"#).unwrap().scopes.is_empty());
    assert_eq!(serde_json::from_str::<CreateKeyRequest>(r#"{"scopes":["read"]}"#).unwrap().scopes, ["read"]);
}
