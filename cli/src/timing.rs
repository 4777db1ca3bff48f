//! Where the time of a command goes.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// The phases of a command that are over, in order.
pub struct Timing {
    start: Instant,
    phases: Vec<(&'static str, Duration)>,
}

impl Timing {
    pub fn start() -> Timing {
        Timing { start: Instant::now(), phases: Vec::new() }
    }

    /// Runs a phase and keeps the time it took. The name is that of the JSON.
    pub fn phase<R>(&mut self, name: &'static str, run: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = run();
        self.phases.push((name, start.elapsed()));
        result
    }

    /// Runs a phase `repeat` times, at least once, and keeps the median of the times. The first
    /// failure ends it.
    pub fn median_phase<R, E>(
        &mut self,
        name: &'static str,
        repeat: usize,
        mut run: impl FnMut() -> Result<R, E>,
    ) -> Result<R, E> {
        let mut times = Vec::new();
        loop {
            let start = Instant::now();
            let result = run()?;
            times.push(start.elapsed());
            if times.len() >= repeat {
                times.sort_unstable();
                self.phases.push((name, times[times.len() / 2]));
                return Ok(result);
            }
        }
    }

    /// A line for each phase, and one for all the time since the start.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let total = ("total", self.start.elapsed());
        for (name, time) in self.phases.iter().chain([&total]) {
            writeln!(out, "{:<14}{:>10.3} ms", name.replace('_', " "), time.as_secs_f64() * 1e3)?;
        }
        Ok(())
    }
}

/// An object with the milliseconds of each phase.
impl Serialize for Timing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole microseconds: more digits would be noise.
        let milliseconds = |time: &Duration| time.as_micros() as f64 / 1e3;
        serializer.collect_map(self.phases.iter().map(|(name, time)| (name, milliseconds(time))))
    }
}
