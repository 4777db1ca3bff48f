//! One program, made and run a few times: how large it is and where the time goes.

use std::time::{Duration, Instant};

use onetrace::{Device, Fission, Result, Unroll};
use serde::{Serialize, Serializer};

use crate::model::{Forward, Loop, Model, Shape};

/// How the steps are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    Scan,
    Unrolled,
}

impl Variant {
    pub const ALL: [Variant; 2] = [Variant::Scan, Variant::Unrolled];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Scan => "scan",
            Variant::Unrolled => "unrolled",
        }
    }

    pub fn repeat(self, fission: Fission) -> Loop {
        match self {
            Variant::Scan => Loop::Scan { unroll: Unroll::Auto, fission },
            Variant::Unrolled => Loop::Unrolled,
        }
    }
}

/// What was measured of one program. The times are medians.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// How often the step closure ran in one trace.
    pub body_traces: usize,
    /// Equations of the IR, with those of the loop's body.
    pub equations: usize,
    /// Instructions of the HLO before any pass of XLA, with those of all computations.
    pub instructions: usize,
    /// Bytes of the serialized `HloModuleProto`.
    pub proto_bytes: u64,
    #[serde(rename = "trace_ms", serialize_with = "milliseconds")]
    pub trace: Duration,
    #[serde(rename = "lower_ms", serialize_with = "milliseconds")]
    pub lower: Duration,
    #[serde(rename = "compile_ms", serialize_with = "milliseconds")]
    pub compile: Duration,
    #[serde(rename = "run_ms", serialize_with = "milliseconds")]
    pub run: Duration,
    /// How often the program was made.
    pub passes: usize,
}

/// Whole microseconds: more digits would be noise.
fn milliseconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_micros() as f64 / 1e3)
}

/// A program is made up to this many times, as long as less than `PASSES_TIME` has gone by.
pub const PASSES: usize = 5;
pub const PASSES_TIME: Duration = Duration::from_secs(1);

/// A compiled program is run up to this many times after its warm-up, as long as less than
/// `RUNS_TIME` has gone by.
pub const RUNS: usize = 5;
const RUNS_TIME: Duration = Duration::from_millis(200);

/// A measured program.
pub struct Measured {
    pub figures: Figures,
    /// The final state.
    pub carry: Vec<f32>,
    /// The time of the last pass, with all that is not part of a stage.
    pub pass: Duration,
}

/// Traces, lowers, compiles and runs a GRU of this shape, each time afresh.
pub fn measure(repeat: Loop, shape: &Shape, device: &Device) -> Result<Measured> {
    let forward = Forward::new(Model::Gru, shape, 0, repeat, false)?;
    let x = forward.sequence();
    x.check()?;

    let start = Instant::now();
    let [mut trace, mut lower, mut compile, mut run] = [const { Vec::new() }; 4];
    loop {
        let pass = Instant::now();
        let calls = forward.step_calls();
        let traced = timed(&mut trace, || forward.trace(&x))?;
        let body_traces = forward.step_calls() - calls;
        let lowered = timed(&mut lower, || traced.lower())?;
        let (equations, stats) = (lowered.func().equation_count(), lowered.stats()?);
        let compiled = timed(&mut compile, || lowered.compile_for(device))?;
        // Reading the result waits for it.
        let call = || {
            let leaves = compiled.call(&x)?;
            leaves.iter().map(|leaf| leaf.to_vec::<f32>()).collect::<Result<Vec<_>>>()
        };
        // The first run also moves the sequence to the device.
        let carry = call()?.concat();
        let runs = Instant::now();
        for _ in 0..RUNS {
            timed(&mut run, call)?;
            if runs.elapsed() >= RUNS_TIME {
                break;
            }
        }
        if trace.len() < PASSES && start.elapsed() < PASSES_TIME {
            continue;
        }
        let figures = Figures {
            body_traces,
            equations,
            instructions: stats.instructions,
            proto_bytes: stats.proto_bytes,
            passes: trace.len(),
            trace: median(trace),
            lower: median(lower),
            compile: median(compile),
            run: median(run),
        };
        return Ok(Measured { figures, carry, pass: pass.elapsed() });
    }
}

