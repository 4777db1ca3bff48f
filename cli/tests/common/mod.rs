//! The built command, for tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::Path;
use std::process::{Command, Output};

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

/// What `--help` prints; clap puts spaces on empty lines.
pub fn help(arguments: &str) -> String {
    let (stdout, _) = succeed(Path::new("."), arguments);
    stdout.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
