//! The WordPiece tokenizer on its real vocabulary.

use embermesh_minilm::Tokenizer;
use embermesh_tokens::{DecodeError, TextTokenizer};
use proptest::prelude::*;

use crate::weights::model;

fn with_tokenizer<T>(test: impl FnOnce(&Tokenizer) -> T) -> T {
    test(model().tokenizer())
}

#[test]
fn neither_cuts_nor_pads() {
    with_tokenizer(|tokenizer| {
        assert_eq!(tokenizer.encode("hello world").unwrap(), [101, 7_592, 2_088, 102]);
        assert_eq!(tokenizer.count(&"hello ".repeat(300)).unwrap(), 302);
    });
}

#[test]
fn decoding_takes_arrays_with_and_without_control_tokens() {
    with_tokenizer(|tokenizer| {
        for tokens in [&[7_592, 2_088][..], &[101, 7_592, 2_088, 102], &[101, 7_592, 2_088, 102, 0, 0]] {
            assert_eq!(tokenizer.decode(tokens).unwrap(), "hello world");
        }
    });
}

#[test]
fn decoding_does_not_beautify() {
    with_tokenizer(|tokenizer| {
        let tokens = tokenizer.encode("i do not know , she said .").unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), "i do not know , she said .");
    });
}

#[test]
fn an_id_outside_the_vocabulary_is_refused_with_its_position() {
    with_tokenizer(|tokenizer| {
        let error = tokenizer.decode(&[7_592, 30_522]).unwrap_err();
        assert_eq!(error, DecodeError::Unknown { index: 1, token: 30_522 });
    });
}

#[test]
fn the_bound_holds_for_every_character_that_has_a_decomposition() {
    with_tokenizer(|tokenizer| {
        // None beyond these planes decomposes.
        for c in '\0'..='\u{2FFFF}' {
            let text = c.to_string();
            let count = tokenizer.count(&text).unwrap();
            assert!(
                count <= tokenizer.kind().upper_bound(&text),
                "{count} tokens for U+{:04X}",
                u32::from(c)
            );
        }
    });
}

proptest! {
    #[test]
    fn the_bound_holds(text in any::<String>()) {
        with_tokenizer(|tokenizer| {
            prop_assert!(tokenizer.count(&text).unwrap() <= tokenizer.kind().upper_bound(&text));
            Ok(())
        })?;
    }

    #[test]
    fn encoding_a_decoded_array_gives_the_same_array(text in any::<String>()) {
        with_tokenizer(|tokenizer| {
            let tokens = tokenizer.encode(&text).unwrap();
            let decoded = tokenizer.decode(&tokens).unwrap();
            prop_assert_eq!(tokenizer.encode(&decoded).unwrap(), tokens);
            Ok(())
        })?;
    }
}
