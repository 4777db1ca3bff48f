//! Files are handed to XLA in a process of their own: on some malformed modules XLA ends the
//! process, and the command has to say so instead of going down with it.
//!
//! The process is this program with the hidden subcommand `worker`. It writes a line to standard
//! output when the file was read, and then the result; if it fails, it says why as every command
//! does.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use onetrace::hlo::Module;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::Failure;
use crate::figures::Figures;
use crate::output;
use crate::view::{Request, Task};

/// How long XLA may take for a file, compiling included.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The line that says that the file was read.
const READ: &[u8] = b"read\n";

/// Has what is asked done with the file at `path`.
pub fn answer(path: &Path, request: &Request) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::run(format_args!("cannot start a process: {error}"));
    let text = serde_json::to_string(request).map_err(|error| failed(error.into()))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["worker", &text, "--"]).arg(path);
    let ended = supervise(&mut command, TIME_LIMIT).map_err(failed)?;
    let (was_read, answer) = match ended.stdout.strip_prefix(READ) {
        Some(answer) => (true, answer),
        None => (false, &*ended.stdout),
    };
    let stderr = String::from_utf8_lossy(&ended.stderr);
    match (ended.status.and_then(|status| status.code()), stderr.rsplit_once("error: ")) {
        (Some(0), _) if was_read => {
            // Warnings of XLA.
            _ = io::stderr().write_all(&ended.stderr);
            Ok(answer.to_owned())
        }
        (Some(1), Some((_, message))) => Err(Failure::run(message.trim_end())),
        (Some(2), Some((_, message))) => Err(Failure::wrong(message.trim_end())),
        _ => {
            let could_not = match (was_read, request.compiles()) {
                (false, _) => "read",
                (true, true) => "compile",
                (true, false) => "print",
            };
            let how = match ended.status {
                Some(status) => format!("its process ended with {status}"),
                None => format!("it was not done after {} s", TIME_LIMIT.as_secs()),
            };
            let last = last_words(&ended.stderr).map_or(String::new(), |words| format!(": {words}"));
            let why = format!("XLA could not {could_not} this module: {how}{last}");
            Err(Failure::input(&path.display().to_string(), why))
        }
    }
}

/// The message with which XLA or the C++ library ended the process.
pub fn last_words(stderr: &[u8]) -> Option<String> {
    let stderr = String::from_utf8_lossy(stderr);
    // A failed check: "F0000 00:00:1700000000.123456  1234 file.cc:56] Check failed: ..".
    let fatal = stderr.lines().find(|line| {
        let mut characters = line.chars();
        characters.next() == Some('F') && characters.next().is_some_and(|c| c.is_ascii_digit())
    });
    let fatal = fatal.and_then(|line| line.split_once("] ")).map(|(_, message)| message);
    let thrown = || stderr.lines().find(|line| line.trim_start().starts_with("what():"));
    fatal.or_else(thrown).map(|words| words.trim().to_owned())
}

/// Looks at a file for another process of this program.
#[derive(Args)]
pub struct Worker {
    #[arg(value_parser = request)]
    request: Request,
    file: PathBuf,
}

fn request(text: &str) -> Result<Request, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Worker {
    pub fn execute(&self) -> Result<(), Failure> {
        // The image of an aborted process helps nobody here, and is large.
        _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        // The message begins with the name of the file.
        let module =
            Module::read(&self.file).map_err(|error| Failure::wrong(error.message()))?;
        output::print(|out| out.write_all(READ))?;
        let view = self.request.view_of_module(module)?;
        let answer = match &self.request.task {
            Task::Print(printing) => printing.print(&view.module)?,
            Task::Measure => serde_json::to_vec(&Figures::of_view(&view))
                .map_err(|error| Failure::run(format_args!("the figures: {error}")))?,
        };
        output::print(|out| out.write_all(&answer))
    }
}

/// How a process ended, and what it wrote.
pub struct Ended {
    /// None if it was stopped because it took too long.
    pub status: Option<ExitStatus>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a process to its end, or to the end of the time.
pub fn supervise(command: &mut Command, limit: Duration) -> io::Result<Ended> {
    let start = Instant::now();
    command.stdin(Stdio::inherit()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let in_time = |pipe: &mpsc::Receiver<Vec<u8>>| {
        pipe.recv_timeout(limit.saturating_sub(start.elapsed())).ok()
    };
    // Both pipes are at their end when the process is.
    let (status, stdout, stderr) = match (in_time(&stdout), in_time(&stderr)) {
        (Some(stdout), Some(stderr)) => (Some(child.wait()?), stdout, stderr),
        (stdout, stderr) => {
            child.kill()?;
            child.wait()?;
            (None, stdout.unwrap_or_default(), stderr.unwrap_or_default())
        }
    };
    Ok(Ended { status, stdout, stderr })
}

/// All that comes out of a pipe.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is all there is.
        _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        _ = sender.send(bytes);
    });
    receiver
}
