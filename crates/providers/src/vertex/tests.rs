use embermesh_proto::to_le_bytes;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(json: &str, asked: usize) -> Result<ProviderAnswer, ProviderError> {
    let answer: Predictions =
        serde_json::from_str(json).map_err(|e| ProviderError::bad_answer(e.to_string()))?;
    answer.into_answer(asked)
}

fn prediction(statistics: &str) -> String {
    format!(r#"{{"embeddings":{{{statistics}"values":[1.5,-2]}}}}"#)
}

#[test]
fn tokens_are_summed_and_characters_taken() {
    let one = prediction(r#""statistics":{"truncated":false,"token_count":4},"#);
    let two = prediction(r#""statistics":{"truncated":false,"token_count":3.0},"#);
    let json = format!(r#"{{"predictions":[{one},{two}],"metadata":{{"billableCharacterCount":27}}}}"#);
    let answer = read(&json, 2).unwrap();
    assert_eq!(answer.vectors, [to_le_bytes(&[1.5, -2.0]), to_le_bytes(&[1.5, -2.0])]);
    assert_eq!(answer.usage, Usage { tokens: Some(TokenCount(7)), characters: Some(27) });
}

#[test]
fn a_sum_over_some_of_the_texts_is_no_usage() {
    let (with, without) = (prediction(r#""statistics":{"token_count":4},"#), prediction(""));
    let answer = read(&format!(r#"{{"predictions":[{with},{without}]}}"#), 2).unwrap();
    assert_eq!(answer.usage, Usage::default());
}

#[test]
fn a_text_that_was_cut_is_a_bad_answer() {
    let cut = prediction(r#""statistics":{"truncated":true,"token_count":2048},"#);
    let error = read(&format!(r#"{{"predictions":[{cut}]}}"#), 1).unwrap_err();
    assert_eq!(
        (error.failure, error.message.as_str()),
        (Failure::BadAnswer, "text 0 was cut although truncation is off")
    );
}

#[test]
fn a_name_with_more_than_a_segment_makes_no_url() {
    let models = "https://host/v1/models/";
    assert_eq!(
        model_url(models, "textembedding-gecko@003", ":predict").unwrap(),
        "https://host/v1/models/textembedding-gecko@003:predict"
    );
    for bad in ["", "a/b", "..", "a?b", "a#b", "a b", "ä", "a%2fb"] {
        assert_eq!(model_url(models, bad, ":predict").unwrap_err().failure, Failure::Local, "{bad}");
    }
}

fn vertex(entry: &serde_json::Value) -> Result<Vertex, BadEntry> {
    let mut entry = entry.clone();
    entry["metadata_url"] = "http://127.0.0.1:1".into();
    let entry = serde_json::from_value(entry).unwrap();
    Vertex::new(HttpClient::new().unwrap(), &entry, &Surroundings::default())
}

#[test]
fn a_region_has_its_own_host_and_the_world_has_one() {
    for (region, host) in [
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
    ] {
        let vertex = vertex(&json!({"project": "p", "region": region})).unwrap();
        let expected = format!("{host}/v1/projects/p/locations/{region}/publishers/google/models/");
        assert_eq!(vertex.models, expected);
    }
    let elsewhere = json!({"project": "p", "region": "r", "base_url": "http://127.0.0.1:9/"});
    assert!(vertex(&elsewhere).unwrap().models.starts_with("http://127.0.0.1:9/v1/projects/p/"));
}

#[test]
fn what_is_wrong_with_an_entry_is_named() {
    for (entry, expected) in [
        (json!({"region": "r"}), "project is missing"),
        (json!({"project": "p"}), "region is missing"),
        (json!({"project": "p/q", "region": "r"}), "project 'p/q' is no name that Google Cloud gives"),
        (json!({"project": "p", "region": "eu west"}), "region 'eu west' is no name that Google Cloud gives"),
        (
            json!({"project": "p", "region": "r", "base_url": "here"}),
            "base_url 'here' is not a URL such as https://host/v1",
        ),
    ] {
        assert_eq!(vertex(&entry).unwrap_err().to_string(), expected);
    }
}

#[test]
fn limits_go_by_the_name_that_vertex_has_for_a_model() {
    let entry = json!({"project": "p", "region": "r", "model_names": {"ours": "gemini-embedding-001"}});
    let vertex = vertex(&entry).unwrap();
    let texts = |id: &str, name: Option<&str>| {
        let provider_names = name.map(|name| ("vertex".to_owned(), name.to_owned())).into_iter().collect();
        let model = CatalogModel { id: id.to_owned(), provider_names, ..CatalogModel::default() };
        vertex.limits(&model).texts
    };
    assert_eq!(texts("text-embedding-005", None), 250);
    assert_eq!(texts("ours", None), 1);
    assert_eq!(texts("gecko", Some("textembedding-gecko@003")), 5);
}

proptest! {
    #[test]
    fn a_mangled_answer_never_gives_another_count(
        asked in 0_usize..4,
        got in 0_usize..4,
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let all = vec![prediction(r#""statistics":{"truncated":false,"token_count":4},"#); got];
        let mut mangled = format!(r#"{{"predictions":[{}]}}"#, all.join(",")).into_bytes();
        let at = place.index(mangled.len());
        mangled[at] = byte;
        if let Ok(answer) = serde_json::from_slice::<Predictions>(&mangled)
            && let Ok(answer) = answer.into_answer(asked)
        {
            prop_assert_eq!(answer.vectors.len(), asked);
        }
        mangled.truncate(at);
        prop_assert!(serde_json::from_slice::<Predictions>(&mangled).is_err());
    }
}
