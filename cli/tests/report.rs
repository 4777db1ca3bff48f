//! `onetrace report`, end to end: the built command, its files, and its page in a browser.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use expect_test::expect;
use roxmltree::Document;
use serde_json::Value;

mod common;

use common::{command, help, refusals, succeed};

/// Small sizes, so that the unrolled loop is compiled soon.
const SMALL: &str = "report --in-features 3 --hidden 4";

fn json(directory: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(directory.join("report.json")).unwrap()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

const FIGURES: [&str; 9] = [
    "body_traces",
    "compile_ms",
    "equations",
    "instructions",
    "lower_ms",
    "passes",
    "proto_bytes",
    "run_ms",
    "trace_ms",
];

/// Both loops at every T, in the table, the JSON, the picture and the page.
#[test]
fn a_report_has_every_figure() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = format!("{SMALL} --max-steps 40 --budget 1e6 --output new/r");
    let (stdout, stderr) = succeed(directory.path(), &arguments);
    assert_eq!(stderr, "written: new/r/report.json, new/r/report.svg and new/r/report.html\n");
    let written = directory.path().join("new/r");
    assert_eq!(names(&written), ["report.html", "report.json", "report.svg"]);

    let report = json(&written);
    let machine = ["build", "date", "device", "machine", "onetrace"];
    let asked = ["budget_s", "fission", "hidden", "in_features", "max_steps", "model"];
    let found = ["finished", "largest_difference", "rows", "unrolled_stopped"];
    let mut all = [&machine[..], &asked, &found].concat();
    all.sort();
    assert_eq!(keys(&report), all);
    assert_eq!(report["onetrace"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["device"], "cpu");
    assert!(report["machine"]["cores"].as_u64().unwrap() >= 1);
    let date = report["date"].as_str().unwrap();
    assert!(date.parse::<jiff::Timestamp>().is_ok() && date.ends_with('Z'), "{date}");
    for (name, value) in [("in_features", 3), ("hidden", 4), ("max_steps", 40)] {
        assert_eq!(report[name], value);
    }
    assert_eq!(report["finished"], true);
    assert_eq!(report["unrolled_stopped"], Value::Null);
    assert!(report["largest_difference"].as_f64().unwrap() < 2e-6);

    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| &row["steps"]).collect::<Vec<_>>(), [16, 32, 40]);
    let number = |row: &Value, name: &str, figure: &str| row[name][figure].as_u64().unwrap();
    for row in rows {
        assert_eq!(keys(row), ["scan", "steps", "unrolled"]);
        for name in ["scan", "unrolled"] {
            assert_eq!(keys(&row[name]), FIGURES);
            for time in ["trace_ms", "lower_ms", "compile_ms", "run_ms"] {
                assert!(row[name][time].as_f64().unwrap() > 0.0, "{name} {time}");
            }
        }
        let steps = row["steps"].as_u64().unwrap();
        assert_eq!(number(row, "scan", "body_traces"), 1);
        assert_eq!(number(row, "unrolled", "body_traces"), steps);
        // Scan is the same program for every T.
        for figure in ["instructions", "equations"] {
            assert_eq!(number(row, "scan", figure), number(&rows[0], "scan", figure));
        }
        // Unrolled is as much longer as it has more steps.
        for figure in ["instructions", "equations"] {
            let [a, b] = [0, 1].map(|i| number(&rows[i], "unrolled", figure));
            assert_eq!(number(row, "unrolled", figure), a + (b - a) * (steps - 16) / 16);
        }
        assert!(number(row, "unrolled", "proto_bytes") > number(row, "scan", "proto_bytes"));
    }

    // A line of the table says what the JSON says.
    let lines: Vec<Vec<&str>> =
        stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(stdout.starts_with("A GRU from D = 3 features to H = 4, on cpu: "), "{stdout}");
    assert_eq!(lines.len(), 2 + 2 * rows.len());
    let cells = |name: &str| {
        let figure = |figure| number(&rows[2], name, figure).to_string();
        let counts = ["body_traces", "equations", "instructions"].map(figure);
        [vec!["40".to_owned(), name.to_owned()], counts.to_vec()].concat()
    };
    for (line, name) in lines[6..].iter().zip(["scan", "unrolled"]) {
        assert_eq!(line[..5].join(" ").replace(',', ""), cells(name).join(" "));
        assert_eq!(line.len(), 10);
    }

    let picture = fs::read_to_string(written.join("report.svg")).unwrap();
    let picture = Document::parse(&picture).unwrap();
    let count = |name: &str, class: &str| {
        let is = |node: &roxmltree::Node| {
            node.has_tag_name(("http://www.w3.org/2000/svg", name))
                && node.attribute("class") == Some(class)
        };
        picture.descendants().filter(is).count()
    };
    assert_eq!((count("polyline", "scan"), count("polyline", "unrolled")), (6, 6));
    assert_eq!((count("circle", "mark scan"), count("rect", "mark unrolled")), (18, 18));
    // Every number is one: nothing is drawn at NaN.
    assert!(
        picture
            .descendants()
            .flat_map(|node| node.attributes())
            .all(|a| !a.value().contains("NaN"))
    );
}

