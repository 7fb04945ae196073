//! Deterministic unit vectors: equal for equal (seed, family, text), as good as orthogonal otherwise.
//!
//! A model that distinguishes what a text is for gives the same text as a query and as a document vectors that differ but are close
//! (cosine near 0.9), as real asymmetric models do.

/// Separates these hashes from every other use of BLAKE3; changing it changes every vector.
const CONTEXT: &str = "embermesh provider simulator 2026-11 vector";
/// Cosine between a text's vectors as a query and as a document.
const COMMON: f64 = 0.9;

/// The vector that every simulated deployment of `family` gives for `text`: `dims` components, length 1.
///
/// Fewer dimensions are a renormalised prefix of more (Matryoshka), as with the `text-embedding-3` family.
#[must_use]
pub fn vector(family: &str, text: &str, dims: usize) -> Vec<f32> {
    vector_seeded(0, family, text.as_bytes(), dims)
}

/// [`vector`] of a deployment that was started with another seed: other vectors under the same name.
///
/// Takes bytes, since a client that cuts token arrays may send half of a character.
#[must_use]
pub fn vector_seeded(seed: u64, family: &str, text: &[u8], dims: usize) -> Vec<f32> {
    vector_of(seed, family, None, text, dims)
}

/// The vector that an asymmetric model gives: `input_type` in the words of any API (`query`, `search_query`, `RETRIEVAL_QUERY` are one).
#[must_use]
pub fn vector_for(family: &str, input_type: &str, text: &str, dims: usize) -> Vec<f32> {
    vector_of(0, family, Some(input_type), text.as_bytes(), dims)
}

/// Any vector; without an input type, that of a symmetric model.
pub(super) fn vector_of(
    seed: u64,
    family: &str,
    input_type: Option<&str>,
    text: &[u8],
    dims: usize,
) -> Vec<f32> {
    let mut raw = components(seed, family, "", text, dims);
    if let Some(input_type) = input_type {
        // the share of what two input types have in common is the cosine between them
        let own = components(seed, family, &purpose(input_type), text, dims);
        for (component, own) in raw.iter_mut().zip(own) {
            *component = COMMON.sqrt() * *component + (1.0 - COMMON).sqrt() * own;
        }
    }
    let length = raw.iter().map(|component| component * component).sum::<f64>().sqrt();
    raw.into_iter().map(|component| (component / length) as f32).collect()
}

/// Independent components of mean 0 and equal variance; fewer are the beginning of more.
fn components(seed: u64, family: &str, purpose: &str, text: &[u8], dims: usize) -> Vec<f64> {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(family.len() as u64).to_le_bytes());
    hasher.update(family.as_bytes());
    if !purpose.is_empty() {
        // no family is this long, so that a purpose is never taken for a text
        hasher.update(&u64::MAX.to_le_bytes());
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes());
    }
    hasher.update(text);
    let mut stream = vec![0; dims * size_of::<i32>()];
    hasher.finalize_xof().fill(&mut stream);
    let (words, _) = stream.as_chunks::<4>();
    words.iter().map(|word| f64::from(i32::from_le_bytes(*word))).collect()
}

/// One name for what APIs call differently.
fn purpose(input_type: &str) -> String {
    let lower = input_type.to_ascii_lowercase();
    let bare = lower.strip_prefix("search_").or_else(|| lower.strip_prefix("retrieval_")).unwrap_or(&lower);
    bare.to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn texts_families_and_seeds_are_far_apart() {
        let here = vector("m", "text", 1536);
        for other in [
            vector("m", "texT", 1536),
            vector("n", "text", 1536),
            vector("mt", "ext", 1536),
            vector_seeded(1, "m", b"text", 1536),
        ] {
            assert!(cosine(&here, &other).abs() < 0.2, "{}", cosine(&here, &other));
        }
    }

    #[test]
    fn a_query_is_close_to_its_document_and_apart_from_other_texts() {
        let query = vector_for("m", "query", "text", 1024);
        let document = vector_for("m", "RETRIEVAL_DOCUMENT", "text", 1024);
        assert!((cosine(&query, &document) - 0.9).abs() < 0.05, "{}", cosine(&query, &document));
        assert_eq!(query, vector_for("m", "search_query", "text", 1024));
        assert!(cosine(&query, &vector_for("m", "document", "other", 1024)).abs() < 0.2);
    }

    proptest! {
        #[test]
        fn is_a_unit_vector_of_the_asked_length(text in ".{0,40}", dims in 1_usize..400) {
            let vector = vector("family", &text, dims);
            prop_assert_eq!(vector.len(), dims);
            prop_assert!((cosine(&vector, &vector) - 1.0).abs() < 1e-5);
        }

        #[test]
        fn fewer_dimensions_are_a_renormalised_prefix(text in ".{0,40}", dims in 1_usize..300) {
            let long = vector("family", &text, 300);
            let prefix = &long[..dims];
            let length = cosine(prefix, prefix).sqrt();
            for (cut, short) in prefix.iter().zip(vector("family", &text, dims)) {
                prop_assert!((f64::from(*cut) / length - f64::from(short)).abs() < 1e-6);
            }
        }
    }
}
