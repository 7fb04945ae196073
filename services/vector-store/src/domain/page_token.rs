//! Where the next page begins.

use base64_simd::URL_SAFE_NO_PAD;
use embermesh_errors::Error;
use embermesh_types::EmbeddingId;
use uuid::Uuid;

use super::filter::Filter;

/// The last row of a page. Its id alone is a place in the order, because ids sort by time; a mark of the filter keeps a token from
/// being used with another one.
pub(crate) fn write(last: EmbeddingId, filter: &Filter) -> String {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(last.uuid().as_bytes());
    bytes[16..].copy_from_slice(&mark(filter));
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Reads what [`write`] wrote; the empty token is the first page.
pub(crate) fn read(token: &str, filter: &Filter) -> Result<Option<EmbeddingId>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    let refuse = |message: &str| Error::invalid("page_token", message);
    let bytes: [u8; 24] =
        URL_SAFE_NO_PAD.decode_to_vec(token).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(
            || refuse("page_token is none that this service gave out; leave it out for the first page"),
        )?;
    if bytes[16..] != mark(filter) {
        return Err(refuse("page_token belongs to another filter; ask for every page with the same filter"));
    }
    Ok(Uuid::from_slice(&bytes[..16]).ok().map(EmbeddingId::new))
}

fn mark(filter: &Filter) -> [u8; 8] {
    let hash = blake3::hash(format!("{filter:?}").as_bytes());
    let mut mark = [0; 8];
    mark.copy_from_slice(&hash.as_bytes()[..8]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_with_its_own_filter_alone() {
        let filter = Filter::default();
        let last = super::super::id::mint(9, 0);
        let token = write(last, &filter);
        assert_eq!(read(&token, &filter).unwrap(), Some(last));
        assert_eq!(read("", &filter).unwrap(), None);
        let other = Filter { context: Some("c".into()), ..Filter::default() };
        assert!(read(&token, &other).unwrap_err().message.contains("another filter"));
        for bad in ["x", "%%%", &token[1..]] {
            assert_eq!(read(bad, &filter).unwrap_err().param.as_deref(), Some("page_token"));
        }
    }
}