/// Nothing is fetched, and nothing runs.
#[test]
fn the_page_needs_no_network() {
    let directory = tempfile::tempdir().unwrap();
    succeed(directory.path(), &format!("{SMALL} --max-steps 16 --budget 0 --output ."));
    let page = fs::read_to_string(directory.path().join("report.html")).unwrap();
    for bad in ["<script", "http://", "https://", "url(", "@import", "<link", "<img"] {
        assert!(!page.contains(bad), "{bad}");
    }
    assert!(page.contains("default-src 'none'"));
    assert_eq!(page.matches(r#"role="img" aria-label=""#).count(), 6);
}

/// The budget ends the unrolled loop and nothing else; table, JSON, picture and page say so.
#[test]
fn the_unrolled_loop_stops_by_its_budget() {
    let directory = tempfile::tempdir().unwrap();
    let says = |sentence: &str| {
        for name in ["report.svg", "report.html"] {
            let text = fs::read_to_string(directory.path().join(name)).unwrap();
            assert!(text.contains(sentence), "{name}");
        }
    };
    // Any first program takes longer, so the second is not begun.
    let arguments = format!("{SMALL} --max-steps 64 --budget 1e-6 --output .");
    let (stdout, _) = succeed(directory.path(), &arguments);
    let report = json(directory.path());
    let stop = &report["unrolled_stopped"];
    assert_eq!(keys(stop), ["before_steps", "predicted_s", "spent_s"]);
    assert_eq!(stop["before_steps"], 32);
    assert!(stop["spent_s"].as_f64().unwrap() > 0.0 && stop["predicted_s"].as_f64().unwrap() > 0.0);
    assert_eq!(report["finished"], true);
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["scan"]["body_traces"] == 1));
    assert!(rows[0]["unrolled"].is_object());
    assert!(rows[1]["unrolled"].is_null() && rows[2]["unrolled"].is_null());
    let dashes = "–".repeat(8);
    let cells = |line: &str| line.split_whitespace().skip(2).collect::<String>();
    assert!(stdout.lines().any(|line| line.contains("32  unrolled") && cells(line) == dashes));
    let sentence = "The unrolled loop stopped before T = 32: ";
    assert!(stdout.lines().last().unwrap().starts_with(sentence), "{stdout}");
    says(sentence);

    // What is there is replaced.
    let arguments = format!("{SMALL} --max-steps 16 --budget 0 --output .");
    let (stdout, _) = succeed(directory.path(), &arguments);
    let report = json(directory.path());
    assert_eq!(report["rows"][0]["unrolled"], Value::Null);
    assert_eq!(report["largest_difference"], Value::Null);
    let sentence = "The unrolled loop was not measured: its time budget is 0.";
    assert_eq!(stdout.lines().last(), Some(sentence));
    says(sentence);
}

/// Ctrl-C leaves what was measured, whole.
#[test]
fn an_interrupted_report_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let written = directory.path().join("r");
    let arguments = format!("{SMALL} --max-steps 100000 --budget 1e6 --output r");
    let mut command = command(directory.path(), &arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The first measurement is there; the others take minutes.
    while !written.join("report.html").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "written: r/report.json, r/report.svg and r/report.html\n");

    assert_eq!(names(&written), ["report.html", "report.json", "report.svg"]);
    let report = json(&written);
    assert_eq!(report["finished"], false);
    assert_eq!(keys(&report["rows"][0]["scan"]), FIGURES);
    let sentence = "The report is not complete: it ended on the way to T = 100,000.";
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().last(), Some(sentence));
    for name in ["report.svg", "report.html"] {
        let text = fs::read_to_string(written.join(name)).unwrap();
        assert!(text.contains(sentence), "{name}");
    }
    Document::parse(&fs::read_to_string(written.join("report.svg")).unwrap()).unwrap();
}

