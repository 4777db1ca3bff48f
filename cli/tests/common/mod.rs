//! The built command, for tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The command with arguments between spaces, in `directory`.
pub fn command(directory: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onetrace"));
    // Help is as wide as the terminal, or as this says.
    command.args(arguments.split_whitespace()).current_dir(directory).env("COLUMNS", "100");
    command
}

/// Standard output and standard error of a run that succeeds.
pub fn succeed(directory: &Path, arguments: &str) -> (String, String) {
    let Output { status, stdout, stderr } = command(directory, arguments).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{arguments}: {status}\n{stderr}");
    (String::from_utf8(stdout).unwrap(), stderr)
}

/// Standard output of a run that succeeds and has nothing on standard error.
pub fn quiet(directory: &Path, arguments: &str) -> String {
    let (stdout, stderr) = succeed(directory, arguments);
    assert_eq!(stderr, "", "{arguments}");
    stdout
}

/// What `onetrace dump` prints.
pub fn dump(arguments: &str) -> String {
    quiet(Path::new("."), &format!("dump {arguments}"))
}

/// The object that a run with `--json` prints, on one line.
pub fn json_object(directory: &Path, arguments: &str) -> Value {
    let stdout = quiet(directory, &format!("{arguments} --json"));
    assert_eq!(stdout.lines().count(), 1, "{arguments}");
    serde_json::from_str(&stdout).unwrap()
}

/// Modules that JAX wrote.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/hlo").join(name)
}

/// The exit status and standard error of a run that fails, and has nothing on standard output.
pub fn fail(directory: &Path, arguments: &str) -> (i32, String) {
    let output = command(directory, arguments).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Runs that fail with exit status 2, one after the other, each with its message.
pub fn refusals(directory: &Path, commands: &[&str]) -> String {
    let mut transcript = String::new();
    for arguments in commands {
        let (status, stderr) = fail(directory, arguments);
        assert_eq!(status, 2, "{arguments}: {stderr}");
        // What clap adds behind the message is the same everywhere.
        let message = stderr.split("\n\nUsage:").next().unwrap();
        let message = message.split("\n\nFor more information").next().unwrap();
        transcript += &format!("$ {arguments}\n{}\n", message.trim_end());
    }
    transcript
}

/// What the help of several commands says in the same words, each part with what stands for it in
/// the tests.
const SHARED_HELP: [(&str, &str); 4] = [
    (
        "      [--stage]\n\n",
        r#"      --stage <STAGE>
          The stage [default: traced]

          Possible values:
          - traced:     What was traced, before any pass of XLA; of a file, what is in it
          - simplified: The IR of a model without what is computed twice, in vain, or in a loop
            where once is enough
          - fissioned:  The IR that HLO is made of: what need not be in a loop is before or behind
            it; of models only
          - optimized:  What the backend runs, after XLA's passes: the program is compiled, and not
            run

"#,
    ),
    (
        "      [--device]\n\n",
        r#"      --device <D>
          The device that runs the program [default: $ONETRACE_DEVICE, or else cpu]

          cpu or cpu:N, gpu or gpu:N, cuda:N, the name of another PJRT plugin that is installed, or
          plugin:NAME=PATH or plugin:NAME=PATH:N for a plugin in a file. `onetrace devices` lists
          what there is. Another device never takes the place of one that cannot be used.

"#,
    ),
    (
        "      [--xla-flag]\n\n",
        r#"      --xla-flag <NAME=VALUE>
          Set an option of XLA, such as xla_force_host_platform_device_count=4 for four CPU devices

          NAME is that of an option in the environment variable XLA_FLAGS, which this is stronger
          than. It can be given several times.

"#,
    ),
    (
        "[Options of a MODEL]\n\n",
        r#"Options of a MODEL:
      --in-features <D>
          The number of features of each row of the sequence [default: 32]

      --hidden <H>
          The number of features of the state [default: 64]

      --steps <T>
          The number of steps, which are the rows of the sequence [default: 16]

      --batch <B>
          The number of sequences at once [default: one, without an axis for them]

      --seed <S>
          The seed of the parameters [default: 0]

      --unrolled
          Call the step T times in a loop of Rust, without a scan

      --reverse
          Go from the last row to the first

      --unroll <auto|K>
          Make K steps of the scan in one iteration of the loop, or as many as are fastest where it
          is compiled [default: auto]

      --fission <auto|off|BYTES>
          What may leave the loop of the scan: auto, off, or what fits in so many bytes [default:
          auto]

"#,
    ),
];

/// What `--help` prints, with [`SHARED_HELP`] in short; clap puts spaces on empty lines.
pub fn help(arguments: &str) -> String {
    let (stdout, _) = succeed(Path::new("."), arguments);
    let help: String = stdout.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    SHARED_HELP.iter().fold(help, |help, (short, long)| help.replace(long, short))
}
