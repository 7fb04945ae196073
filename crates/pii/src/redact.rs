//! Placeholders: put in, recognised, and never taken for personal data themselves.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr_iter;

use crate::{Action, Entity, Finding};

/// A text with its findings masked, and the way back to the original's offsets.
pub(crate) struct Masked {
    pub(crate) text: String,
    /// Of each placeholder: where it stands, and what it stands for. Sorted, disjoint.
    placed: Vec<(Range<usize>, Range<usize>)>,
}

impl Masked {
    /// Masks every finding that is to be redacted or rejected. `findings` are sorted and disjoint.
    pub(crate) fn of(original: &str, findings: &[Finding]) -> Self {
        let mut masked = Self { text: String::with_capacity(original.len()), placed: Vec::new() };
        let mut copied = 0;
        for finding in findings.iter().filter(|finding| finding.action >= Action::Redact) {
            masked.text.push_str(&original[copied..finding.start]);
            let start = masked.text.len();
            masked.text.push_str(&finding.entity.placeholder());
            masked.placed.push((start..masked.text.len(), finding.start..finding.end));
            copied = finding.end;
        }
        masked.text.push_str(&original[copied..]);
        masked
    }

    /// Whether anything was masked.
    pub(crate) fn is_changed(&self) -> bool {
        !self.placed.is_empty()
    }

    /// Where a span of the masked text stands in the original; a placeholder that it touches is taken whole.
    pub(crate) fn to_original(&self, span: Range<usize>) -> Range<usize> {
        let start = match self.last_before(span.start + 1) {
            Some((here, there)) if span.start < here.end => there.start,
            Some((here, there)) => there.end + (span.start - here.end),
            None => span.start,
        };
        let end = match self.last_before(span.end) {
            Some((here, there)) if span.end <= here.end => there.end,
            Some((here, there)) => there.end + (span.end - here.end),
            None => span.end,
        };
        start..end
    }

    /// The last placeholder that begins before `offset`.
    fn last_before(&self, offset: usize) -> Option<&(Range<usize>, Range<usize>)> {
        self.placed
            .partition_point(|(here, _)| here.start < offset)
            .checked_sub(1)
            .map(|index| &self.placed[index])
    }
}

/// The placeholders that a policy may put into a text.
pub(crate) struct Placeholders(Vec<Cow<'static, str>>);

impl Placeholders {
    pub(crate) fn new<'e>(entities: impl Iterator<Item = &'e Entity>) -> Self {
        Self(entities.map(Entity::placeholder).collect())
    }

    /// Where they stand in `text`, in order.
    pub(crate) fn spans(&self, text: &str) -> Vec<Range<usize>> {
        memchr_iter(b'[', text.as_bytes())
            .filter_map(|start| {
                self.0.iter().find(|p| text[start..].starts_with(p.as_ref())).map(|p| start..start + p.len())
            })
            .collect()
    }
}

/// `span` grown over every placeholder that it cuts; `None` when it holds nothing but placeholders.
///
/// So a mask never splits a placeholder and always swallows text outside of them: masking again and again must end.
pub(crate) fn beyond_placeholders(span: Range<usize>, placeholders: &[Range<usize>]) -> Option<Range<usize>> {
    let first = placeholders.partition_point(|p| p.end <= span.start);
    let touched = &placeholders[first..];
    let touched = &touched[..touched.partition_point(|p| p.start < span.end)];
    let grown = match touched {
        [] => span,
        [first, ..] => span.start.min(first.start)..span.end.max(touched[touched.len() - 1].end),
    };
    let masked: usize = touched.iter().map(ExactSizeIterator::len).sum();
    (masked < grown.len()).then_some(grown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email(start: usize, end: usize) -> Finding {
        Finding { entity: Entity::Email, action: Action::Redact, start, end }
    }

    #[test]
    fn offsets_of_the_masked_text_lead_back() {
        let original = "to a@b.io, é and ccc@ddd.org.";
        let masked = Masked::of(original, &[email(3, 9), email(18, 29)]);
        assert_eq!(masked.text, "to [EMAIL], é and [EMAIL].");
        let back = |span: Range<usize>| &original[masked.to_original(span)];
        assert_eq!(back(0..3), "to ");
        assert_eq!(back(3..10), "a@b.io");
        assert_eq!(back(0..4), "to a@b.io");
        assert_eq!(back(9..12), "a@b.io, ");
        assert_eq!(back(10..14), ", é");
        assert_eq!(back(0..masked.text.len()), original);
    }

    #[test]
    fn placeholders_are_taken_whole_or_not_at_all() {
        let text = "x [EMAIL][SSN] y [email] [PHONE]";
        let spans = Placeholders::new([Entity::Email, Entity::UsSsn].iter()).spans(text);
        assert_eq!(spans, [2..9, 9..14]);
        assert_eq!(beyond_placeholders(3..8, &spans), None);
        assert_eq!(beyond_placeholders(2..14, &spans), None);
        assert_eq!(beyond_placeholders(0..3, &spans), Some(0..9));
        assert_eq!(beyond_placeholders(8..15, &spans), Some(2..15));
        assert_eq!(beyond_placeholders(15..16, &spans), Some(15..16));
    }
}
