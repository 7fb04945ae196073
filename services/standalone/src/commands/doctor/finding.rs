//! What the doctor says of one thing.

use serde::Serialize;

use crate::commands::output::printable;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Well,
    /// It works, but not as it should.
    Ailing,
    Broken,
    /// It is not there to be looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    what: String,
    verdict: Verdict,
    found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    /// All is well with it.
    pub fn well(what: &str, found: &str) -> Self {
        Self { what: what.to_owned(), verdict: Verdict::Well, found: found.to_owned(), advice: None }
    }

    /// It works, but not as it should.
    pub fn ailing(what: &str, found: &str, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        Self { what: what.to_owned(), verdict: Verdict::Ailing, found: found.to_owned(), advice }
    }

    /// It does not work.
    pub fn broken(what: &str, found: &str, advice: &str) -> Self {
        Self { verdict: Verdict::Broken, ..Self::ailing(what, found, advice) }
    }

    /// It is not there to be looked at, which may be as it should.
    pub fn unknown(what: &str, found: &str) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::well(what, found) }
    }

    pub fn is_broken(&self) -> bool {
        self.verdict == Verdict::Broken
    }
}

/// A line for each, and what to do below it.
pub(super) fn show(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { what, verdict, found, advice } in findings {
        let mark = match verdict {
            Verdict::Well => "ok    ",
            Verdict::Ailing => "warn  ",
            Verdict::Broken => "BROKEN",
            Verdict::Unknown => "-     ",
        };
        text.push_str(&format!("{mark}  {}: {}\n", printable(what), printable(found)));
        if let Some(advice) = advice {
            text.push_str(&format!("        {}\n", printable(advice)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_below_what_is_wrong() {
        let findings = [
            Finding::well("configuration", "embermesh.yaml"),
            Finding::broken("database", "no pgvector", "install it"),
            Finding::unknown("redis", "not configured"),
        ];
        let expected = "ok      configuration: embermesh.yaml\nBROKEN  database: no pgvector\n        install it\n\
                        -       redis: not configured\n";
        assert_eq!(show(&findings), expected);
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!(json[1]["verdict"], "broken");
        assert!(json[0].get("advice").is_none());
    }
}
