//! Words around a number that say what it is.
//!
//! A search never crosses a digit, an `@` or a bracket. Every built-in finding holds a digit or an `@`, and every
//! placeholder is bracketed, so redacting one finding never brings another within reach of a word it was not near before.

/// The vocabulary of one entity. All ASCII lowercase.
pub(crate) struct Words {
    /// Whole words that speak for the entity.
    pub(crate) hints: &'static [&'static str],
    /// Beginnings of words that speak for it (`phoneNumber`).
    pub(crate) prefixes: &'static [&'static str],
    /// Words that, standing nearer than any hint, speak against it.
    pub(crate) vetoes: &'static [&'static str],
}

/// How far before a number a word still speaks, in bytes: about eight words.
const REACH_BEFORE: usize = 48;
/// How far after it: "…is my new mobile number".
const REACH_AFTER: usize = 24;

impl Words {
    /// Whether a word near `start..end` speaks for the entity.
    pub(crate) fn near(&self, text: &[u8], start: usize, end: usize) -> bool {
        self.before(text, start).unwrap_or_else(|| self.after(text, end))
    }

    /// `Some(true)` for a hint before `at`, `Some(false)` for a veto, `None` for neither.
    pub(crate) fn before(&self, text: &[u8], at: usize) -> Option<bool> {
        let floor = at.saturating_sub(REACH_BEFORE);
        let mut has_key = false;
        let mut end = at;
        while end > floor {
            let byte = text[end - 1];
            if byte.is_ascii_alphabetic() {
                let start = text[floor..end]
                    .iter()
                    .rposition(|b| !b.is_ascii_alphabetic())
                    .map_or(floor, |p| floor + p + 1);
                if let Some(verdict) = self.judge(&text[start..end]) {
                    return Some(verdict);
                }
                end = start;
                continue;
            }
            match byte {
                _ if stops(byte) => return None,
                // a number with a key of its own (`"qty": 5`) is not spoken for by the field before it
                b',' | b';' | b'&' if has_key => return None,
                b':' | b'=' => has_key = true,
                _ => {}
            }
            end -= 1;
        }
        None
    }

    fn after(&self, text: &[u8], at: usize) -> bool {
        let reach = &text[at..text.len().min(at + REACH_AFTER)];
        let reach =
            &reach[..reach.iter().position(|&b| stops(b) || b == b',' || b == b';').unwrap_or(reach.len())];
        reach.split(|b| !b.is_ascii_alphabetic()).filter(|word| !word.is_empty()).find_map(|w| self.judge(w))
            == Some(true)
    }

    fn judge(&self, word: &[u8]) -> Option<bool> {
        if self.hints.iter().any(|hint| word.eq_ignore_ascii_case(hint.as_bytes())) {
            return Some(true);
        }
        if self.vetoes.iter().any(|veto| word.eq_ignore_ascii_case(veto.as_bytes())) {
            return Some(false);
        }
        let starts =
            |p: &&str| word.get(..p.len()).is_some_and(|head| head.eq_ignore_ascii_case(p.as_bytes()));
        self.prefixes.iter().any(starts).then_some(true)
    }
}

fn stops(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'@' | b'[' | b']' | b'{' | b'}' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { hints: &["tel"], prefixes: &["phone"], vetoes: &["order"] };

    fn near(text: &str) -> bool {
        let at = text.find('#').unwrap();
        WORDS.near(text.as_bytes(), at, at + 1)
    }

    #[test]
    fn the_nearest_word_decides() {
        for yes in
            ["tel #", "TEL.: #", "phoneNumber=#", "\"phone_number\": \"#", "my phone, #", "# is my phone"]
        {
            assert!(near(yes), "{yes}");
        }
        for no in [
            "tell #",
            "phone order #",
            "#",
            "# , phone",
            "tel\n#",
            "tel [X] #",
            "tel 5 #",
            "\"phone\": null, \"qty\": #",
        ] {
            assert!(!near(no), "{no}");
        }
        assert!(!near(&format!("tel {} #", "long ".repeat(12))));
    }
}
