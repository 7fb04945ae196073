//! Search results for people: one line each.

use std::{borrow::Cow, fmt::Write};

use console::{Alignment, measure_text_width, pad_str};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::commands::output::{fit, fit_end, printable};

/// The widest a source may be before its snippet has the better use for the room.
const MAX_SOURCE: usize = 36;
/// A snippet shorter than this says nothing.
const MIN_SNIPPET: usize = 20;

/// What is shown of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    results: Vec<Hit>,
    #[serde(default)]
    truncated: Option<String>,
    #[serde(default)]
    other_spaces: Vec<String>,
    #[serde(default)]
    spaces: Vec<SearchedSpace>,
}

/// A space of a search in all of them.
#[derive(Debug, Deserialize)]
struct SearchedSpace {
    space_id: String,
    searched: bool,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Hit {
    embedding_id: String,
    content: String,
    similarity: f64,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

impl Hit {
    /// The end of the source in at most `max` columns, else the id, which is of no use when cut.
    fn source(&self, max: usize) -> String {
        let source = self.metadata.as_ref().and_then(|metadata| metadata.get("source")?.as_str());
        match source.filter(|source| !source.is_empty()) {
            Some(source) => fit_end(source, max),
            None => printable(&self.embedding_id),
        }
    }

    /// The content without the path of headings that `embermesh embed` puts before a chunk: of it the last one is enough.
    fn text(&self) -> Cow<'_, str> {
        let heading =
            self.metadata.as_ref().and_then(|metadata| metadata.get("heading")?.as_str()).unwrap_or_default();
        match self.content.split_once("\n\n") {
            Some((context, body)) if !heading.is_empty() && context == heading => {
                let last = heading.rsplit(" > ").next().unwrap_or(heading);
                Cow::Owned(format!("{last}: {body}"))
            }
            // the body begins with the last heading itself
            Some((context, body)) if heading.starts_with(context) => Cow::Borrowed(body),
            _ => Cow::Borrowed(&self.content),
        }
    }
}

/// The table, and below it what the reader should know about it.
pub(super) fn render(answer: &Answer, columns: usize) -> String {
    let mut text = String::new();
    let max_source = (columns / 3).clamp("source".len(), MAX_SOURCE);
    let sources: Vec<String> = answer.results.iter().map(|hit| hit.source(max_source)).collect();
    let width =
        sources.iter().map(|source| measure_text_width(source)).max().unwrap_or(0).max("source".len());
    let rank_width = answer.results.len().to_string().len();
    // writing to a string cannot fail
    if answer.results.is_empty() {
        text.push_str("nothing found\n");
    } else {
        let source = pad_str("source", width, Alignment::Left, None);
        let _ = writeln!(text, "{:>rank_width$}  similarity  {source}  text", "#");
    }
    let snippet_width = columns.saturating_sub(rank_width + width + 16).max(MIN_SNIPPET);
    for (at, (hit, source)) in answer.results.iter().zip(&sources).enumerate() {
        let source = pad_str(source, width, Alignment::Left, None);
        let snippet = fit(&hit.text(), snippet_width);
        let _ = writeln!(text, "{:>rank_width$}  {:>10.4}  {source}  {snippet}", at + 1, hit.similarity);
    }
    if let Some(why) = answer.truncated.as_deref().filter(|why| !why.is_empty()) {
        let _ = writeln!(text, "note: fewer results than asked for: {}", printable(why));
    }
    if !answer.other_spaces.is_empty() {
        let spaces = printable(&answer.other_spaces.join(", "));
        let _ = writeln!(text, "note: texts in other spaces were not searched: {spaces}");
    }
    for space in answer.spaces.iter().filter(|space| !space.searched) {
        let reason = space.reason.as_deref().unwrap_or("no reason is given");
        let _ = writeln!(
            text,
            "note: texts in {} were not searched: {}",
            printable(&space.space_id),
            printable(reason)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(answer: Value, columns: usize) -> String {
        render(&serde_json::from_value(answer).unwrap(), columns)
    }

    fn hit(similarity: f64, source: Option<&str>, content: &str) -> Value {
        let metadata = source.map_or(json!({}), |source| json!({"source": source, "chunk": 1}));
        let id = "0198b2c4-0000-7000-8000-000000000001";
        json!({"embedding_id": id, "agent_id": "a", "content": content, "similarity": similarity, "score": similarity,
            "metadata": metadata, "model_used": "m", "space_id": "s", "created_at": "2026-01-01T00:00:00Z"})
    }

    #[test]
    fn results_are_lined_up_and_cut_to_the_terminal() {
        let results = json!([
            hit(
                0.912_34,
                Some("docs/keys.md"),
                "Manual > Keys\n\nA key belongs to a tenant. It may be bound to one agent."
            ),
            hit(0.5, None, "漢字仮名交じり文は日本語の書き方であり、漢字と仮名を交えて書く。"),
            hit(
                -0.031_25,
                Some("notes/a-folder/with-a-rather-long-name/and-a-file.md"),
                "\u{1b}[31mred\tand \\ \"quoted\""
            ),
        ]);
        insta::assert_snapshot!(rendered(json!({"results": results, "count": 3}), 90));
    }

    #[test]
    fn of_the_headings_of_a_chunk_the_last_is_shown() {
        for (heading, content, shown) in [
            ("Guide > Keys", "Guide > Keys\n\nOld keys stay.", "Keys: Old keys stay."),
            ("Guide > Keys", "Guide\n\n## Keys\n\nOld keys stay.", "## Keys\n\nOld keys stay."),
            ("Guide", "# Guide\n\nRead this.", "# Guide\n\nRead this."),
            ("", "one\n\ntwo", "one\n\ntwo"),
        ] {
            let mut hit = hit(0.5, Some("a.md"), content);
            hit["metadata"]["heading"] = json!(heading);
            assert_eq!(serde_json::from_value::<Hit>(hit).unwrap().text(), shown);
        }
    }

    #[test]
    fn a_narrow_terminal_still_shows_some_text() {
        insta::assert_snapshot!(rendered(json!({"results": [hit(1.0, Some("a.md"), "one two three four five six")]}), 20), @r"
        #  similarity  source  text
        1      1.0000  a.md    one two three four …
        ");
    }

    #[test]
    fn what_was_left_out_is_said() {
        let answer = json!({"results": [], "count": 0, "truncated": "only 2 rows match the filter", "other_spaces": ["a/b@3", "c/d@4"]});
        insta::assert_snapshot!(rendered(answer, 80), @r"
        nothing found
        note: fewer results than asked for: only 2 rows match the filter
        note: texts in other spaces were not searched: a/b@3, c/d@4
        ");
        let spaces = json!([{"space_id": "a/b@3", "searched": true}, {"space_id": "c/d@4", "searched": false, "reason": "its provider is down"}]);
        insta::assert_snapshot!(rendered(json!({"results": [], "count": 0, "spaces": spaces}), 80), @r"
        nothing found
        note: texts in c/d@4 were not searched: its provider is down
        ");
    }
}
