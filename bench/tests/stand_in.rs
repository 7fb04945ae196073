//! The whole bench, briefly, with a second proxy in the product's place.

use std::net::TcpListener;
use std::process::Command;

use embermesh_bench::workload::Case;
use serde_json::Value;

#[test]
fn measures_every_case_of_both_targets() {
    let folder = tempfile::tempdir().unwrap();
    let (json, markdown) = (folder.path().join("bench.json"), folder.path().join("bench.md"));
    // free at this moment; the stand-in takes it over
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = env!("CARGO_BIN_EXE_bench-proxy");
    let spawn = format!("{proxy} --listen {address} --upstream $(echo $BENCH_UPSTREAM_URL | cut -d/ -f3)");
    let output = Command::new(env!("CARGO_BIN_EXE_bench-load"))
        .args(["--target-url", &format!("http://{address}"), "--target-name", "stand-in"])
        .args(["--spawn", &spawn, "--ready-path", "/v1/models"])
        .args(["--rounds", "1", "--seconds", "0.2", "--warm-up", "0.05", "--connections", "2"])
        .arg("--json")
        .arg(&json)
        .arg("--markdown")
        .arg(&markdown)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row["case"].as_str().unwrap()).collect();
    let expected: Vec<String> = Case::all().into_iter().flat_map(|case| [case.name(), case.name()]).collect();
    assert_eq!(names, expected);
    for row in &rows {
        for figure in ["requests_per_second", "p50_us", "p99_us", "cpu_us_per_request", "ratio_to_proxy"] {
            assert!(row[figure].as_f64().unwrap() > 0.0, "{figure} of {row}");
        }
    }
    let table = std::fs::read_to_string(markdown).unwrap();
    assert_eq!(table.matches("| stand-in ").count(), 8);
}

#[test]
fn a_target_that_does_not_start_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-load"))
        .args(["--target-url", "http://127.0.0.1:1", "--spawn", "false"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended before it was ready"));
}
