//! Operators' own patterns.

use std::ops::Range;

use regex::Regex;
use regex_syntax::ast::parse::ParserBuilder;

use crate::{Entity, PolicyError};

/// Compiled programs may take this much memory each.
const SIZE_LIMIT: usize = 1 << 20;
/// Groups in groups in groups are refused past this.
const NEST_LIMIT: u32 = 50;

/// A regular expression for an entity. Matched on the normalised text, where every digit, dash and space is ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomPattern {
    /// What a match is; a built-in entity when it adds to a validated detector.
    pub entity: Entity,
    /// The expression, in the syntax of the `regex` crate: no look-around, no back-references, linear time.
    pub regex: String,
}

/// A pattern ready to run.
pub(crate) struct CompiledPattern {
    entity: Entity,
    regex: Regex,
}

impl CustomPattern {
    pub(crate) fn compile(&self) -> Result<CompiledPattern, PolicyError> {
        let bad = |reason: String| PolicyError::BadPattern { name: self.entity.clone(), reason };
        ParserBuilder::new()
            .nest_limit(NEST_LIMIT)
            .build()
            .parse(&self.regex)
            .map_err(|error| bad(format!("{} at offset {}", error.kind(), error.span().start.offset)))?;
        let regex = regex::RegexBuilder::new(&self.regex)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .nest_limit(NEST_LIMIT)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    bad(format!("it compiles to more than {limit} bytes, shorten its repetitions"))
                }
                other => bad(last_line(&other.to_string())),
            })?;
        if regex.is_match("") {
            return Err(bad("it matches the empty text, require at least one character".to_owned()));
        }
        Ok(CompiledPattern { entity: self.entity.clone(), regex })
    }
}

/// The expression's errors draw the pattern with a marker beneath it; the last line says what is wrong.
fn last_line(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl CompiledPattern {
    pub(crate) fn entity(&self) -> &Entity {
        &self.entity
    }

    pub(crate) fn for_each(&self, text: &str, mut visit: impl FnMut(Range<usize>)) {
        for found in self.regex.find_iter(text).filter(|found| !found.is_empty()) {
            visit(found.range());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(regex: &str) -> String {
        let pattern = CustomPattern { entity: Entity::named("badge").unwrap(), regex: regex.to_owned() };
        match pattern.compile() {
            Ok(_) => panic!("{regex} compiled"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_with_a_pattern_is_said_in_one_line() {
        assert_eq!(refused("EMP("), "pii pattern `badge` cannot be used: unclosed group at offset 3");
        assert!(refused("(?=x)").contains("look-around"), "{}", refused("(?=x)"));
        assert!(refused(r"\p{Nonsense}").contains("Unicode property"), "{}", refused(r"\p{Nonsense}"));
        assert!(refused("(\\w{500}){500}").contains("compiles to more than 1048576 bytes"));
        assert!(refused("x*").contains("empty text"));
        assert!(refused(&format!("{}x{}", "(".repeat(60), ")".repeat(60))).contains("nest"));
        assert!(refused(&"(".repeat(9)).lines().count() == 1);
    }
}
