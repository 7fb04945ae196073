use embermesh_proto::to_le_bytes;
use proptest::prelude::*;

use super::*;

fn read(json: &str, asked: usize) -> Result<ProviderAnswer, ProviderError> {
    serde_json::from_str::<Embeddings>(json).unwrap().into_answer(asked)
}

#[test]
fn usage_is_taken_where_the_model_reports_it() {
    let vectors = r#"{"embeddings":[{"values":[0.5,1]},{"values":[1e-3,0]}]"#;
    let without = read(&format!("{vectors}}}"), 2).unwrap();
    assert_eq!(without.vectors, [to_le_bytes(&[0.5, 1.0]), to_le_bytes(&[0.001, 0.0])]);
    assert_eq!(without.usage, Usage::default());
    let with = read(&format!(r#"{vectors},"usageMetadata":{{"promptTokenCount":9}}}}"#), 2).unwrap();
    assert_eq!(with.usage, Usage { tokens: Some(TokenCount(9)), characters: None });
}

#[test]
fn one_vector_for_two_texts_is_a_bad_answer() {
    let error = read(r#"{"embeddings":[{"values":[1]}]}"#, 2).unwrap_err();
    assert_eq!(error.failure, crate::Failure::BadAnswer);
}

proptest! {
    #[test]
    fn a_mangled_answer_never_gives_another_count(
        asked in 0_usize..4,
        got in 0_usize..4,
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let all = vec![r#"{"values":[0.5,-1]}"#; got];
        let mut mangled = format!(r#"{{"embeddings":[{}]}}"#, all.join(",")).into_bytes();
        let at = place.index(mangled.len());
        mangled[at] = byte;
        if let Ok(answer) = serde_json::from_slice::<Embeddings>(&mangled)
            && let Ok(answer) = answer.into_answer(asked)
        {
            prop_assert_eq!(answer.vectors.len(), asked);
        }
        mangled.truncate(at);
        prop_assert!(serde_json::from_slice::<Embeddings>(&mangled).is_err());
    }
}
