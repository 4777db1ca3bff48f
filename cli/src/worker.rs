//! Files are handed to XLA in a process of their own: on some malformed modules XLA ends the
//! process, and the command has to say so instead of going down with it.
//!
//! The process is this program with `worker` as its first argument. It writes the line `read` to
//! standard output when the file was read, and then `done` and the answer, or `failed` and the
//! failure. If neither comes, XLA has ended it.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use onetrace::hlo::Module;
use onetrace::{Error, ErrorKind};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::Serialize;

use crate::dump::Format;
use crate::failure::{Failure, reason};
use crate::figures::Figures;
use crate::output;
use crate::program::Stage;
use crate::view::{Request, Task};

/// How long XLA may take for a file, compiling included.
const TIME_LIMIT: Duration = Duration::from_secs(600);

const WORKER: &str = "worker";

const READ: &[u8] = b"read\n";
const DONE: &[u8] = b"done\n";
const FAILED: &[u8] = b"failed\n";

/// Has what is asked done with the file at `path`.
pub fn answer(path: &Path, request: &Request) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::run(format_args!("cannot start a process: {error}"));
    let text = serde_json::to_string(request).map_err(|error| failed(error.into()))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args([WORKER, &text, "--"]).arg(path);
    let ended = supervise(&mut command, TIME_LIMIT).map_err(failed)?;
    verdict(path, &ended, request.compiles())
}

