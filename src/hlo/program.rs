//! Modules from elsewhere, compiled and run.

use super::Module;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Memory;
use crate::tensor::Tensor;

/// A module that was compiled.
pub struct Program {}

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
