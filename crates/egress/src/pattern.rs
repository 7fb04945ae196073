//! Names of permitted hosts, with places left open.

/// A name in which each label may leave one part open: `bedrock-runtime.*.amazonaws.com`, `*-aiplatform.googleapis.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Label>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    Whole(String),
    /// At least one character between these two.
    Open(String, String),
}

impl Pattern {
    /// Reads a pattern; the last two labels leave nothing open. `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let labels: Vec<&str> = text.split('.').collect();
        let fixed = labels.iter().rev().take(2).all(|label| !label.contains('*'));
        // what stands in for an open part is any letter, so the rest has to be a name
        let named = super::name::is_name(&text.replace('*', "x"));
        let once = labels.iter().all(|label| label.matches('*').count() <= 1);
        if !(fixed && named && once) {
            return None;
        }
        let label = |label: &&str| match label.split_once('*') {
            None => Label::Whole((*label).to_owned()),
            Some((before, after)) => Label::Open(before.to_owned(), after.to_owned()),
        };
        Some(Self(labels.iter().map(label).collect()))
    }

    /// Whether `name` fits: label by label, an open part never spans a dot.
    pub(crate) fn fits(&self, name: &str) -> bool {
        let mut labels = name.split('.');
        self.0.iter().all(|expected| labels.next().is_some_and(|label| expected.fits(label)))
            && labels.next().is_none()
    }
}

impl Label {
    fn fits(&self, label: &str) -> bool {
        match self {
            Self::Whole(whole) => whole == label,
            Self::Open(before, after) => {
                label.len() > before.len() + after.len()
                    && label.starts_with(before.as_str())
                    && label.ends_with(after.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_part_stands_for_one_label_or_a_piece_of_it() {
        let pattern = Pattern::parse("bedrock-runtime.*.amazonaws.com").unwrap();
        assert!(pattern.fits("bedrock-runtime.eu-west-1.amazonaws.com"));
        for other in [
            "bedrock-runtime.amazonaws.com",
            "bedrock-runtime..amazonaws.com",
            "bedrock-runtime.a.b.amazonaws.com",
            "bedrock-runtime.eu-west-1.amazonaws.com.evil.example",
            "evil.bedrock-runtime.eu-west-1.amazonaws.com",
        ] {
            assert!(!pattern.fits(other), "{other}");
        }
        let pattern = Pattern::parse("*-aiplatform.googleapis.com").unwrap();
        assert!(pattern.fits("europe-west4-aiplatform.googleapis.com"));
        assert!(!pattern.fits("-aiplatform.googleapis.com") && !pattern.fits("aiplatform.googleapis.com"));
    }

    #[test]
    fn a_pattern_never_leaves_a_whole_domain_open() {
        for bad in
            ["*", "*.com", "a.*", "**.a.com", "*a*.b.com", "a.*com", "*.a.com.", "a b.c.com", "https://a.com"]
        {
            assert_eq!(Pattern::parse(bad), None, "{bad}");
        }
    }
}