fn timed<R>(times: &mut Vec<Duration>, run: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = run();
    times.push(start.elapsed());
    result
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Decides how far a series of programs goes in a given time. A compilation cannot be interrupted,
/// so a program that would take too long must not be begun.
pub struct Pace {
    budget: f64,
    spent: f64,
    /// Steps and seconds of the last two programs.
    last: [Option<(f64, f64)>; 2],
}

/// Why a series ended early.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// The number of steps that was not begun.
    pub before_steps: usize,
    /// Seconds that the series had taken.
    pub spent_s: f64,
    /// Seconds that this program would have taken, by the growth of those before it.
    pub predicted_s: f64,
}

impl Pace {
    /// A series that takes `budget` seconds.
    pub fn new(budget: f64) -> Pace {
        Pace { budget, spent: 0.0, last: [None; 2] }
    }

    /// Whether there is time for a program of this many steps.
    pub fn check(&self, steps: usize) -> Result<(), Stop> {
        let predicted = self.predict(steps as f64);
        if self.spent + predicted <= self.budget && self.budget > 0.0 {
            return Ok(());
        }
        let round = |seconds: f64| (seconds * 1e3).round() / 1e3;
        Err(Stop { before_steps: steps, spent_s: round(self.spent), predicted_s: round(predicted) })
    }

    /// Seconds for one pass over a program of this many steps: time grows as a power of the steps,
    /// the one that the last two programs show, or the square where only one is known.
    fn predict(&self, steps: f64) -> f64 {
        match self.last {
            [Some((t1, s1)), Some((t2, s2))] => {
                let exponent = ((s2 / s1).ln() / (t2 / t1).ln()).max(1.0);
                s2 * (steps / t2).powf(exponent)
            }
            [None, Some((t, s))] => s * (steps / t).powi(2),
            _ => 0.0,
        }
    }

    /// A program of `steps` steps took `pass` once, and `spent` with all its repetitions.
    pub fn record(&mut self, steps: usize, pass: Duration, spent: Duration) {
        self.spent += spent.as_secs_f64();
        // No program takes no time; the clock may say so.
        let pass = pass.as_secs_f64().max(1e-6);
        self.last = [self.last[1], Some((steps as f64, pass))];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(pace: &mut Pace, steps: usize, seconds: u64) {
        pace.record(steps, Duration::from_secs(seconds), Duration::from_secs(seconds));
    }

    #[test]
    fn a_series_stops_before_a_program_that_is_too_long() {
        let mut pace = Pace::new(60.0);
        assert_eq!(pace.check(16), Ok(()));
        record(&mut pace, 16, 1);
        assert_eq!(pace.check(32), Ok(()));
        record(&mut pace, 32, 3);
        // Three times as long for twice as many steps: 9, then 27 seconds.
        assert_eq!(pace.check(64), Ok(()));
        record(&mut pace, 64, 9);
        assert_eq!(pace.check(128), Ok(()));
        record(&mut pace, 128, 27);
        let stop = pace.check(256).unwrap_err();
        assert_eq!((stop.before_steps, stop.spent_s, stop.predicted_s), (256, 40.0, 81.0));
    }

    #[test]
    fn no_growth_is_predicted_below_linear() {
        let mut pace = Pace::new(10.0);
        record(&mut pace, 16, 3);
        record(&mut pace, 32, 1);
        assert_eq!(pace.predict(64.0), 2.0);
        assert_eq!(pace.predict(96.0), 3.0);
    }

    #[test]
    fn one_program_predicts_the_square() {
        let mut pace = Pace::new(3.0);
        record(&mut pace, 16, 1);
        assert_eq!(pace.check(32).unwrap_err().predicted_s, 4.0);
    }

    #[test]
    fn no_time_is_no_program() {
        assert_eq!(Pace::new(0.0).check(16).unwrap_err().before_steps, 16);
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([9, 1, 5].map(Duration::from_secs).to_vec()), Duration::from_secs(5));
    }
}
