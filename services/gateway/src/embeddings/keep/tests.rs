use bytes::Bytes;
use embermesh_proto::v1;
use embermesh_types::NanoUsd;
use proptest::prelude::*;

use super::*;
use crate::embeddings::{
    EmbeddingLimits, Item, embed::Scrubbed, entry::Entry, stand_ins::context, too_long::Cut,
};

/// A text with so many pieces, in one of two spaces.
fn embedded(space: usize, pieces: usize) -> Embedded {
    let caller = Caller { context: context(None), idempotency_key: None };
    let request = v1::EmbedRequest {
        text: "x".repeat(pieces),
        on_too_long: Some("chunk".into()),
        ..Default::default()
    };
    let entry = Entry::parse(request, &caller, &EmbeddingLimits::default()).unwrap();
    let piece =
        |at| Piece { range: at..at + 1, vector: Bytes::from_static(b"1234"), tokens: 1, cost: NanoUsd(1) };
    let cut = Cut {
        action: OnTooLong::Chunk,
        tokens: 1,
        tokens_exact: true,
        limit: 1,
        pieces: (0..pieces).map(piece).collect(),
    };
    let item = Item {
        vector: Bytes::from_static(b"1234"),
        space: ["a@1", "b@1"][space].parse().unwrap(),
        provider: String::new(),
        tokens: 1,
        cost: NanoUsd(1),
        cached: false,
        cut: (pieces > 1).then(|| Box::new(cut)),
    };
    let scrubbed = Scrubbed { entry, pii: v1::PiiReport::default() };
    Embedded { scrubbed, model: String::new(), instead_of: None, item, millis: 0, kept: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_row_is_put_once_in_order_and_a_text_is_split_only_when_it_must_be(
        texts in prop::collection::vec((0..2_usize, prop_oneof![4 => 1..4_usize, 2 => 900..1200_usize, 1 => 2000..5000_usize]), 0..12),
    ) {
        let embedded: Placed<Embedded> =
            texts.iter().map(|(space, pieces)| embedded(*space, *pieces)).enumerate().collect();
        let puts = puts(&embedded);
        for space in 0..2 {
            let of_space = |part: &&Part| texts[part.0].0 == space;
            let put: Vec<Part> = puts.iter().flatten().filter(of_space).copied().collect();
            let all = texts.iter().enumerate().flat_map(|(of, (_, pieces))| (0..*pieces).map(move |piece| (of, piece)));
            prop_assert_eq!(put, all.filter(|part| texts[part.0].0 == space).collect::<Vec<_>>());
        }
        for put in &puts {
            prop_assert!((1..=MAX_PUT_ROWS).contains(&put.len()));
            prop_assert!(put.iter().map(|(of, piece)| size(&embedded[*of].1, *piece)).sum::<usize>() <= MAX_PUT_BYTES);
            prop_assert!(put.iter().all(|(of, _)| texts[*of].0 == texts[put[0].0].0), "one space");
        }
        for (of, (_, pieces)) in texts.iter().enumerate().filter(|(_, (_, pieces))| *pieces <= MAX_PUT_ROWS) {
            let holding = puts.iter().filter(|put| put.iter().any(|part| part.0 == of)).count();
            prop_assert_eq!(holding, 1, "a text of {} rows in {} messages", pieces, holding);
        }
    }
}
