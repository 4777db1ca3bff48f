//! `onetrace stats`, end to end.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

mod common;

use common::{command, help, refusals, succeed};

fn stats(arguments: &str) -> Value {
    let (stdout, stderr) = succeed(Path::new("."), &format!("stats {arguments} --json"));
    assert_eq!(stderr, "", "{arguments}");
    assert_eq!(stdout.lines().count(), 1);
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn a_table_for_people() {
    let options = "--in-features 8 --hidden 16 --steps 1000 --no-compile";
    let (table, stderr) = succeed(Path::new("."), &format!("stats gru {options}"));
    assert_eq!(stderr, "");
    expect![[r#""#]].assert_eq(&table);
}

#[test]
fn one_object_for_programs() {
    let figures = stats("gru --in-features 8 --hidden 16 --steps 1000");
    let mut keys: Vec<&str> = figures.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    expect![[r#""#]].assert_debug_eq(&keys);
    // Two products of a vector of 8 and of 16 with a matrix of 48 columns, a thousand times.
    assert_eq!(figures["flops"], 1000 * 2 * (8 + 16) * 48);
    assert_eq!(figures["dots"], 2);
    assert_eq!(figures["parameter_bytes"], 1000 * 8 * 4);
    assert_eq!(figures["body_traces"], 1);
    let loops = figures["while_loops"].as_array().unwrap();
    assert_eq!(loops.len(), 1);
    assert_eq!((&loops[0]["trip_count"], &loops[0]["depth"]), (&json!(1000), &json!(0)));
    let body = loops[0]["body_instructions"].as_u64().unwrap();
    assert!(body > 20 && body < figures["instructions"].as_u64().unwrap());
    // The input and the weights are in memory at some time.
    assert!(figures["peak_bytes"].as_u64().unwrap() >= (1000 * 8 + 24 * 48) * 4);
    let opcodes = figures["opcodes"].as_object().unwrap();
    let sum: u64 = opcodes.values().map(|number| number.as_u64().unwrap()).sum();
    assert_eq!(figures["instructions"], sum);
    let constants = figures["constant_bytes"].as_u64().unwrap();
    assert!(constants >= 24 * 48 * 4 && constants < 24 * 48 * 4 + 300, "{constants}");
}

/// The closure runs once, and the program has the same size, for every number of steps.
#[test]
fn a_scan_does_not_grow_with_its_steps() {
    let of =
        |options: &str| stats(&format!("lstm --in-features 4 --hidden 4 --no-compile {options}"));
    let (short, long) = (of("--steps 8"), of("--steps 8000"));
    assert_eq!(short["instructions"], long["instructions"]);
    assert_eq!((&short["body_traces"], &long["body_traces"]), (&json!(1), &json!(1)));
    let unrolled = of("--steps 8 --unrolled");
    assert_eq!(unrolled["body_traces"], 8);
    assert_eq!(unrolled["while_loops"], json!([]));
    assert_eq!(unrolled["flops"], short["flops"], "the same work");
    assert_eq!(unrolled["dots"], 64);
}

#[test]
fn memory_is_known_if_the_program_was_compiled() {
    let figures = stats("simple --no-compile");
    assert_eq!((&figures["peak_bytes"], &figures["temp_bytes"]), (&Value::Null, &Value::Null));
    let optimized = stats("simple --stage optimized");
    assert!(optimized["peak_bytes"].as_u64().unwrap() > 0);
    assert!(optimized["fusions"].as_u64().unwrap() > 0);
}

#[test]
fn a_file_has_the_figures_of_the_model_it_was_made_from() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), "dump gru --format proto --output gru.pb");
    let (stdout, stderr) = succeed(directory.path(), "stats gru.pb --json");
    assert_eq!(stderr, "");
    let mut file: Value = serde_json::from_str(&stdout).unwrap();
    let mut model = stats("gru");
    assert_eq!(file["program"], "gru.pb");
    assert_eq!(file["body_traces"], Value::Null);
    for figures in [&mut file, &mut model] {
        let figures = figures.as_object_mut().unwrap();
        figures.remove("program");
        figures.remove("body_traces");
    }
    assert_eq!(file, model);
}

/// Text usually leaves out large constants. What is known without them is told.
#[test]
fn a_text_without_constants_is_not_compiled() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), "dump gru --output gru.hlo");
    let (stdout, stderr) = succeed(directory.path(), "stats gru.hlo --json");
    expect![[r#""#]].assert_eq(&stderr);
    let figures: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(figures["peak_bytes"], Value::Null);
    assert_eq!(figures["instructions"], stats("gru --no-compile")["instructions"]);
}

#[test]
fn wrong_arguments() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("text"), "no HLO").unwrap();
    expect![[r#""#]].assert_eq(&refusals(
        directory.path(),
        &[
            "stats",
            "stats gri",
            "stats text",
            "stats text --hidden 4",
            "stats gru --hidden many",
            "stats gru --device quantum",
        ],
    ));
    let output = command(directory.path(), "stats text --json").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#""#]].assert_eq(&help("stats --help"));
}
