//! Standard output.

use std::io::{self, BufWriter, ErrorKind, Write};

use crate::failure::Failure;

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
pub fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    match write(&mut stdout).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::run(format_args!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