/// The answer or the failure of a process that is over, or that XLA has ended it.
fn verdict(path: &Path, ended: &Ended, compiles: bool) -> Result<Vec<u8>, Failure> {
    let (was_read, outcome) = match ended.stdout.strip_prefix(READ) {
        Some(outcome) => (true, outcome),
        None => (false, &*ended.stdout),
    };
    if ended.status.is_some_and(|status| status.success()) {
        // Warnings of XLA.
        _ = io::stderr().write_all(&ended.stderr);
        if let Some(answer) = outcome.strip_prefix(DONE) {
            return Ok(answer.to_owned());
        }
        let failure = outcome.strip_prefix(FAILED).and_then(|f| serde_json::from_slice(f).ok());
        if let Some(failure) = failure {
            return Err(failure);
        }
    }
    let could_not = match (was_read, compiles) {
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

/// What a process that looks at a file is given.
#[derive(Parser)]
pub struct Worker {
    #[arg(value_parser = request)]
    request: Request,
    file: PathBuf,
}

fn request(text: &str) -> Result<Request, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Worker {
    /// The arguments of this process, if it is one that looks at a file. They are no part of the
    /// command's own.
    pub fn of_this_process() -> Option<Worker> {
        let mut arguments = std::env::args_os().skip(1).peekable();
        let is_worker = arguments.peek().is_some_and(|first| first == WORKER);
        is_worker.then(|| Worker::parse_from(arguments))
    }

    pub fn execute(&self) -> Result<(), Failure> {
        // The image of an aborted process helps nobody here, and is large.
        _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        // What takes more memory than the machine has ends here, and not the whole machine.
        let memory = Some(onetrace::host_memory() as u64);
        _ = setrlimit(Resource::Data, Rlimit { current: memory, maximum: memory });
        // Nobody waits for the answer if the command is gone.
        _ = set_parent_process_death_signal(Some(Signal::KILL));
        let (tag, outcome) = match self.answer() {
            Ok(answer) => (DONE, answer),
            Err(failure) => (FAILED, json(&failure)?),
        };
        output::print(|out| {
            out.write_all(tag)?;
            out.write_all(&outcome)
        })
    }

    fn answer(&self) -> Result<Vec<u8>, Failure> {
        self.request.device.set_options()?;
        // The message begins with the name of the file.
        let read = Module::read(&self.file);
        let module = read.map_err(|error| Failure::wrong(error.message()))?;
        output::print(|out| out.write_all(READ))?;
        let mut request = self.request.clone();
        if module.lacks_constants() {
            self.do_without_constants(&mut request)?;
        }
        let device = request.device()?;
        let of_file = |error: Error| {
            let message = format!("{}: {}", self.file.display(), reason(&error));
            match error.kind() {
                ErrorKind::Hlo => Failure::wrong(message),
                _ => Failure::run(message),
            }
        };
        let view = request.view_of_module(module, device.as_ref()).map_err(of_file)?;
        match &request.task {
            Task::Print(printing) => printing.print(&view.module).map_err(of_file),
            Task::Measure => json(&Figures::of_view(&view)),
        }
    }

    /// Refuses or leaves out what needs the values of constants. The library refuses the rest.
    fn do_without_constants(&self, request: &mut Request) -> Result<(), Failure> {
        let file = self.file.display();
        const LACK: &str = "the text leaves out the values of constants, `{...}`";
        if matches!(&request.task, Task::Print(printing) if printing.format == Format::Proto) {
            return Err(Failure::wrong(format_args!(
                "{file}: {LACK}, and a protocol buffer has them; start from text with all of them"
            )));
        }
        if request.compile && request.stage == Stage::Traced {
            request.compile = false;
            // It is not worse if the warning cannot be written.
            _ = writeln!(
                io::stderr(),
                "warning: {file}: {LACK}; it was not compiled, and its memory is not known"
            );
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(value).map_err(Failure::run)
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
        (in_stdout, in_stderr) => {
            child.kill()?;
            child.wait()?;
            // What it has written so far, unless a child of its own keeps the pipe open.
            let rest = |pipe: &mpsc::Receiver<Vec<u8>>| {
                pipe.recv_timeout(Duration::from_secs(1)).unwrap_or_default()
            };
            let stdout = in_stdout.unwrap_or_else(|| rest(&stdout));
            (None, stdout, in_stderr.unwrap_or_else(|| rest(&stderr)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a shell that runs `script` in the place of the worker.
    fn verdict_on(script: &str, limit: Duration) -> Result<Vec<u8>, String> {
        let ended = supervise(Command::new("sh").args(["-c", script]), limit).unwrap();
        let verdict = verdict(Path::new("m.hlo"), &ended, false);
        verdict.map_err(|failure| serde_json::to_value(failure).unwrap().to_string())
    }

    #[test]
    fn answers_and_failures_come_through() {
        let verdict = |script: &str| verdict_on(script, TIME_LIMIT);
        assert_eq!(verdict("printf 'read\\ndone\\nread\\n'"), Ok(b"read\n".to_vec()));
        let failure = r#"{"message":"m.hlo: no","status":2}"#;
        assert_eq!(verdict(&format!("printf 'failed\\n'; echo '{failure}'")), Err(failure.into()));
        // Far more than a pipe holds, in both.
        let much = "printf 'read\\ndone\\n'; yes | head -c 999999 >&2; yes | head -c 999999";
        let ended = supervise(Command::new("sh").args(["-c", much]), TIME_LIMIT).unwrap();
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (999_999 + 10, 999_999));
    }

    #[test]
    fn a_process_that_xla_ends_is_an_error_of_the_file() {
        let verdict = |script: &str| verdict_on(script, Duration::from_millis(500)).unwrap_err();
        let check =
            "echo 'F0000 00:00:17.4  9 shape.cc:5] Check failed: a == b' >&2; kill -ABRT $$";
        assert_eq!(
            verdict(check),
            r#"{"message":"m.hlo: XLA could not read this module: its process ended with signal: 6 (SIGABRT): Check failed: a == b","status":2}"#
        );
        assert_eq!(
            verdict("printf 'read\\ndo'; kill -SEGV $$"),
            r#"{"message":"m.hlo: XLA could not print this module: its process ended with signal: 11 (SIGSEGV)","status":2}"#
        );
        assert_eq!(
            verdict("echo \"terminate\n  what():  std::bad_alloc\" >&2; exit 134"),
            r#"{"message":"m.hlo: XLA could not read this module: its process ended with exit status: 134: what():  std::bad_alloc","status":2}"#
        );
        assert_eq!(
            verdict("printf 'read\\n'; exec sleep 60"),
            r#"{"message":"m.hlo: XLA could not print this module: it was not done after 600 s","status":2}"#
        );
    }
}
