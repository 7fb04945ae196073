//! The language that words are read in: the name of a text search configuration of PostgreSQL.

/// Longest name, so that the names of indexes can end with it.
const MAX_BYTES: usize = 40;

/// What is wrong with a name, if anything. A schema may stand before it.
pub(crate) fn mistake(name: &str) -> Option<String> {
    let word = |part: &str| {
        let begins_well = part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        begins_well && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    let (schema, bare) = name.split_once('.').unwrap_or(("_", name));
    (name.len() > MAX_BYTES || !word(schema) || !word(bare)).then(|| {
        format!(
            "text_search.language is `{name}`, it must be the name of a text search configuration in lower case, such as english"
        )
    })
}

/// A name as the end of an index's name.
pub(crate) fn in_index_name(name: &str) -> String {
    name.replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plain_name_is_refused() {
        for good in ["english", "simple", "public.german_2", "_x"] {
            assert_eq!(mistake(good), None);
        }
        for bad in ["", "English", "a b", "a'b", "a.b.c", ".a", "a.", "2a", "käse", &"x".repeat(41)] {
            assert!(mistake(bad).unwrap().contains("text_search.language"), "{bad}");
        }
    }
}
