//! Answers damaged at random: whatever a parser makes of them, it is never another number of vectors than was asked for.

use proptest::{collection::vec, prelude::*, sample::Index};
use serde::de::DeserializeOwned;

use crate::{ProviderAnswer, ProviderError};

/// Where bytes are replaced, and by what: mostly what JSON is made of.
pub(crate) fn edits() -> impl Strategy<Value = Vec<(Index, u8)>> {
    let structure = proptest::sample::select(br#"[]{},:"-.e012tnu\ "#.as_slice());
    vec((any::<Index>(), prop_oneof![3 => structure, 1 => any::<u8>()]), 1..5)
}

/// Reads `json` as an answer to `asked` texts: whole, cut off where the first of the `edits` is, and with all of them.
pub(crate) fn check<A: DeserializeOwned>(
    json: String,
    edits: &[(Index, u8)],
    asked: usize,
    into_answer: impl Fn(A, usize) -> Result<ProviderAnswer, ProviderError>,
) -> Result<(), TestCaseError> {
    let read = |bytes: &[u8]| into_answer(serde_json::from_slice(bytes).ok()?, asked).ok();
    let mut bytes = json.into_bytes();
    let whole = read(&bytes);
    prop_assert!(read(&bytes[..edits[0].0.index(bytes.len())]).is_none());
    for (place, byte) in edits {
        let at = place.index(bytes.len());
        bytes[at] = *byte;
    }
    for answer in [whole, read(&bytes)].into_iter().flatten() {
        prop_assert_eq!(answer.vectors.len(), asked);
        prop_assert!(answer.vectors.iter().all(|vector| vector.len() % 4 == 0));
    }
    Ok(())
}
