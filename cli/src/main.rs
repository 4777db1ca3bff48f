//! The onetrace command. Each subcommand is a module with its arguments and what it does.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod completions;
mod device;
mod devices;
mod diff;
mod dump;
mod failure;
mod figures;
mod model;
mod number;
mod output;
mod probe;
mod program;
mod quantity;
mod report;
mod run;
mod sequence;
mod stats;
mod timing;
mod view;
mod worker;

use failure::Failure;

/// Run traced loops on XLA.
///
/// A step is traced once and becomes the body of one HLO While loop, whatever the number of steps.
/// Results go to standard output; times, warnings and errors go to standard error.
#[derive(Parser)]
#[command(name = "onetrace", version, after_long_help = EXIT_STATUS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  the command did what it was told to
  1  the computation failed
  2  an argument or an input file is wrong; nothing was computed or written";

#[derive(Subcommand)]
enum Command {
    Run(run::Run),
    Dump(dump::Dump),
    Stats(stats::Stats),
    Diff(diff::Diff),
    Report(report::Report),
    Devices(devices::Devices),
    Completions(completions::Completions),
    Man(completions::Manual),
    #[command(hide = true)]
    Worker(worker::Worker),
}

impl Command {
    fn execute(&self) -> Result<(), Failure> {
        match self {
            Command::Run(run) => run.execute(),
            Command::Devices(devices) => devices.execute(),
            Command::Dump(dump) => dump.execute(),
            Command::Stats(stats) => stats.execute(),
            Command::Diff(diff) => diff.execute(),
            Command::Report(report) => report.execute(),
            Command::Completions(completions) => completions.execute(),
            Command::Man(man) => man.execute(),
            Command::Worker(worker) => worker.execute(),
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
