//! Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// The exit status of a command that was interrupted: 128 and the number of the signal.
pub const STATUS: i32 = 130;

/// Runs `finish` on a thread of its own at the first Ctrl-C and then ends the process, or lets it
/// go on if `finish` says so. A second Ctrl-C ends the process at once.
///
/// The process ends without waiting for other threads: XLA's compiler cannot be interrupted.
pub fn on_first(finish: impl FnOnce() -> End + Send + 'static) -> io::Result<()> {
    let again = Arc::new(AtomicBool::new(false));
    // In this order: the first signal finds the flag down and raises it.
    flag::register_conditional_shutdown(SIGINT, STATUS, again.clone())?;
    flag::register(SIGINT, again)?;
    let mut signals = Signals::new([SIGINT])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() && finish() == End::Now {
            low_level::exit(STATUS);
        }
    });
    Ok(())
}

/// What follows an interruption.
#[derive(PartialEq, Eq)]
pub enum End {
    Now,
    /// The work is done already; the process ends by itself.
    ByItself,
}
