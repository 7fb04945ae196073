use proptest::prelude::*;

use crate::openai::encode::{Encoding, answer, floats};

fn read(model: &str, vectors: &[Vec<f32>], encoding: Encoding) -> serde_json::Value {
    let bytes: Vec<Vec<u8>> =
        vectors.iter().map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let vectors = bytes.iter().map(Vec::as_slice);
    serde_json::from_slice(&answer(model, vectors, encoding, u64::MAX, floats)).unwrap()
}

#[test]
fn an_answer_is_written_to_the_byte() {
    let vectors =
        [[1.0_f32, -0.5], [1e-7, 0.0]].map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let written = |encoding| {
        let vectors = vectors.iter().map(Vec::as_slice);
        String::from_utf8(answer("m\"1", vectors, encoding, 7, floats)).unwrap()
    };
    assert_eq!(
        written(Encoding::Float),
        concat!(
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.0,-0.5]},"#,
            r#"{"object":"embedding","index":1,"embedding":[1e-7,0.0]}],"#,
            r#""model":"m\"1","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        )
    );
    assert!(written(Encoding::Base64).contains(r#""index":0,"embedding":"AACAPwAAAL8="}"#));
}

proptest! {
    #[test]
    fn floats_and_base64_give_back_every_bit(vectors in prop::collection::vec(prop::collection::vec(finite(), 1..50), 1..5)) {
        let (floats, base64) = (read("m", &vectors, Encoding::Float), read("m", &vectors, Encoding::Base64));
        for (index, vector) in vectors.iter().enumerate() {
            let bits: Vec<u32> = vector.iter().map(|x| x.to_bits()).collect();
            let numbers: Vec<f32> = serde_json::from_value(floats["data"][index]["embedding"].clone()).unwrap();
            prop_assert_eq!(numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), &bits[..]);
            let text = base64["data"][index]["embedding"].as_str().unwrap();
            let bytes = base64_simd::STANDARD.decode_to_vec(text).unwrap();
            let decoded: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|x| u32::from_le_bytes(*x)).collect();
            prop_assert_eq!(decoded, bits);
        }
    }
}

fn finite() -> impl Strategy<Value = f32> {
    prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO
}
