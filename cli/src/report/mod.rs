//! `onetrace report`: scan against the unrolled loop.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use onetrace::{Device, Error, ErrorKind, Fission, Result, io};

use crate::device::DeviceArgs;
use crate::failure::{Failure, reason};
use crate::model::{Forward, Model, Shape};
use crate::quantity::count;
use crate::{number, output};
use document::{Document, Machine, Row};
use interrupt::End;
use measure::{Measured, Pace, Variant, measure};

mod document;
mod format;
mod interrupt;
mod measure;
mod page;
mod plot;
mod table;
mod words;

/// Measure scan against the unrolled loop and write a report
///
/// A GRU goes over T = 16, 32, 64, .. N steps, once by scan and once by a loop that calls the step
/// T times. For each program the report says how often the step closure ran, how many equations and
/// HLO instructions it has and how many bytes its HLO takes, and how long it takes to trace, lower,
/// compile and run.
///
/// The table goes to standard output. DIR gets report.html, a page with plots that needs no
/// network, report.svg with the plots alone, and report.json. They are written anew after each
/// measurement, whole each time.
#[derive(Args)]
#[command(after_long_help = MORE, args_override_self = true)]
pub struct Report {
    /// The number of features of the sequence, at least 1
    #[arg(long, value_name = "D", default_value = "32", value_parser = number::hidden)]
    #[arg(allow_hyphen_values = true)]
    in_features: usize,

    /// The number of features of the state, at least 1
    #[arg(long, value_name = "H", default_value = "64", value_parser = number::hidden)]
    #[arg(allow_hyphen_values = true)]
    hidden: usize,

    /// The largest number of steps, at least 16
    ///
    /// If it is not a power of two, it comes after the last one below it.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = max_steps)]
    #[arg(allow_hyphen_values = true)]
    max_steps: usize,

    /// What may leave the loop of the scan: auto, off, or what fits in so many bytes
    #[arg(long, value_name = "auto|off|BYTES", default_value_t, value_parser = number::fission)]
    #[arg(allow_hyphen_values = true)]
    fission: Fission,

    /// How long the unrolled loop may take in all
    ///
    /// It stops before the first T whose program is predicted to take longer than what is left, by
    /// the growth of those before it; 0 leaves it out. Scan goes on to N.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number::seconds)]
    #[arg(allow_hyphen_values = true)]
    budget: f64,

    /// The directory of the report; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "onetrace-report")]
    output: PathBuf,

    #[command(flatten)]
    device: DeviceArgs,
}

const MORE: &str = "\
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
  onetrace report --in-features 128 --hidden 256 --max-steps 1024 --budget 300 --output gru-256";

/// The smallest number of steps of a report.
const FIRST: usize = 16;

fn max_steps(text: &str) -> Result<usize, String> {
    let steps: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if steps.trunc() >= FIRST as f64 {
        Ok(steps as usize)
    } else {
        Err(format!("must be at least {FIRST}, the first number of steps of a report"))
    }
}

/// Powers of two from 16, and `max` at the end.
fn series(max: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(FIRST), |steps| steps.checked_mul(2));
    powers.take_while(|steps| *steps < max).chain([max]).collect()
}

/// A report that is being made. It is locked while it is written, so that a Ctrl-C waits until the
/// files are whole.
struct Open {
    document: Document,
    directory: PathBuf,
    /// Whether it was written for the last time.
    closed: bool,
}

type Shared = Arc<Mutex<Open>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Open> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Open {
    /// Writes the files.
    fn write(&self) -> Result<(), Failure> {
        let document = &self.document;
        let json = serde_json::to_string_pretty(document).map_err(Failure::run)? + "\n";
        for (name, content) in FILES.iter().zip([json, plot::sheet(document), page::page(document)])
        {
            let path = self.directory.join(name);
            io::write_atomically(path, |file| file.write_all(content.as_bytes()))
                .map_err(|error| Failure::run(format_args!("--output: {}", reason(&error))))?;
        }
        Ok(())
    }

    /// Prints the table, and says where the files are.
    fn print(&self) -> Result<(), Failure> {
        output::print(|out| table::write(&self.document, out))?;
        let [json, svg, html] = FILES.map(|name| self.directory.join(name));
        // That this cannot be said is no failure.
        _ = writeln!(
            std::io::stderr(),
            "written: {}, {} and {}",
            json.display(),
            svg.display(),
            html.display()
        );
        Ok(())
    }
}

const FILES: [&str; 3] = ["report.json", "report.svg", "report.html"];

impl Report {
    pub fn execute(&self) -> Result<(), Failure> {
        self.device.set_options()?;
        let device = self.device.open()?;
        self.check_sizes()?;
        prepare(&self.output).map_err(|why| Failure::input("--output", why))?;

        let document = Document {
            onetrace: env!("CARGO_PKG_VERSION"),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            device: device.to_string(),
            machine: Machine::this(),
            model: Model::Gru.name(),
            in_features: self.in_features,
            hidden: self.hidden,
            max_steps: self.max_steps,
            fission: self.fission.to_string(),
            budget_s: self.budget,
            finished: false,
            unrolled_stopped: None,
            largest_difference: None,
            rows: Vec::new(),
        };
        let open = Open { document, directory: self.output.clone(), closed: false };
        let shared = Arc::new(Mutex::new(open));
        let bar = progress();
        self.close_on_interrupt(shared.clone(), bar.clone())?;

        let measured = self.measure_all(&device, &shared, &bar);
        bar.finish_and_clear();
        // What was measured before a failure is in the files.
        measured?;
        let mut open = lock(&shared);
        open.document.finished = true;
        open.closed = true;
        open.write()?;
        open.print()
    }

