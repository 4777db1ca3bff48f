//! What the user sees of a long stage: a bar on a terminal, a line elsewhere.

use std::io::{IsTerminal, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One stage, shown until it is dropped.
pub struct Stage {
    what: String,
    bar: ProgressBar,
    started: Instant,
}

impl Stage {
    /// A stage that works through a known number of bytes.
    pub fn bytes(what: String, total: u64) -> Self {
        let template = "{msg}  {wide_bar}  {bytes} of {total_bytes}  {binary_bytes_per_sec}";
        Self::new(format!("{what} ({})", megabytes(total)), ProgressBar::new(total), template)
    }

    /// A stage of unknown length.
    pub fn spinner(what: String) -> Self {
        Self::new(what, ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}")
    }

    fn new(what: String, bar: ProgressBar, template: &str) -> Self {
        if std::io::stderr().is_terminal() {
            // A template that does not parse must not stop a set-up.
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(100));
        } else {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
            eprintln!("{what} ...");
        }
        Stage { what, bar, started: Instant::now() }
    }

    /// Bytes done so far.
    pub fn set(&self, bytes: u64) {
        self.bar.set_position(bytes.min(self.bar.length().unwrap_or(bytes)));
    }

    /// A reader whose bytes count as done.
    pub fn count<R: Read>(&self, reader: R) -> impl Read {
        self.bar.wrap_read(reader)
    }

    /// Leaves a line that says how long the stage took.
    pub fn finish(self) {
        self.bar.finish_and_clear();
        eprintln!("{}: {:.1} s", self.what, self.started.elapsed().as_secs_f64());
    }
}

impl Drop for Stage {
    /// An error message must not share its line with a bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `274 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}
