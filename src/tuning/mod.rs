//! What XLA is told about a program beside the program: options by what it does and where it runs.

mod loop_kernel;
mod vector_width;

use crate::device::{Device, XlaOptions};
use crate::ir::Func;

/// The options to compile `func` with for a device: weaker than all that the user sets.
pub(crate) fn options(func: &Func, device: &Device) -> XlaOptions {
    vector_width::options(func, device).followed_by(&loop_kernel::options(func, device))
}
