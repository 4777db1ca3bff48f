//! `onetrace completions` and `onetrace man`, end to end.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::expect;

mod common;

use common::{help, refusals, succeed};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

#[test]
fn each_shell_has_its_script() {
    for shell in SHELLS {
        let (script, stderr) = succeed(Path::new("."), &format!("completions {shell}"));
        assert_eq!(stderr, "");
        for word in ["dump", "stats", "diff", "stablehlo", "in-features"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("worker"), "{shell}: an internal subcommand is shown");
    }
}

/// What bash offers after a part of a command line.
#[test]
fn bash_completes_subcommands_options_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let (script, _) = succeed(directory.path(), "completions bash");
    fs::write(directory.path().join("onetrace.bash"), script).unwrap();
    let offered = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let ask = format!(
            "source onetrace.bash; COMP_WORDS=({line} ''); COMP_CWORD={}; \
             [[ '{line}' == *' ' ]] || unset 'COMP_WORDS[-1]'; \
             _onetrace onetrace \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\"",
            words.len() - 1,
        );
        let output = Command::new("bash").args(["-c", &ask]).current_dir(directory.path()).output();
        let output = output.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(offered("onetrace du"), "dump");
    assert_eq!(offered("onetrace dump --form"), "--format");
    assert_eq!(offered("onetrace dump --format "), "ir hlo stablehlo proto pbtxt dot html");
}

#[test]
fn every_subcommand_has_a_manual_page() {
    let directory = tempfile::tempdir().unwrap();
    let (stdout, stderr) = succeed(directory.path(), "man --output .");
    assert_eq!((&*stdout, &*stderr), ("", ""));
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    expect![[r#""#]].assert_debug_eq(&names);
    for name in names {
        let page = fs::read_to_string(directory.path().join(&name)).unwrap();
        let subcommand = name.trim_end_matches(".1").strip_prefix("onetrace-").unwrap_or("");
        let (printed, _) = succeed(directory.path(), &format!("man {subcommand}"));
        assert_eq!(page, printed, "{name}");
        assert!(page.contains(".SH NAME\nonetrace"), "{name}");
        let end = if subcommand.is_empty() { "EXIT STATUS" } else { "EXAMPLES" };
        assert!(
            page.contains(&format!(".SH {end}")) || page.contains(&format!(".SH \"{end}\"")),
            "{name}"
        );
    }
}

#[test]
fn wrong_arguments() {
    let directory = tempfile::tempdir().unwrap();
    expect![[r#""#]].assert_eq(&refusals(
        directory.path(),
        &[
            "completions",
            "completions tcsh",
            "man worker",
            "man --output none",
            "man dump --output .",
        ],
    ));
}

#[test]
fn help_reads_like_a_manual() {
    expect![[r#""#]].assert_eq(&help("completions --help"));
    expect![[r#""#]].assert_eq(&help("man --help"));
}
