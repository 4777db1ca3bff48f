//! `onetrace run`: a GRU over a sequence.

use std::cell::Cell;
use std::path::PathBuf;

use clap::Args;
use onetrace::compilation_cache::{self, Stats};
use onetrace::nn::{GruCell, Rngs, RnnCell};
use onetrace::prelude::*;
use onetrace::{ErrorKind, Fission, Unroll, io};
use serde::Serialize;

use crate::device::DeviceArgs;
use crate::failure::{Failure, reason};
use crate::sequence::Sequence;
use crate::timing::Timing;
use crate::{number, output};

/// Run a GRU over a sequence and print its final state
///
/// The cell is nnx.GRUCell of Flax with the parameters that nnx.Rngs(S) gives; it starts from zeros
/// and goes over the first T rows of the sequence. Its step is traced once and becomes the body of
/// one HLO While loop.
///
/// The final state goes to standard output, one number a line under a line that begins with '#' (as
/// numpy.loadtxt reads it). Where the time went goes to standard error.
#[derive(Args)]
#[command(override_usage = USAGE, after_long_help = EXAMPLES, args_override_self = true)]
pub struct Run {
    /// The seed of the parameters
    #[arg(long, value_name = "S", default_value = "0", value_parser = number::seed)]
    #[arg(allow_hyphen_values = true)]
    seed: i64,

    /// The number of features of the state, at least 1
    #[arg(long, value_name = "H", value_parser = number::hidden, allow_hyphen_values = true)]
    hidden: usize,

    /// The number of steps [default: the whole sequence]
    ///
    /// More steps than the sequence has are the whole sequence; 0 steps give zeros.
    #[arg(long, value_name = "T", value_parser = number::steps, allow_hyphen_values = true)]
    steps: Option<usize>,

    #[command(flatten)]
    sequence: Sequence,

    /// Write the final state to a .npy file as well
    ///
    /// The file appears whole or not at all; that it can be written is checked before the work.
    #[arg(long, value_name = "H.npy")]
    output: Option<PathBuf>,

    /// Go from the last of the T rows to the first
    #[arg(long)]
    reverse: bool,

    /// Make K steps in one iteration of the loop, or as many as are fastest
    #[arg(long, value_name = "auto|K", default_value_t, value_parser = number::unroll)]
    #[arg(allow_hyphen_values = true)]
    unroll: Unroll,

    /// What may leave the loop: auto, off, or what fits in so many bytes
    #[arg(long, value_name = "auto|off|BYTES", default_value_t, value_parser = number::fission)]
    #[arg(allow_hyphen_values = true)]
    fission: Fission,

    /// Run the loop N times, and report the median as the time of a run
    #[arg(long, value_name = "N", default_value = "1", value_parser = number::count)]
    #[arg(allow_hyphen_values = true)]
    repeat: usize,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print one JSON object instead
    ///
    /// Its members are final_carry (numbers; null is NaN), shape, steps, timings_ms, body_traces
    /// (how often the step was traced), programs (how many XLA compiled, and how many were loaded
    /// from the directory in ONETRACE_COMPILATION_CACHE_DIR) and platform. Nothing goes to standard
    /// error.
    #[arg(long)]
    json: bool,
}

const USAGE: &str = "onetrace run --hidden <H> {--input <X.npy> | --random <TxD>} [OPTIONS]";

const EXAMPLES: &str = "\
Numbers are truncated towards zero: --hidden 64.9 is 64.

Examples:
  onetrace run --seed 42 --hidden 64 --steps 2048 --input x.npy --output h.npy
  onetrace run --seed 42 --hidden 64 --random 2048x32 --json | jq .timings_ms.run";

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    final_carry: &'a [f32],
    shape: &'a [usize],
    steps: usize,
    timings_ms: &'a Timing,
    body_traces: usize,
    programs: Programs,
    platform: &'a str,
}

/// Where the programs came from that the command ran.
#[derive(Serialize)]
struct Programs {
    compiled: u64,
    loaded: u64,
}

impl Run {
    pub fn execute(&self) -> Result<(), Failure> {
        self.device.set_options()?;
        let mut timing = Timing::start();
        if let Some(path) = &self.output {
            let refused = |error| Failure::input("--output", reason(&error));
            io::check_writable(path).map_err(refused)?;
        }
        let x = self.sequence.load()?;
        let (time, features) = (x.shape()[0], x.shape()[1]);
        let steps = self.steps.unwrap_or(time).min(time);

        let device = timing.phase("device_setup", || self.device.open())?;

        let cell = timing.phase("parameters", || {
            let cell = GruCell::new(&mut Rngs::new(self.seed), features, self.hidden);
            // Reading them waits until they are there.
            tree::leaves(&cell).iter().try_for_each(|leaf| leaf.to_vec::<f32>().map(drop))?;
            Ok::<_, Error>(cell)
        });
        let cell = cell.map_err(|error| match error.kind() {
            ErrorKind::Argument => Failure::input(
                "--hidden",
                format_args!(
                    "{} features of the state and {features} of the sequence are too many: {}",
                    self.hidden,
                    reason(&error)
                ),
            ),
            _ => error.into(),
        })?;

        let traces = Cell::new(0);
        let forward = jit(|x: Tensor| {
            let xs = x.slice_in_dim(0..steps, 0).astype(DType::F32);
            let step = |h: Tensor, x_t: Tensor| {
                traces.set(traces.get() + 1);
                (cell.step(h, x_t).0, ())
            };
            let scan = Scan::new().reverse(self.reverse).unroll(self.unroll);
            scan.fission(self.fission).run(step, cell.initial_carry(&[]), xs).0
        });
        let traced = timing.phase("trace", || forward.trace(&x))?;
        let lowered = timing.phase("lower", || traced.lower())?;
        let compiled = timing.phase("compile", || lowered.compile_for(&device))?;
        let (carry, numbers) = timing.median_phase("run", self.repeat, || {
            let carry = compiled.call(&x)?;
            let numbers = carry.to_vec::<f32>()?;
            Ok::<_, Error>((carry, numbers))
        })?;

        if let Some(path) = &self.output {
            let failed = |error| Failure::run(format_args!("--output: {}", reason(&error)));
            io::write_npy(path, &carry).map_err(failed)?;
        }
        if self.json {
            let Stats { compiled, loaded } = compilation_cache::stats();
            let report = Report {
                final_carry: &numbers,
                shape: carry.shape(),
                steps,
                timings_ms: &timing,
                body_traces: traces.get(),
                programs: Programs { compiled, loaded },
                platform: device.platform(),
            };
            return output::print(|out| {
                serde_json::to_writer(&mut *out, &report)?;
                writeln!(out)
            });
        }
        output::print(|out| {
            let times = match traces.get() {
                1 => "once".to_owned(),
                n => format!("{n} times"),
            };
            let (carry, platform) = (carry.aval(), device.platform());
            writeln!(out, "# {carry} after {steps} steps on {platform}, the step traced {times}")?;
            numbers.iter().try_for_each(|number| writeln!(out, "{number:?}"))
        })?;
        // The times matter less than the numbers: that they cannot be written is no failure.
        _ = timing.write(&mut std::io::stderr().lock());
        Ok(())
    }
}
