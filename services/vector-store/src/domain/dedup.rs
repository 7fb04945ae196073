//! When two rows are the same row.

use super::row::NewRow;

/// 32 bytes that are equal exactly for rows that would answer every question alike: the same agent, context, input type, task
/// type, text and metadata. The space stands beside the hash in the key.
///
/// Not part of it: the model, provider, cost and tokens (they tell how a vector came to be, and inside one space vectors agree)
/// and the version of the PII policy (the text is the scrubbed one; a new policy that finds nothing new must not store
/// everything twice).
pub(crate) fn hash(row: &NewRow) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("embermesh 2026 store deduplication");
    let context = row.context_id.as_deref();
    let present: &str = if context.is_some() { "1" } else { "0" };
    let parts = [
        row.agent_id.as_str(),
        present,
        context.unwrap_or_default(),
        &row.input_type,
        &row.task_type,
        &row.content,
        &row.metadata.canonical,
    ];
    for part in parts {
        // lengths first: no text can pretend to be the end of one part and the start of the next
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::metadata::Metadata;

    fn row() -> NewRow {
        NewRow {
            agent_id: "a".parse().unwrap(),
            context_id: None,
            content: "text".into(),
            metadata: Metadata::parse("m", r#"{"x":1,"y":2}"#).unwrap(),
            model: "m".into(),
            provider: "p".into(),
            input_type: "document".into(),
            task_type: "general_qa".into(),
            pii_policy_version: String::new(),
            tokens: 1,
            cost_nano_usd: 2,
            vector: vec![1.0],
        }
    }

    #[test]
    fn rows_that_differ_in_anything_that_can_be_asked_for_are_different() {
        let rows = [
            row(),
            NewRow { agent_id: "b".parse().unwrap(), ..row() },
            NewRow { context_id: Some("c".into()), ..row() },
            NewRow { context_id: Some("cdocument".into()), input_type: String::new(), ..row() },
            NewRow { input_type: "query".into(), ..row() },
            NewRow { task_type: "research".into(), ..row() },
            NewRow { task_type: "general_qat".into(), content: "ext".into(), ..row() },
            NewRow { content: "Text".into(), ..row() },
            NewRow { metadata: Metadata::parse("m", "{}").unwrap(), ..row() },
        ];
        let hashes: HashSet<_> = rows.iter().map(hash).collect();
        assert_eq!(hashes.len(), rows.len());
    }

    #[test]
    fn spelling_and_provenance_do_not_matter() {
        let metadata = Metadata::parse("m", r#" {"y":2, "x":1} "#).unwrap();
        let same = NewRow {
            metadata,
            provider: "q".into(),
            cost_nano_usd: 0,
            pii_policy_version: "7".into(),
            ..row()
        };
        assert_eq!(hash(&same), hash(&row()));
    }
}
