//! Paging: a token says after which row the next page begins. Opaque to clients, and no secret.

use base64_simd::URL_SAFE_NO_PAD as BASE64;
use embermesh_errors::Error;

const DEFAULT_SIZE: u32 = 100;
const MAX_SIZE: u32 = 1000;

/// Which page is asked for. `KEY` is the number of columns that rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page<const KEY: usize> {
    size: usize,
    /// The last row of the page before.
    pub(crate) after: Option<[String; KEY]>,
}

impl<const KEY: usize> Page<KEY> {
    /// Reads the fields of a request for `list`; a token of another list is refused.
    pub(crate) fn parse(list: &str, size: Option<u32>, token: Option<&str>) -> Result<Self, Error> {
        let size = size.unwrap_or(DEFAULT_SIZE);
        if !(1..=MAX_SIZE).contains(&size) {
            return Err(Error::invalid("page_size", format!("expected 1 to {MAX_SIZE}")));
        }
        let after = match token.filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(decode(list, token).ok_or_else(|| {
                Error::invalid("page_token", "not a next_page_token of this list, begin again without one")
            })?),
        };
        Ok(Self { size: usize::try_from(size).unwrap_or_default(), after })
    }

    /// Rows to read: one more than asked for tells whether there is a next page.
    pub(crate) fn limit(&self) -> i64 {
        i64::try_from(self.size + 1).unwrap_or(i64::MAX)
    }

    /// Cuts what was read to the page, and makes the token of the next one.
    pub(crate) fn cut<T>(
        &self,
        list: &str,
        rows: &mut Vec<T>,
        key: impl Fn(&T) -> [String; KEY],
    ) -> Option<String> {
        if rows.len() <= self.size {
            return None;
        }
        rows.truncate(self.size);
        rows.last().map(|last| encode(list, &key(last)))
    }
}

fn encode<const KEY: usize>(list: &str, key: &[String; KEY]) -> String {
    let parts: Vec<&str> = std::iter::once(list).chain(key.iter().map(String::as_str)).collect();
    BASE64.encode_to_string(serde_json::Value::from(parts).to_string().as_bytes())
}

fn decode<const KEY: usize>(list: &str, token: &str) -> Option<[String; KEY]> {
    let bytes = BASE64.decode_to_vec(token.as_bytes()).ok()?;
    let mut parts: Vec<String> = serde_json::from_slice(&bytes).ok()?;
    if parts.is_empty() || parts.remove(0) != list || parts.iter().any(|part| part.contains('\0')) {
        return None;
    }
    parts.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_continues_its_own_list_only() {
        let page = Page::<1>::parse("agents", Some(2), None).unwrap();
        let mut rows = vec!["a", "b", "c"];
        let token = page.cut("agents", &mut rows, |row| [(*row).to_owned()]).unwrap();
        assert_eq!(rows, ["a", "b"]);
        let next = Page::<1>::parse("agents", Some(2), Some(&token)).unwrap();
        assert_eq!(next.after, Some(["b".to_owned()]));
        assert_eq!(next.cut("agents", &mut vec!["c"], |row| [(*row).to_owned()]), None);
        assert!(Page::<1>::parse("keys", None, Some(&token)).is_err());
        assert!(Page::<2>::parse("agents", None, Some(&token)).is_err());
        assert!(Page::<1>::parse("agents", Some(0), None).is_err());
        assert!(Page::<1>::parse("agents", Some(1001), None).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_token_or_refused(token in ".{1,60}") {
            let refused = Page::<1>::parse("agents", None, Some(&token)).map_err(|error| error.param);
            prop_assert!(matches!(refused, Err(Some(param)) if param == "page_token"));
        }
    }
}
