//! Takes out of a text what must not leave the machine. What Embermesh writes holds no secrets; this is for what people put where
//! none belongs: a password in a URL, a key in a name.

use std::{borrow::Cow, ffi::OsString, sync::LazyLock};

use regex::{Captures, Regex};

const HIDDEN: &str = "***";
/// Shorter ones would hide words that are everywhere.
const SHORTEST: usize = 8;
/// Variables whose names hold one of these are taken for secrets, and so are passwords in those that are URLs.
const SECRET_NAMES: [&str; 7] = ["KEY", "SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "PASSPHRASE"];

/// Passwords in URLs, parameters that carry credentials, keys of Embermesh's and the usual ones of providers.
static SHAPES: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    Regex::new(
        r#"(?x)
        (?P<login> [a-z][a-z0-9+.-]*:// ) [^/@\s"']* @
        | (?P<parameter> [?&] (?:api[-_]?key|key|token|access_token|sig|signature|password|x-amz-[a-z-]+|secret) = ) [^&\s"']+
        | \b emb_ [A-Za-z0-9_]{8,}
        | \b (?: sk | pa | xox[a-z] | gh[a-z] ) [-_] [A-Za-z0-9_-]{12,}
        | \b AIza [A-Za-z0-9_-]{20,}
        | \b (?:Bearer|Basic) \s+ [A-Za-z0-9._~+/=-]{8,}
        | -----BEGIN [\s\S]*? -----END [^-]*-----
        "#,
    )
});

/// What is hidden.
#[derive(Debug, Default)]
pub(super) struct Mask {
    /// Longest first: one may begin with another.
    values: Vec<String>,
}

impl Mask {
    /// Hides the secrets among these variables of the environment, beside everything that looks like a secret.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut mask = Self::default();
        for (name, value) in variables {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else { continue };
            let name = name.to_ascii_uppercase();
            if SECRET_NAMES.iter().any(|secret| name.contains(secret)) {
                mask.hide(value);
            }
            let login = value.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
            if let Some((_, password)) = login.and_then(|(login, _)| login.split_once(':')) {
                mask.hide(password);
            }
        }
        mask
    }

    /// Hides this too.
    pub fn hide(&mut self, value: &str) {
        if value.len() >= SHORTEST && !self.values.iter().any(|known| known == value) {
            self.values.push(value.to_owned());
            self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    /// The text without them; `None` where that cannot be told.
    pub fn over(&self, text: &str) -> Option<String> {
        let shapes = SHAPES.as_ref().ok()?;
        let mut text = Cow::Borrowed(text);
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), HIDDEN));
            }
        }
        let shown = shapes.replace_all(&text, |found: &Captures<'_>| {
            if let Some(scheme) = found.name("login") {
                return format!("{}{HIDDEN}@", scheme.as_str());
            }
            found
                .name("parameter")
                .map_or_else(|| HIDDEN.to_owned(), |name| format!("{}{HIDDEN}", name.as_str()))
        });
        Some(shown.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(text: &str) -> String {
        let variables = [
            ("MY_API_KEY", "wholly-unlike-a-key"),
            ("DB_PASSWORD", "short"),
            ("DATABASE_URL", "postgresql://me:pass/w@rd-8@localhost/x"),
            ("HOME", "/home/somebody"),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Mask::new(variables).over(text).unwrap()
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_and_nothing_else_is() {
        for (text, shown) in [
            ("base_url: https://me:secret@host:8443/v1", "base_url: https://***@host:8443/v1"),
            ("redis://:secret@127.0.0.1:6379", "redis://***@127.0.0.1:6379"),
            ("https://host/v1?api-version=1&key=AbC&x=2", "https://host/v1?api-version=1&key=***&x=2"),
            ("name: sk-proj-0123456789abcdef", "name: ***"),
            ("key emb_live_0123456789_abcdefgh is", "key *** is"),
            ("Authorization: Bearer abcdefgh.ijkl", "Authorization: ***"),
            ("k: |\n -----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n", "k: |\n ***\n"),
            ("is wholly-unlike-a-key here", "is *** here"),
            ("the pass/w@rd-8 of a URL", "the *** of a URL"),
        ] {
            assert_eq!(over(text), shown);
        }
        for text in [
            "embedding_cost_total{agent_id=\"docs\",model=\"text-embedding-3-small\"} 0.5",
            "emb_ and sk-1, short words, /home/somebody",
            "http://127.0.0.1:8082 me@example.org",
        ] {
            assert_eq!(over(text), text);
        }
    }
}
