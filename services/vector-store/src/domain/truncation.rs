//! Why a search gives fewer rows than were asked for.

/// The reason, or nothing when there is none to give. `found` rows were nearest, of which `kept` are near enough.
pub(crate) fn reason(limit: usize, found: usize, kept: usize, min_similarity: Option<f64>) -> String {
    let rows = |n: usize| if n == 1 { "row" } else { "rows" };
    match min_similarity {
        _ if kept >= limit => String::new(),
        Some(least) if kept < found => format!("only {kept} {} reach a similarity of {least}", rows(kept)),
        _ => match found {
            0 => "no rows match".to_owned(),
            1 => "only 1 row matches".to_owned(),
            _ => format!("only {found} rows match"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_limited_the_answer() {
        for (limit, found, kept, least, expected) in [
            (5, 5, 5, None, ""),
            (5, 3, 3, None, "only 3 rows match"),
            (5, 1, 1, Some(0.2), "only 1 row matches"),
            (5, 0, 0, Some(0.2), "no rows match"),
            (5, 5, 2, Some(0.8), "only 2 rows reach a similarity of 0.8"),
            (5, 5, 5, Some(0.8), ""),
        ] {
            assert_eq!(reason(limit, found, kept, least), expected);
        }
    }
}
