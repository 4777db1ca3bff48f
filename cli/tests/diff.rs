//! `onetrace diff`, end to end.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

mod common;

use common::{help, refusals, succeed};

fn diff(directory: &Path, arguments: &str) -> Value {
    let (stdout, stderr) = succeed(directory, &format!("diff {arguments} --json"));
    assert_eq!(stderr, "", "{arguments}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn a_table_for_people() {
    let options = "--in-features 8 --hidden 16 --steps 20 --no-compile";
    let (table, stderr) =
        succeed(Path::new("."), &format!("diff simple simple:unrolled {options}"));
    assert_eq!(stderr, "");
    expect![[r#""#]].assert_eq(&table);
}

#[test]
fn what_is_the_same_has_no_difference() {
    let (table, _) = succeed(Path::new("."), "diff simple simple --no-compile");
    let rows = table.lines().filter(|line| line.contains("instructions"));
    assert!(rows.clone().count() > 0);
    for row in rows {
        assert_eq!(row.split_whitespace().filter(|cell| cell.parse::<u64>().is_ok()).count(), 2);
        assert!(!row.contains('+') && !row.contains('.'), "{row}");
    }
    let object = diff(Path::new("."), "simple simple --no-compile");
    assert_eq!(object["a"], object["b"]);
    let difference = object["difference"].as_object().unwrap();
    assert!(difference["opcodes"].as_object().unwrap().values().all(|number| number == 0));
    assert_eq!((&difference["flops"], &difference["peak_bytes"]), (&json!(0), &Value::Null));
}

#[test]
fn the_difference_is_what_b_has_more() {
    let object = diff(Path::new("."), "gru lstm --hidden 8 --in-features 8");
    for figure in ["instructions", "dots", "constant_bytes", "peak_bytes"] {
        let of = |program: &str| object[program][figure].as_i64().unwrap();
        assert_eq!(object["difference"][figure], of("b") - of("a"), "{figure}");
    }
    assert_eq!(object["difference"]["dots"], 8 - 2);
    assert_eq!(object["difference"]["opcodes"]["dot"], 8 - 2);
}

/// What an operand says of itself goes before what is said for both.
#[test]
fn operands_have_settings_of_their_own() {
    let programs = |arguments: &str| {
        let object = diff(Path::new("."), &format!("{arguments} --no-compile --in-features 3"));
        [&object["a"], &object["b"]].map(|figures| figures["program"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        programs("gru:hidden=8,seed=-1 simple:reverse,batch=2 --steps 4 --hidden 9"),
        [
            "gru:in-features=3,hidden=8,steps=4,seed=-1",
            "simple:in-features=3,hidden=9,steps=4,batch=2,reverse"
        ]
    );
    // How the step is repeated is one setting with two options.
    assert_eq!(
        programs("simple:unroll=2 simple --unrolled --hidden 1"),
        [
            "simple:in-features=3,hidden=1,steps=16,unroll=2",
            "simple:in-features=3,hidden=1,steps=16,unrolled"
        ]
    );
    assert_eq!(
        programs("simple simple:stage=optimized --hidden 1"),
        [
            "simple:in-features=3,hidden=1,steps=16",
            "simple:in-features=3,hidden=1,steps=16,stage=optimized"
        ]
    );
}

#[test]
fn files_are_compared_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    succeed(path, "dump gru --format proto --output gru.pb");
    // The whole name goes before a name with settings behind it.
    fs::copy(path.join("gru.pb"), path.join("gru:unrolled")).unwrap();
    let object = diff(path, "gru gru.pb");
    assert_eq!(object["difference"]["instructions"], 0);
    assert_eq!(object["difference"]["body_traces"], Value::Null);
    let object = diff(path, "gru.pb gru.pb:stage=optimized");
    assert_eq!(object["b"]["program"], "gru.pb:stage=optimized");
    assert!(object["difference"]["fusions"].as_i64().unwrap() > 0);
    assert_eq!(diff(path, "gru:unrolled gru.pb")["difference"]["dots"], 0);
}

#[test]
fn wrong_arguments() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text"), "no HLO").unwrap();
    expect![[r#""#]].assert_eq(&refusals(
        directory.path(),
        &[
            "diff gru",
            "diff gru gri",
            "diff gru text",
            "diff text gru",
            "diff gru gru:hidden=0",
            "diff gru gru:hidden",
            "diff gru gru:size=4",
            "diff gru gru:unrolled,unroll=2",
            "diff gru gru:",
            "diff gru text:hidden=4",
            "diff gru none.hlo:stage=optimized",
            "diff gru none.hlo --hidden 4",
            "diff gru gru:json",
        ],
    ));
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#""#]].assert_eq(&help("diff --help"));
}
