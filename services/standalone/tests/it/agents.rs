//! `embermesh agents` where it comes to nothing: what it says, and the exit code that its help names.

use std::{net::TcpListener, process::Command};

const EVERY: [&[&str]; 8] = [
    &["list"],
    &["get", "docs"],
    &["put", "docs", "{}"],
    &["history", "docs"],
    &["rollback", "docs"],
    &["delete", "docs"],
    &["models", "docs"],
    &["explain", "docs"],
];

/// The exit code, and what went to standard error; nothing goes to standard output.
fn failed(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_embermesh"));
    command.arg("agents").args(arguments);
    for name in ["EMBERMESH_URL", "EMBERMESH_API_KEY", "EMBERMESH_ADMIN_KEY"] {
        command.env_remove(name);
    }
    command.env("EMBERMESH_DATA_DIR", nowhere.path()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{arguments:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn without_a_server_to_ask_every_command_is_wrong_usage() {
    for arguments in EVERY {
        let (code, said) = failed(arguments, &[]);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains("no server is known"), "{arguments:?}: {said}");
    }
    let (code, said) = failed(&["get", "docs"], &[("EMBERMESH_URL", "http://127.0.0.1:1")]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("set EMBERMESH_ADMIN_KEY"), "{said}");
}

#[test]
fn a_server_that_is_away_has_a_code_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    // sent once, so that they need not be waited for
    for arguments in [&["rollback", "docs"][..], &["delete", "docs"]] {
        let (code, said) =
            failed(arguments, &[("EMBERMESH_URL", &url), ("EMBERMESH_ADMIN_KEY", "secret-key")]);
        assert_eq!(code, Some(3), "{arguments:?}: {said}");
        assert!(said.contains(&url) && !said.contains("secret-key"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_configuration_that_is_none_is_wrong_usage_before_anything_is_sent() {
    let told = [("EMBERMESH_URL", "http://127.0.0.1:1"), ("EMBERMESH_ADMIN_KEY", "k")];
    for (arguments, says) in [
        (&["put", "docs", "[]"][..], "cannot read []"),
        (&["put", "docs", "{"], "no JSON object"),
        (&["put", "docs", r#"{"version": 1}"#, "--if-version", "1"], "not both"),
        (&["put", "docs"], "required"),
        (&["get", "a/b"], "invalid value"),
    ] {
        let (code, said) = failed(arguments, &told);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
