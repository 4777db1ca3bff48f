//! What must not compile, and what the compiler says of it.
//!
//! Each program in `tests/compile_fail/` is compiled against the library that this test was built
//! with, by `rustc` itself: a build of its own would compile XLA's bindings once more. Of the
//! messages, what this crate's attributes and macros say is compared with the `.txt` file beside
//! the program (`UPDATE_EXPECT=1` writes it), and not what is the compiler's own, which changes
//! from one version to the next.

use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;
use serde_json::Value;

/// The newest library in the directory of this test: the test was linked with it or, if there are
/// several, with an older build of the same sources.
fn library(directory: &Path) -> PathBuf {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libonetrace-") && name.ends_with(".rlib")
    };
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let newest = |path: &PathBuf| path.metadata().unwrap().modified().unwrap();
    files.filter(is_library).max_by_key(newest).expect("the library lies beside its tests")
}

/// The messages of the compiler for a program, as JSON.
fn compile(program: &Path) -> Vec<Value> {
    let exe = std::env::current_exe().unwrap();
    let directory = exe.parent().unwrap();
    let output = tempfile::tempdir().unwrap();
    let found = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--error-format=json"])
        .arg("-o")
        .arg(output.path().join("program.rmeta"))
        .arg("-L")
        .arg(format!("dependency={}", directory.display()))
        .arg("--extern")
        .arg(format!("onetrace={}", library(directory).display()))
        .arg(program)
        .output()
        .unwrap();
    let stderr = String::from_utf8(found.stderr).unwrap();
    stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// An error as this test compares it: the message, the code it points at, and the notes about no
/// place in particular, which are those of our attributes.
fn text(error: &Value) -> String {
    let string = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = match error["code"]["code"].as_str() {
        Some(code) => format!("error[{code}]: {}\n", string(&error["message"])),
        None => format!("error: {}\n", string(&error["message"])),
    };
    for span in error["spans"].as_array().unwrap().iter().filter(|span| span["is_primary"] == true)
    {
        let line = string(&span["text"][0]["text"]);
        text += &format!("  at `{}`: {}\n", line.trim(), string(&span["label"]));
    }
    for child in error["children"].as_array().unwrap() {
        if child["level"] == "note" && child["spans"].as_array().unwrap().is_empty() {
            text += &format!("  note: {}\n", string(&child["message"]));
        }
    }
    text
}

#[test]
fn mistakes_that_the_compiler_finds() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_fail");
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let programs: Vec<PathBuf> = files.filter(|path| path.extension().unwrap() == "rs").collect();
    assert!(programs.len() >= 11);
    for program in programs {
        let messages = compile(&program);
        let errors = messages.iter().filter(|m| m["level"] == "error" && m["spans"][0].is_object());
        let found: String = errors.map(text).collect();
        assert!(!found.is_empty(), "{} compiles: {messages:?}", program.display());
        expect_file![program.with_extension("txt")].assert_eq(&found);
    }
}

#[test]
fn what_is_right_compiles() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("right.rs");
    let source = "use onetrace::prelude::*;
        #[derive(Clone, Tree)]
        struct State { h: Tensor, #[tree(static)] size: usize }
        fn main() {
            let w = Tensor::ones([3], DType::F32);
            let init = State { h: w.clone(), size: 3 };
            scan(|s: State, x: Tensor| (State { h: s.h * &w + x, ..s }, ()), init, w.clone());
        }";
    std::fs::write(&program, source).unwrap();
    let messages = compile(&program);
    assert!(messages.iter().all(|message| message["level"] != "error"), "{messages:?}");
}
