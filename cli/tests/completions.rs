//! `onetrace completions` and `onetrace man`, end to end.

use std::fs;
use std::path::Path;
use std::process::Command;

use expect_test::expect;

mod common;

use common::{help, quiet, refusals, succeed};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

#[test]
fn each_shell_has_its_script() {
    for shell in SHELLS {
        let script = quiet(Path::new("."), &format!("completions {shell}"));
        for word in ["dump", "stats", "diff", "in-features"] {
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
    expect![[r#"
        [
            "onetrace-completions.1",
            "onetrace-devices.1",
            "onetrace-diff.1",
            "onetrace-dump.1",
            "onetrace-man.1",
            "onetrace-report.1",
            "onetrace-run.1",
            "onetrace-stats.1",
            "onetrace.1",
        ]
    "#]]
    .assert_debug_eq(&names);
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
    expect![[r#"
        $ completions
        error: the following required arguments were not provided:
          <SHELL>
        $ completions tcsh
        error: invalid value 'tcsh' for '<SHELL>'
          [possible values: bash, elvish, fish, powershell, zsh]

          tip: a similar value exists: 'zsh'
        $ man worker
        error: SUBCOMMAND: "worker" is none of run, dump, stats, diff, report, devices, completions, man
        $ man --output none
        error: --output: none/onetrace.1 cannot be written: No such file or directory (os error 2)
        $ man dump --output .
        error: the argument '[SUBCOMMAND]' cannot be used with '--output <DIR>'
    "#]].assert_eq(&refusals(
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
    expect![[r#"
        Print a script that completes the command's arguments in a shell

        Usage: onetrace completions <SHELL>

        Arguments:
          <SHELL>
                  The shell

                  [possible values: bash, elvish, fish, powershell, zsh]

        Options:
          -h, --help
                  Print help (see a summary with '-h')

        Examples:
          source <(onetrace completions bash)
          onetrace completions zsh > ~/.zfunc/_onetrace
          onetrace completions fish > ~/.config/fish/completions/onetrace.fish
    "#]]
    .assert_eq(&help("completions --help"));
    expect![[r#"
        Print the manual page of the command or of a subcommand

        Usage: onetrace man [OPTIONS] [SUBCOMMAND]

        Arguments:
          [SUBCOMMAND]
                  The subcommand [default: the page of the command itself]

        Options:
              --output <DIR>
                  Write the pages of the command and of all subcommands to a directory, which must exist

          -h, --help
                  Print help (see a summary with '-h')

        Examples:
          onetrace man dump | man -l -
          onetrace man --output ~/.local/share/man/man1
    "#]].assert_eq(&help("man --help"));
}
