//! The answers for people.

use super::{Fault, Records, Verified};
use crate::commands::{
    output::{fit, printable},
    table::table,
};

/// The server lists no more than this.
const MOST_FAULTS: usize = 100;
/// Columns of what was changed; `--json` has all of it.
const DETAILS: usize = 60;

/// A row each.
pub(super) fn records(list: &Records) -> String {
    if list.records.is_empty() {
        return "nothing was changed\n".to_owned();
    }
    let rows = list.records.iter().map(|record| {
        let details = record.details.to_string();
        let details = if details == "{}" { String::new() } else { fit(&details, DETAILS) };
        let texts = [&record.changed_at, &record.changed_by, &record.action, &record.subject, &details];
        std::iter::once(record.number.to_string()).chain(texts.map(String::clone)).collect()
    });
    let header = ["number", "changed at", "by", "action", "of", "details"];
    let mut text = table(header.len(), &header, &rows.collect::<Vec<_>>());
    if let Some(token) = &list.next_page_token {
        text.push_str(&format!("\nearlier ones: --page-token {}\n", printable(token)));
    }
    text
}

/// What was read, and what is wrong with it.
pub(super) fn verified(verified: &Verified) -> String {
    let Verified { intact, records, anchors, faults } = verified;
    let found = match faults.len() {
        0 if *intact => "the audit chain is intact".to_owned(),
        1 => "1 fault".to_owned(),
        MOST_FAULTS => format!("{MOST_FAULTS} faults or more"),
        several => format!("{several} faults"),
    };
    let mut text = format!("{found}: {records} records, {anchors} anchors\n");
    if *anchors == 0 {
        text.push_str("nothing was anchored, so nothing shows whether its end was cut off\n");
    }
    if !faults.is_empty() {
        let rows: Vec<Vec<String>> =
            faults.iter().map(|Fault { number, what }| vec![number.to_string(), what.clone()]).collect();
        text.push_str(&format!("\n{}", table(2, &["number", "what"], &rows)));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(answer: Value) -> T {
        serde_json::from_value(answer).unwrap()
    }

    #[test]
    fn records_line_up_and_long_details_are_cut() {
        let list = json!({"next_page_token": "WyJhdWRpdCJd", "records": [
            {"number": 12, "changed_at": "2026-11-22T12:00:00Z", "changed_by": "k3y", "action": "agent.put",
             "subject": "docs", "details": {"version": 3, "changed": ["constraints", "cache", "pii", "model_preferences"]}, "hash": ""},
            {"number": 9, "changed_at": "2026-11-22T11:00:00Z", "changed_by": "embermesh-system", "action": "pin.create",
             "subject": "a\u{1b}[31mb", "details": {}, "hash": ""}]});
        insta::assert_snapshot!(records(&read(list)), @r#"
        number  changed at            by                action      of      details
        12      2026-11-22T12:00:00Z  k3y               agent.put   docs    {"changed":["constraints","cache","pii","model_preferences"…
        9       2026-11-22T11:00:00Z  embermesh-system  pin.create  a[31mb

        earlier ones: --page-token WyJhdWRpdCJd
        "#);
        assert_eq!(records(&read(json!({"records": []}))), "nothing was changed\n");
    }

    #[test]
    fn faults_are_listed_below_what_was_read() {
        let broken = json!({"intact": false, "records": 11, "anchors": 2, "faults": [
            {"number": 3, "what": "the record does not follow the one before it"},
            {"number": 12, "what": "the chain was anchored here, and ends at 11"}]});
        insta::assert_snapshot!(verified(&read(broken)), @r"
        2 faults: 11 records, 2 anchors

        number  what
        3       the record does not follow the one before it
        12      the chain was anchored here, and ends at 11
        ");
        let whole = |anchors: u64| json!({"intact": true, "records": 11, "anchors": anchors, "faults": []});
        assert_eq!(verified(&read(whole(2))), "the audit chain is intact: 11 records, 2 anchors\n");
        assert!(verified(&read(whole(0))).contains("nothing was anchored"));
    }
}
