//! Whatever comes back, reading it gives as many vectors as texts or an error.

use futures::FutureExt;
use proptest::prelude::*;

use super::format::{Answer, Format};
use crate::ProviderError;

const ANSWERS: [(Format, &str, usize); 4] = [
    (
        Format::TitanV2,
        r#"{"embedding":[0.1,-0.2],"embeddingsByType":{"float":[0.1,-0.2]},"inputTextTokenCount":3}"#,
        1,
    ),
    (Format::TitanImage, r#"{"embedding":[0.1,-0.2],"inputTextTokenCount":3,"message":null}"#, 1),
    (
        Format::CohereV3,
        r#"{"id":"x","texts":["a","b"],"embeddings":[[0.1,-0.2],[1,2]],"response_type":"embeddings_floats"}"#,
        2,
    ),
    (
        Format::CohereV4,
        r#"{"embeddings":{"int8":[[1,2],[3,4]],"float":[[0.1,-0.2],[1,2]]},"response_type":"embeddings_by_type"}"#,
        2,
    ),
];

/// Small answers are read on the spot.
fn read(format: Format, answer: &[u8], texts: usize) -> Result<Answer, ProviderError> {
    format.read(answer.to_vec().into(), texts).now_or_never().unwrap()
}

#[test]
fn each_form_is_read() {
    for (format, answer, texts) in ANSWERS {
        let read = read(format, answer.as_bytes(), texts).unwrap();
        assert_eq!(read.vectors.len(), texts, "{answer}");
        let first = read.vectors[0].as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number));
        assert_eq!(first.collect::<Vec<_>>(), [0.1, -0.2], "{answer}");
    }
}

proptest! {
    #[test]
    fn a_mangled_answer_never_gives_a_wrong_count(
        which in 0..ANSWERS.len(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, prop::option::of("[\\[\\]{},:\"0-9a-z.-]{1,6}")), 1..5),
    ) {
        let (format, answer, texts) = ANSWERS[which];
        let mut mangled = answer.as_bytes().to_vec();
        for (at, length, instead) in cuts {
            let at = at.index(mangled.len() + 1);
            let end = (at + length).min(mangled.len());
            mangled.splice(at..end, instead.unwrap_or_default().into_bytes());
        }
        if let Ok(read) = read(format, &mangled, texts) {
            prop_assert_eq!(read.vectors.len(), texts);
        }
    }
}