/// Wrong arguments are refused before any work, by name, and nothing is written.
#[test]
fn wrong_arguments() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), "kept").unwrap();
    fs::create_dir_all(directory.path().join("taken/report.svg")).unwrap();
    let transcript = refusals(
        directory.path(),
        &[
            "report --max-steps 0",
            "report --max-steps 15",
            "report --max-steps -1",
            "report --max-steps many",
            "report --in-features 0",
            "report --hidden 0",
            "report --budget -1",
            "report --budget inf",
            "report --budget soon",
            "report --output file",
            "report --output file/below",
            "report --output taken",
            "report --output /proc/none",
            "report --device quantum",
            "report gru",
        ],
    );
    expect![[r#"
        $ report --max-steps 0
        error: invalid value '0' for '--max-steps <N>': must be at least 16, the first number of steps of a report
        $ report --max-steps 15
        error: invalid value '15' for '--max-steps <N>': must be at least 16, the first number of steps of a report
        $ report --max-steps -1
        error: invalid value '-1' for '--max-steps <N>': must be at least 16, the first number of steps of a report
        $ report --max-steps many
        error: invalid value 'many' for '--max-steps <N>': must be a number
        $ report --in-features 0
        error: invalid value '0' for '--in-features <D>': must be at least 1
        $ report --hidden 0
        error: invalid value '0' for '--hidden <H>': must be at least 1
        $ report --budget -1
        error: invalid value '-1' for '--budget <SECONDS>': must be a number of seconds of at least 0
        $ report --budget inf
        error: invalid value 'inf' for '--budget <SECONDS>': must be a number of seconds of at least 0
        $ report --budget soon
        error: invalid value 'soon' for '--budget <SECONDS>': must be a number of seconds of at least 0
        $ report --output file
        error: --output: file is not a directory
        $ report --output file/below
        error: --output: file/below cannot be made: Not a directory (os error 20)
        $ report --output taken
        error: --output: taken/report.svg cannot be written: is a directory
        $ report --output /proc/none
        error: --output: /proc/none cannot be made: No such file or directory (os error 2)
        $ report --device quantum
        error: --device: "quantum" is not a device: give cpu, cpu:N, gpu, gpu:N, cuda:N, the name of another plugin that is installed, or plugin:NAME=PATH or plugin:NAME=PATH:N with the path of a PJRT plugin
        $ report gru
        error: unexpected argument 'gru' found
    "#]].assert_eq(&transcript);
    assert_eq!(names(directory.path()), ["file", "taken"]);
    assert_eq!(fs::read_to_string(directory.path().join("file")).unwrap(), "kept");
    assert_eq!(names(&directory.path().join("taken")), ["report.svg"]);
}

/// What does not fit in memory is refused before any of it is taken.
#[test]
fn what_is_larger_than_memory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, start) in [
        (
            "--max-steps 1e15",
            "error: --max-steps: a sequence of 1000000000000000 steps is too large: ",
        ),
        ("--max-steps inf", "error: --max-steps: a sequence of 18446744073709551615 steps is too "),
        ("--in-features 1e15", "error: --max-steps: a sequence of 4096 steps is too large: "),
        (
            "--hidden 1e9",
            "error: --hidden: 1000000000 features of the state and 32 of the sequence ",
        ),
    ] {
        let (status, stderr) = common::fail(directory.path(), &format!("report {arguments}"));
        assert_eq!(status, 2, "{arguments}");
        assert!(stderr.starts_with(start), "{arguments}: {stderr}");
    }
    assert_eq!(names(directory.path()), [""; 0]);
}

/// What Chromium says to a file, without a network; nothing where there is no Chromium.
fn browse(directory: &Path, file: &str, arguments: &[&str]) -> Option<String> {
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    browser.args(["--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir=profile"]);
    browser.args(arguments).arg(format!("file://{}", directory.join(file).display()));
    match browser.current_dir(directory).env("HOME", directory).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no chromium on this machine");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
    }
}

