//! Whether a pattern of a tenant's own may run on every text of it.
//!
//! One search is linear in the text, but the search for *every* match is not: it begins again after each match, and a pattern that reads
//! on past a match, in hope of a longer one or of one that began earlier, may read the rest of the text each time. So how far a pattern
//! can read past a match must be bounded: by the longest text that it matches, or else in its automaton, where no way from a match
//! through states that are none may go in a circle.

use std::collections::{HashMap, HashSet};

use regex_automata::{
    Input, MatchKind,
    hybrid::{LazyStateID, dfa::DFA},
    nfa::thompson,
};

use crate::{CustomPattern, PolicyError};

/// Longest expression, in bytes.
const LONGEST: usize = 1000;
/// Compiled, a pattern may take this much memory.
const SIZE_LIMIT: usize = 256 * 1024;
/// A pattern that matches nothing longer reads no further past a match.
const SHORT: usize = 1024;
/// An automaton with more states is not looked through.
const MAX_STATES: usize = 4096;
/// Enough for so many states of most patterns; what needs more is not looked through either.
const CACHE: usize = 16 << 20;

const READS_ON: &str = "it can read on without end after a match, which makes it slow on long texts; bound its repetitions, such as {0,64} for *";
const TOO_INTRICATE: &str =
    "it is too intricate to tell how slow it can become; bound its repetitions, such as {0,64} for *";

impl CustomPattern {
    /// Refuses a pattern that can be slow on a text made for it.
    ///
    /// # Errors
    /// [`PolicyError::BadPattern`], which says why.
    pub fn check_cost(&self) -> Result<(), PolicyError> {
        let bad = |reason: String| PolicyError::BadPattern { name: self.entity.clone(), reason };
        if self.regex.len() > LONGEST {
            return Err(bad(format!("it has more than {LONGEST} bytes")));
        }
        // what is no expression at all is said better here
        self.compile()?;
        let parsed = regex_syntax::parse(&self.regex).map_err(|error| bad(error.to_string()))?;
        let nfa = thompson::Compiler::new()
            .configure(thompson::Config::new().nfa_size_limit(Some(SIZE_LIMIT)))
            .build_from_hir(&parsed)
            .map_err(|_| {
                let size = format!("it compiles to more than {SIZE_LIMIT} bytes");
                bad(format!("{size}, shorten its repetitions or write [0-9] for \\d and [A-Za-z] for \\w"))
            })?;
        if parsed.properties().maximum_len().is_some_and(|longest| longest <= SHORT) {
            return Ok(());
        }
        let config = DFA::config()
            .match_kind(MatchKind::LeftmostFirst)
            .unicode_word_boundary(true)
            .cache_capacity(CACHE)
            .skip_cache_capacity_check(true);
        let automaton = DFA::builder().configure(config).build_from_nfa(nfa);
        let automaton = automaton.map_err(|_| bad(TOO_INTRICATE.to_owned()))?;
        match reads_on(&automaton) {
            Some(false) => Ok(()),
            Some(true) => Err(bad(READS_ON.to_owned())),
            None => Err(bad(TOO_INTRICATE.to_owned())),
        }
    }
}

/// Whether a way from a match goes in a circle without another match; `None` when the automaton is too large to tell.
fn reads_on(automaton: &DFA) -> Option<bool> {
    let ways = ways(automaton)?;
    let pending = |state: &LazyStateID| !state.is_match() && !state.is_dead() && !state.is_quit();
    let after_match = ways.iter().filter(|(state, _)| state.is_match()).flat_map(|(_, next)| next);
    let (mut on_way, mut done) = (HashSet::new(), HashSet::new());
    let mut stack: Vec<(LazyStateID, bool)> =
        after_match.filter(|state| pending(state)).map(|state| (*state, false)).collect();
    while let Some((state, left)) = stack.pop() {
        if left {
            on_way.remove(&state);
            done.insert(state);
            continue;
        }
        if done.contains(&state) || !on_way.insert(state) {
            continue;
        }
        stack.push((state, true));
        for next in ways.get(&state).into_iter().flatten().filter(|next| pending(next)) {
            if on_way.contains(next) {
                return Some(true);
            }
            stack.push((*next, false));
        }
    }
    Some(false)
}

