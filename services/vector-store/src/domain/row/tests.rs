use embermesh_auth::Scopes;
use embermesh_errors::Code;
use embermesh_proto::to_le_bytes;

use super::*;

fn principal(agent: Option<&str>) -> Principal {
    Principal {
        tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
        key: "k".parse().unwrap(),
        agent: agent.map(|agent| agent.parse().unwrap()),
        scopes: Scopes::default(),
    }
}

fn row() -> PutRow {
    PutRow {
        agent_id: "a".into(),
        content: "text".into(),
        vector: to_le_bytes(&[1.0, 0.0]),
        ..PutRow::default()
    }
}

fn put(rows: Vec<PutRow>) -> PutRequest {
    PutRequest { space_id: "test/model@2".into(), dimensions: 2, rows }
}

#[test]
fn reads_a_row() {
    let (space, rows) = parse(put(vec![row()]), &principal(None), MAX_ROWS).unwrap();
    assert_eq!((space.dimensions(), rows.len()), (2, 1));
    assert_eq!((rows[0].context_id.as_deref(), rows[0].metadata.text.as_str()), (None, "{}"));
    assert_eq!(rows[0].vector, [1.0, 0.0]);
}

#[test]
fn a_bound_key_puts_rows_of_its_agent_alone() {
    let unnamed = PutRow { agent_id: String::new(), ..row() };
    let (_, rows) = parse(put(vec![unnamed.clone()]), &principal(Some("mine")), MAX_ROWS).unwrap();
    assert_eq!(rows[0].agent_id.as_str(), "mine");
    let error = parse(put(vec![row()]), &principal(Some("mine")), MAX_ROWS).unwrap_err();
    assert_eq!(error.code, Code::Forbidden);
    let error = parse(put(vec![unnamed]), &principal(None), MAX_ROWS).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("rows[0].agent_id"));
}

#[test]
fn the_wrong_part_of_a_row_is_named() {
    let bad = [
        (PutRow { content: "a\0b".into(), ..row() }, "content"),
        (PutRow { context_id: "\0".into(), ..row() }, "context_id"),
        (PutRow { metadata: "7".into(), ..row() }, "metadata"),
        (PutRow { vector: to_le_bytes(&[1.0]), ..row() }, "vector"),
        (PutRow { vector: to_le_bytes(&[0.0, 0.0]), ..row() }, "vector"),
        (PutRow { vector: to_le_bytes(&[f32::NAN, 0.0]), ..row() }, "vector"),
        (PutRow { tokens: u64::MAX, ..row() }, "tokens"),
    ];
    for (bad, param) in bad {
        let error = parse(put(vec![row(), bad]), &principal(None), MAX_ROWS).unwrap_err();
        assert_eq!(error.code, Code::Invalid);
        assert_eq!(error.param.unwrap(), format!("rows[1].{param}"));
    }
}

#[test]
fn the_call_as_a_whole_is_checked() {
    let bad = [
        (PutRequest { rows: vec![], ..put(vec![]) }, "rows"),
        (put(vec![row(); MAX_ROWS + 1]), "rows"),
        (PutRequest { dimensions: 3, ..put(vec![row()]) }, "dimensions"),
        (PutRequest { space_id: "x".into(), ..put(vec![row()]) }, "space_id"),
    ];
    for (bad, param) in bad {
        assert_eq!(parse(bad, &principal(None), MAX_ROWS).unwrap_err().param.as_deref(), Some(param));
    }
    assert!(parse(put(vec![row(); MAX_ROWS + 1]), &principal(None), MAX_BATCH_ROWS).is_ok());
}