/// How many pixels of a screenshot have this colour.
fn pixels(path: &Path, colour: [u8; 3]) -> usize {
    let mut reader =
        png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut image = vec![0; reader.output_buffer_size().unwrap()];
    let frame = reader.next_frame(&mut image).unwrap();
    let samples = frame.color_type.samples();
    image.chunks(samples).filter(|pixel| pixel[..3] == colour).count()
}

/// A browser shows plots and table, in the colours of a light and a dark page.
#[test]
fn a_browser_shows_the_page() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    succeed(directory, &format!("{SMALL} --max-steps 32 --budget 1e6 --output ."));
    let Some(dom) = browse(directory, "report.html", &["--dump-dom"]) else { return };
    assert_eq!(dom.matches("<polyline").count(), 12, "{dom}");
    assert_eq!(dom.matches("<tbody").count(), 2);
    assert!(dom.contains("Scan against the unrolled loop</h1>"));

    // Paper, scan, unrolled.
    let light = [[255, 255, 255], [0, 114, 178], [213, 94, 0]];
    let dark = [[22, 24, 27], [86, 180, 233], [230, 159, 0]];
    for file in ["report.html", "report.svg"] {
        for (theme, colours) in [(1, light), (0, dark)] {
            let scheme = format!("--blink-settings=preferredColorScheme={theme}");
            let shot = ["--window-size=1100,900", "--screenshot=page.png", &scheme];
            browse(directory, file, &shot).unwrap();
            let [paper, scan, unrolled] =
                colours.map(|colour| pixels(&directory.join("page.png"), colour));
            assert!(
                paper > 500_000 && scan > 300 && unrolled > 300,
                "{file} {paper} {scan} {unrolled}"
            );
        }
    }
}

#[test]
fn help_is_a_manual() {
    expect![[r#"
        Measure scan against the unrolled loop and write a report

        A GRU goes over T = 16, 32, 64, .. N steps, once by scan and once by a loop that calls the step T
        times. For each program the report says how often the step closure ran, how many equations and HLO
        instructions it has and how many bytes its HLO takes, and how long it takes to trace, lower, compile
        and run.

        The table goes to standard output. DIR gets report.html, a page with plots that needs no network,
        report.svg with the plots alone, and report.json. They are written anew after each measurement,
        whole each time.

        Usage: onetrace report [OPTIONS]

        Options:
              --in-features <D>
                  The number of features of the sequence, at least 1

                  [default: 32]

              --hidden <H>
                  The number of features of the state, at least 1

                  [default: 64]

              --max-steps <N>
                  The largest number of steps, at least 16

                  If it is not a power of two, it comes after the last one below it.

                  [default: 4096]

              --fission <auto|off|BYTES>
                  What may leave the loop of the scan: auto, off, or what fits in so many bytes

                  [default: auto]

              --budget <SECONDS>
                  How long the unrolled loop may take in all

                  It stops before the first T whose program is predicted to take longer than what is left,
                  by the growth of those before it; 0 leaves it out. Scan goes on to N.

                  [default: 60]

              --output <DIR>
                  The directory of the report; it is made if it is not there

                  [default: onetrace-report]

              [--device]

              [--xla-flag]

          -h, --help
                  Print help (see a summary with '-h')

        Each program is traced, lowered and compiled afresh, up to 5 times as long as that takes less than a
        second, and run up to 5 times each time, after a first run that does not count. Times are medians.

        Ctrl-C ends the report at once, with exit status 130; table and files have what was measured so far.

        report.json is one object with these members; what was not measured is null:
          onetrace, build, date       the version, release or debug, and when it was begun (RFC 3339, UTC)
          device, machine             where it ran; machine has system, cores and extensions
          model, in_features, hidden, max_steps, fission, budget_s
                                      what was asked for
          finished                    false if the report was interrupted
          unrolled_stopped            before_steps, spent_s and predicted_s if the budget ended it
          largest_difference          the largest one between the final states of the two loops
          rows                        for each T: steps, and the objects scan and unrolled with
            body_traces               how often the step closure ran in one trace
            equations                 operations of the IR, with those of the loop's body
            instructions              HLO instructions before any pass of XLA
            proto_bytes               bytes of the serialized HloModuleProto
            trace_ms, lower_ms, compile_ms, run_ms
                                      medians
            passes                    how often the program was made

        Examples:
          onetrace report
          onetrace report --in-features 128 --hidden 256 --max-steps 1024 --budget 300 --output gru-256
    "#]].assert_eq(&help("report --help"));
}
