//! Published token ids, the round trip over all of Unicode, and what must be refused.

use proptest::prelude::*;

use super::*;

const TOKENIZER: Cl100kBase = Cl100kBase;

#[test]
fn agrees_with_published_ids() {
    assert_eq!(TOKENIZER.encode("hello world").unwrap(), [15_339, 1_917]);
    assert_eq!(TOKENIZER.encode("tiktoken is great!").unwrap(), [83, 1_609, 5_963, 374, 2_294, 0]);
    assert_eq!(TOKENIZER.encode("").unwrap(), [0_u32; 0]);
}

#[test]
fn control_tokens_in_a_text_are_ordinary_text() {
    let text = "a <|endoftext|> b <|fim_prefix|> c <|endofprompt|>";
    let tokens = TOKENIZER.encode(text).unwrap();
    assert!(tokens.iter().all(|token| TEXT_TOKENS.contains(token)), "{tokens:?}");
    assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text);
}

#[test]
fn a_control_token_in_an_array_is_refused_with_its_position() {
    for token in CONTROL_TOKENS {
        assert_eq!(TOKENIZER.decode(&[15_339, token]), Err(DecodeError::Control { index: 1, token }));
    }
}

#[test]
fn an_id_outside_the_vocabulary_is_refused_with_its_position() {
    for token in [100_256, 100_261, 100_275, 100_277, u32::MAX] {
        assert_eq!(TOKENIZER.decode(&[15_339, 1_917, token]), Err(DecodeError::Unknown { index: 2, token }));
    }
}

#[test]
fn half_a_character_is_refused_with_the_position_of_its_first_token() {
    let tokens = TOKENIZER.encode("hello 🜚").unwrap();
    let cut = &tokens[..tokens.len() - 1];
    let error = TOKENIZER.decode(cut).unwrap_err();
    let DecodeError::NotUtf8 { index } = error else { panic!("{error:?}") };
    assert_eq!(TOKENIZER.decode(&tokens[..index]).unwrap(), "hello");
}

#[test]
fn every_text_token_decodes_and_none_is_longer_than_128_bytes() {
    let longest = TEXT_TOKENS.map(|token| Cl100kBase::table().decode_bytes(&[token]).unwrap().len()).max();
    assert_eq!(longest, Some(128));
}

#[test]
fn the_longest_texts_of_every_shape_are_tokenised() {
    for unit in [" ", "a", "\n", "\u{3000}", "é", "1", "!", " a", "\r\n ", "🜚"] {
        let mut text = unit.repeat((MAX_TEXT_BYTES - 1) / unit.len());
        text.push('x');
        let tokens = TOKENIZER.encode(&text).unwrap();
        assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text, "{unit:?}");
    }
}

#[test]
fn a_text_that_no_model_takes_is_refused_before_the_work() {
    let text = "a".repeat(MAX_TEXT_BYTES + 1);
    let error = TOKENIZER.encode(&text).unwrap_err();
    assert_eq!(error, EncodeError::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(text in any::<String>()) {
        let tokens = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text);
    }

    #[test]
    fn decoding_undoes_encoding_of_runs(parts in prop::collection::vec(("[ \\t\\n\\r\u{3000}]{0,9}", "\\PC{0,9}"), 0..20)) {
        let text: String = parts.into_iter().flat_map(|(space, word)| [space, word]).collect();
        let tokens = TOKENIZER.encode(&text).unwrap();
        prop_assert_eq!(TOKENIZER.decode(&tokens).unwrap(), text);
    }

    #[test]
    fn the_bound_holds(text in any::<String>()) {
        prop_assert!(TOKENIZER.count(&text).unwrap() <= TOKENIZER.kind().upper_bound(&text));
    }

    #[test]
    fn any_array_decodes_or_says_why(tokens in prop::collection::vec(0_u32..100_300, 0..40)) {
        match TOKENIZER.decode(&tokens) {
            Ok(text) => prop_assert!(text.len() >= tokens.len()),
            Err(DecodeError::NotUtf8 { index } | DecodeError::Unknown { index, .. } | DecodeError::Control { index, .. }) => {
                prop_assert!(index < tokens.len());
            }
            Err(error @ (DecodeError::Failed(_) | DecodeError::TooLong { .. })) => prop_assert!(false, "{error}"),
        }
    }
}

#[test]
fn a_text_is_decoded_no_further_than_wanted() {
    // a run of 128 spaces
    let tokens = [58_040; 100_000];
    assert_eq!(TOKENIZER.decode_at_most(&tokens[..4], 512).unwrap().len(), 512);
    for most_bytes in [0, 511, 1 << 20] {
        assert_eq!(TOKENIZER.decode_at_most(&tokens, most_bytes), Err(DecodeError::TooLong { most_bytes }));
    }
}
