//! Why a command did not succeed, and the exit status that says so.

use std::io::Write;
use std::process::ExitCode;

/// A failure of a command.
pub struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// An argument or an input is wrong: exit status 2, as for arguments that clap refuses.
    pub fn input(argument: &str, reason: impl std::fmt::Display) -> Failure {
        Failure::wrong(format_args!("{argument}: {reason}"))
    }

    /// The message of [`Failure::input`], as it stands.
    pub fn wrong(message: impl std::fmt::Display) -> Failure {
        Failure { status: 2, message: message.to_string() }
    }

    /// The work itself failed: exit status 1.
    pub fn run(reason: impl std::fmt::Display) -> Failure {
        Failure { status: 1, message: reason.to_string() }
    }

    /// Says on standard error what went wrong.
    pub fn report(self) -> ExitCode {
        // If standard error is closed, the exit status still tells.
        _ = writeln!(std::io::stderr(), "error: {}", self.message);
        ExitCode::from(self.status)
    }
}

impl From<onetrace::Error> for Failure {
    fn from(error: onetrace::Error) -> Failure {
        Failure::run(error)
    }
}

/// The message of an error of the library, without the name of the function that was called: a
/// user of the command did not call it.
pub fn reason(error: &onetrace::Error) -> &str {
    let message = error.message();
    match message.split_once(": ") {
        Some((function, reason)) if !function.contains([' ', '/', '.']) => reason,
        _ => message,
    }
}
