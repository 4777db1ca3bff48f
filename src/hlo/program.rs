//! Modules from elsewhere, compiled and run.

use super::Module;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// A module that was compiled.
pub struct Program {}

/// The bytes that a compiled program needs on its device, from XLA's buffer assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// The arguments.
    pub argument_bytes: u64,
    /// The results.
    pub output_bytes: u64,
    /// What is needed while it runs and not afterwards.
    pub temp_bytes: u64,
    /// Results that lie in the memory of donated arguments; they are counted in both.
    pub alias_bytes: u64,
    /// The most that is in use at one time.
    pub peak_bytes: u64,
}

impl Program {
    pub(super) fn compile(_module: &Module, _device: &Device) -> Result<Program> {
        Err(Error::new(ErrorKind::Hlo, "hlo: not written yet"))
    }

    /// Runs the program.
    pub fn call(&self, _arguments: &[Tensor]) -> Result<Vec<Tensor>> {
        Err(Error::new(ErrorKind::Hlo, "hlo: not written yet"))
    }

    /// The module that the backend runs, after XLA's passes.
    pub fn optimized(&self) -> Result<Module> {
        Err(Error::new(ErrorKind::Hlo, "hlo: not written yet"))
    }

    /// The memory that the program needs, where the backend tells.
    pub fn memory(&self) -> Option<Memory> {
        None
    }
}