/// Every state that a search can be in, and where each byte leads from it.
fn ways(automaton: &DFA) -> Option<HashMap<LazyStateID, Vec<LazyStateID>>> {
    let mut cache = automaton.create_cache();
    let bytes: Vec<u8> =
        automaton.byte_classes().representatives(0..=255).filter_map(|unit| unit.as_u8()).collect();
    let mut found = HashMap::new();
    let mut waiting = Vec::new();
    // where a search begins depends on the byte before it
    for (before, from) in [("", 0), ("a", 1), (" ", 1), ("\n", 1)] {
        let input = Input::new(before).range(from..);
        waiting.push(automaton.start_state_forward(&mut cache, &input).ok()?);
    }
    while let Some(state) = waiting.pop() {
        if found.contains_key(&state) || state.is_dead() || state.is_quit() {
            continue;
        }
        if found.len() == MAX_STATES {
            return None;
        }
        let mut next = HashSet::new();
        for byte in &bytes {
            next.insert(automaton.next_state(&mut cache, state, *byte).ok()?);
        }
        // a cache that was cleared has given its states other numbers
        if cache.clear_count() > 0 {
            return None;
        }
        waiting.extend(next.iter().copied());
        found.insert(state, next.into_iter().collect());
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entity;

    fn check(regex: &str) -> Result<(), String> {
        let pattern = CustomPattern { entity: Entity::named("badge").unwrap(), regex: regex.to_owned() };
        pattern.check_cost().map_err(|error| error.to_string())
    }

    #[test]
    fn patterns_that_people_write_pass() {
        for regex in [
            "EMP-[0-9]+",
            r"EMP-\d+",
            r"\bEMP\d{5}\b",
            r"(?i)employee[ :]+[a-z0-9]{3,20}",
            r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}",
            r"[a-z0-9._%+-]+@corp\.example",
            "foo.*?bar",
            r"\d{4}-\d{4}-\d{4}",
            "KENNZ(?:EICHEN)?: [A-ZÄÖÜ]{1,3}-[A-Z]{1,2} [0-9]{1,4}",
            ".{0,100}secret",
        ] {
            assert_eq!(check(regex), Ok(()), "{regex}");
        }
    }

    #[test]
    fn patterns_that_read_the_rest_of_the_text_at_every_match_are_refused() {
        for regex in ["[A-Z].*z|[A-Z]", "a.*z|b", "(?:a.*z)?b", "x(?:y*z)?", r"(?s)key.*end|[a-z]+"] {
            let refused = check(regex).unwrap_err();
            assert!(refused.contains("without end") && refused.contains("`badge`"), "{regex}: {refused}");
        }
    }

    #[test]
    fn patterns_that_are_too_large_are_refused_in_words() {
        assert!(check(r"\w{3,200}").unwrap_err().contains("shorten"));
        assert!(check("(?:a|b)*a(?:a|b){16}").unwrap_err().contains("intricate"));
        assert!(check(&"a".repeat(1001)).unwrap_err().contains("1000 bytes"));
        assert!(check("EMP(").unwrap_err().contains("unclosed group"));
        assert!(check("x*").unwrap_err().contains("empty text"));
    }

    /// What is held against the automaton: the bytes that are read in all, on a text that is all short matches.
    #[test]
    fn what_is_refused_is_slow_and_what_passes_is_not() {
        let read = |regex: &str, text: &str| {
            let automaton = DFA::new(regex).unwrap();
            let mut cache = automaton.create_cache();
            let (mut at, mut read) = (0, 0);
            while at < text.len() {
                let mut state =
                    automaton.start_state_forward(&mut cache, &Input::new(text).range(at..)).unwrap();
                let mut end = None;
                for (offset, byte) in text.bytes().enumerate().skip(at) {
                    read += 1;
                    state = automaton.next_state(&mut cache, state, byte).unwrap();
                    if state.is_match() {
                        end = Some(offset);
                    }
                    if state.is_dead() {
                        break;
                    }
                }
                match end {
                    Some(end) => at = end.max(at + 1),
                    None => break,
                }
            }
            read
        };
        let (short, long) = ("AB".repeat(500), "AB".repeat(1000));
        let grows = |regex: &str| read(regex, &long) as f64 / read(regex, &short) as f64;
        assert!(grows("A.*z|[A-Z]") > 3.5, "{}", grows("A.*z|[A-Z]"));
        assert!(grows("A.{0,9}z|[A-Z]") < 2.5, "{}", grows("A.{0,9}z|[A-Z]"));
        assert!(check("A.*z|[A-Z]").is_err() && check("A.{0,9}z|[A-Z]").is_ok());
    }
}
