//! `onetrace diff`, end to end.

use std::fs;
use std::path::Path;

use expect_test::expect;
use serde_json::{Value, json};

mod common;

use common::{help, json_object, quiet, refusals, succeed};

fn diff(directory: &Path, arguments: &str) -> Value {
    json_object(directory, &format!("diff {arguments}"))
}

#[test]
fn a_table_for_people() {
    let options = "--in-features 8 --hidden 16 --steps 20 --no-compile";
    let table = quiet(Path::new("."), &format!("diff simple simple:unrolled {options}"));
    expect![[r#"
        A  simple:in-features=8,hidden=16,steps=20
        B  simple:in-features=8,hidden=16,steps=20,unrolled

                                          A        B     B - A   B / A
        computations                      3        1        -2    0.33
        instructions                     35      148      +113    4.23
        fusions                           0        0
        dots                              2       40       +38   20.00
        flops                        15,360   15,360
        parameters                        1        1
        parameter bytes                 640      640
        constant bytes                1,560    1,544       -16    0.99
        text bytes                    3,938   23,462   +19,524    5.96
        proto bytes                   4,968   16,100   +11,132    3.24
        body traces                       1       20       +19   20.00
        loop products                     2        0        -2    0.00
        loop multiplications            384        0      -384    0.00
        loop carried                      1        0        -1    0.00
        loop stacked                      0        0

        while loops                       1        0        -1    0.00
          iterations of loop 1           20
          instructions of its body       19

        opcodes
          add                             3       40       +37   13.33
          dot                             2       40       +38   20.00
          reshape                         1       20       +19   20.00
          slice                           0       20       +20
          tanh                            1       20       +19   20.00
          get-tuple-element               9        0        -9    0.00
          constant                        8        4        -4    0.50
          parameter                       3        1        -2    0.33
          tuple                           3        1        -2    0.33
          broadcast                       2        2
          compare                         1        0        -1    0.00
          dynamic-slice                   1        0        -1    0.00
          while                           1        0        -1    0.00
    "#]]
    .assert_eq(&table);
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
    // Fission is one of scans, which an unrolled loop has not.
    assert_eq!(
        programs("simple:unroll=2 simple:unrolled --fission off --hidden 1"),
        [
            "simple:in-features=3,hidden=1,steps=16,unroll=2,fission=off",
            "simple:in-features=3,hidden=1,steps=16,unrolled"
        ]
    );
    assert_eq!(
        programs("simple:fission=auto simple:fission=64 --unrolled --hidden 1"),
        [
            "simple:in-features=3,hidden=1,steps=16",
            "simple:in-features=3,hidden=1,steps=16,fission=64"
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
    expect![[r#"
        $ diff gru
        error: the following required arguments were not provided:
          <B>
        $ diff gru gri
        error: gri: there is no model and no file of this name; the models are gru, lstm, optimized-lstm, simple
        $ diff gru text
        error: text: this is text, but not of HLO, which begins with `HloModule`; HLO text, a HloModuleProto or a HloProto is wanted
        $ diff text gru
        error: text: this is text, but not of HLO, which begins with `HloModule`; HLO text, a HloModuleProto or a HloProto is wanted
        $ diff gru gru:hidden=0
        error: gru:hidden=0: invalid value '0' for 'hidden <H>': must be at least 1
        $ diff gru gru:hidden
        error: gru:hidden: a value is required for 'hidden <H>' but none was supplied
        $ diff gru gru:size=4
        error: gru:size=4: the settings behind the colon are stage, in-features, hidden, steps, batch, seed, unrolled, reverse, unroll, fission
        $ diff gru gru:unrolled,unroll=2
        error: gru:unrolled,unroll=2: the argument 'unrolled' cannot be used with 'unroll <auto|K>'
        $ diff gru gru:
        error: gru:: the settings behind the colon are stage, in-features, hidden, steps, batch, seed, unrolled, reverse, unroll, fission
        $ diff gru text:hidden=4
        error: text:hidden=4: text is no model, and files do not take hidden
        $ diff gru none.hlo:stage=optimized
        error: none.hlo: there is no model and no file of this name; the models are gru, lstm, optimized-lstm, simple
        $ diff gru none.hlo --hidden 4
        error: none.hlo: there is no model and no file of this name; the models are gru, lstm, optimized-lstm, simple
        $ diff gru gru:json
        error: gru:json: the settings behind the colon are stage, in-features, hidden, steps, batch, seed, unrolled, reverse, unroll, fission
    "#]].assert_eq(&refusals(
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
    expect![[r#"
        Compare the figures of two programs

        A and B are models or files, as for `onetrace dump`. The options hold for both. What holds for one
        only follows its name: gru:hidden=128,steps=1000,unrolled has the options of `onetrace dump gru`
        without their dashes, and module.hlo:stage=optimized has the one that files take.

        The figures are those of `onetrace stats`. The exit status is 0 whether the programs differ or not.

        Usage: onetrace diff <A> <B> [OPTIONS]

        Arguments:
          <A>
                  A model or a file, with settings of its own

          <B>
                  What it is compared with

        Options:
              [--stage]

              --no-compile
                  Do not compile the programs; the figures of their memory are not known then

              --json
                  Print one JSON object instead

                  Its members are a and b, the objects of `onetrace stats --json`, and difference, what b
                  has more than a.

              [--device]

              [--xla-flag]

          -h, --help
                  Print help (see a summary with '-h')

        [Options of a MODEL]

        Examples:
          onetrace diff gru gru:unrolled --steps 64
          onetrace diff gru:fission=off gru --hidden 256
          onetrace diff gru lstm --hidden 128
          onetrace diff gru gru:stage=optimized
          onetrace diff before.hlo after.hlo --json | jq .difference.opcodes
    "#]].assert_eq(&help("diff --help"));
}
