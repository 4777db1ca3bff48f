//! `onetrace stats`: the figures of a program.

use std::ffi::OsString;

use clap::Args;
use serde::Serialize;

use crate::device::DeviceArgs;
use crate::failure::Failure;
use crate::figures::Figures;
use crate::output;
use crate::program::{Program, Settings};

/// Count what a program consists of, and what it costs
///
/// MODEL and FILE are those of `onetrace dump`. Memory is that of XLA's buffer assignment, for
/// which the program is compiled, and not run.
#[derive(Args)]
#[command(override_usage = USAGE, after_long_help = NOTES, args_override_self = true)]
pub struct Stats {
    /// A model or a file
    #[arg(value_name = "MODEL|FILE")]
    operand: OsString,

    #[command(flatten)]
    settings: Settings,

    /// Do not compile the program; the figures of its memory are not known then
    #[arg(long)]
    no_compile: bool,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    device: DeviceArgs,
}

const USAGE: &str = "onetrace stats <MODEL|FILE> [OPTIONS]";

const NOTES: &str = "\
Figures:
  computations     computations of the module
  instructions     instructions of all computations, each counted once
  fusions, dots    instructions of these opcodes
  flops            floating-point operations of one run in dots and convolutions, two for each
                   multiplication and addition; those in loops as often as the loop runs.
                   flops_are_lower_bound says that a loop has no known trip count
  parameters       parameters of the program, with parameter_bytes
  constant_bytes   bytes of all constants
  temp_bytes       memory that is needed while the program runs and not afterwards; null if the
                   program was not compiled, or the device does not tell
  peak_bytes       the most memory that is in use at one time; null likewise
  text_bytes       size of the module as text with short constants
  proto_bytes      size of the module as a protocol buffer
  body_traces      how often the step was called for the trace; null for files
  loop_work        what loops do: matrix products, their multiplications, tensors that are carried
                   from step to step, and tensors that are stacked of values of all steps. Each
                   counts once, however often its loop runs; null for files
  loop_work_before_fission
                   the same without fission, which computes for all steps at once what need not be
                   in a loop
  while_loops      While loops, each before those in its body: name, depth, trip_count (null if
                   the module does not tell it) and body_instructions
  opcodes          instructions by opcode

Examples:
  onetrace stats gru
  onetrace stats gru --steps 1000 --unrolled --no-compile
  onetrace stats gru --hidden 256 --json | jq '.loop_work, .loop_work_before_fission'
  onetrace stats lstm --stage optimized --json | jq .while_loops";

/// What `--json` prints.
#[derive(Serialize)]
pub struct Report<'a> {
    program: String,
    #[serde(flatten)]
    figures: &'a Figures,
}

impl<'a> Report<'a> {
    pub fn new(program: &Program, figures: &'a Figures) -> Report<'a> {
        Report { program: program.to_string(), figures }
    }
}

impl Stats {
    pub fn execute(&self) -> Result<(), Failure> {
        self.device.set_options()?;
        let program = Program::new(&self.operand, &self.settings)?;
        let figures = Figures::of_program(&program, &self.device, !self.no_compile)?;
        output::print(|out| {
            if self.json {
                serde_json::to_writer(&mut *out, &Report::new(&program, &figures))?;
                return writeln!(out);
            }
            writeln!(out, "{program}\n")?;
            out.write_all(figures.table().as_bytes())
        })
    }
}