    fn close_on_interrupt(&self, shared: Shared, bar: ProgressBar) -> Result<(), Failure> {
        let close = move |arm: &dyn Fn()| {
            let open = lock(&shared);
            if open.closed {
                return End::ByItself;
            }
            bar.finish_and_clear();
            let written = match open.document.rows.is_empty() {
                true => Err(Failure::run("interrupted before anything was measured")),
                false => open.write(),
            };
            // Not before: what ends the process at once could leave half a file behind.
            arm();
            if let Err(failure) = written.and_then(|()| open.print()) {
                failure.report();
            }
            End::Now
        };
        let failed = |error| Failure::run(format_args!("Ctrl-C cannot be waited for: {error}"));
        interrupt::on_first(close).map_err(failed)
    }

    /// Measures both loops for every T and writes the files after each measurement.
    fn measure_all(
        &self,
        device: &Device,
        shared: &Shared,
        bar: &ProgressBar,
    ) -> Result<(), Failure> {
        let series = series(self.max_steps);
        bar.set_length((series.len() * Variant::ALL.len()) as u64);
        bar.set_message("warm-up");
        // What a process does once, such as loading the compiler's code, is no part of a figure.
        for variant in Variant::ALL {
            self.measure(variant, 1, device)?;
        }
        let mut pace = Pace::new(self.budget);
        for steps in series {
            let mut carry: Vec<f32> = Vec::new();
            for variant in Variant::ALL {
                if variant == Variant::Unrolled {
                    // Once stopped it stays so.
                    let mut open = lock(shared);
                    let stopped = &mut open.document.unrolled_stopped;
                    if stopped.is_none() {
                        *stopped = pace.check(steps).err();
                    }
                    if stopped.is_some() {
                        bar.inc(1);
                        continue;
                    }
                }
                bar.set_message(format!("T = {}, {}", count(steps as u64), variant.name()));
                let start = Instant::now();
                let measured = self.measure(variant, steps, device)?;
                let mut open = lock(shared);
                if variant == Variant::Scan {
                    open.document.rows.push(Row::new(steps));
                    carry = measured.carry;
                } else {
                    pace.record(steps, measured.pass, start.elapsed());
                    let far = largest_difference(&carry, &measured.carry);
                    let before = open.document.largest_difference.unwrap_or(0.0);
                    open.document.largest_difference = Some(before.max(far));
                }
                if let Some(row) = open.document.rows.last_mut() {
                    row.set(variant, measured.figures);
                }
                open.write()?;
                bar.inc(1);
            }
        }
        Ok(())
    }

    fn measure(&self, variant: Variant, steps: usize, device: &Device) -> Result<Measured> {
        measure(variant.repeat(self.fission), &self.shape(steps), device)
    }

    fn shape(&self, steps: usize) -> Shape {
        Shape { in_features: self.in_features, hidden: self.hidden, steps, batch: None }
    }

    /// Refuses sizes that no memory holds.
    fn check_sizes(&self) -> Result<(), Failure> {
        let Report { in_features, hidden, max_steps, .. } = self;
        // The limit is that of `onetrace run --random`.
        number::size(&format!("{max_steps}x{in_features}")).map_err(|why| {
            Failure::input("--max-steps", format_args!("a sequence of {max_steps} steps {why}"))
        })?;
        let parameters = |error: Error| match error.kind() {
            ErrorKind::Argument => Failure::input(
                "--hidden",
                format_args!(
                    "{hidden} features of the state and {in_features} of the sequence are too \
                     many: {}",
                    reason(&error)
                ),
            ),
            _ => error.into(),
        };
        let scan = Variant::Scan.repeat(self.fission);
        Forward::new(Model::Gru, &self.shape(FIRST), 0, scan, false).map_err(parameters)?;
        Ok(())
    }
}

/// Makes the directory if it is not there, and checks that the files can be written.
fn prepare(directory: &Path) -> Result<(), String> {
    if directory.exists() && !directory.is_dir() {
        return Err(format!("{} is not a directory", directory.display()));
    }
    fs::create_dir_all(directory)
        .map_err(|error| format!("{} cannot be made: {error}", directory.display()))?;
    FILES.iter().try_for_each(|name| {
        io::check_writable(directory.join(name)).map_err(|error| reason(&error).to_owned())
    })
}

/// A bar on standard error, if that is a terminal.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{msg}  {wide_bar}  {pos} of {len}  {elapsed}");
    // A template that does not parse must not stop a report.
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_ends_with_the_largest() {
        assert_eq!(series(16), [16]);
        assert_eq!(series(17), [16, 17]);
        assert_eq!(series(64), [16, 32, 64]);
        assert_eq!(series(100), [16, 32, 64, 100]);
    }
}
