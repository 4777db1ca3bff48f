//! A program at a stage, and what is asked of it: the same for models and for files.

use onetrace::Device;
use onetrace::Memory;
use onetrace::hlo::Module;
use serde::{Deserialize, Serialize};

use crate::device::DeviceArgs;
use crate::dump::Printing;
use crate::failure::Failure;
use crate::program::{Lowered, Stage};

/// The module of a program at a stage.
pub struct View {
    pub module: Module,
    /// What the program needs on its device, if it was compiled and the backend tells.
    pub memory: Option<Memory>,
}

/// What is asked of a program, and of what stage of it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Request {
    pub stage: Stage,
    /// Whether the program is compiled though the stage does not need it.
    pub compile: bool,
    /// The device to compile for.
    pub device: DeviceArgs,
    pub task: Task,
}

#[derive(Clone, Serialize, Deserialize)]
pub enum Task {
    Print(Printing),
    Measure,
}

impl Request {
    pub fn compiles(&self) -> bool {
        self.compile || self.stage == Stage::Optimized
    }

    /// The device to compile for, if the program is compiled.
    pub fn device(&self) -> Result<Option<Device>, Failure> {
        self.compiles().then(|| self.device.open()).transpose()
    }

    /// What is asked, of a model whose parameters were made on `device`.
    pub fn view_of_model(&self, lowered: Lowered, device: &Device) -> Result<View, Failure> {
        let traced = lowered.module()?;
        if !self.compiles() {
            return Ok(View { module: traced, memory: None });
        }
        let compiled = lowered.compile_for(device)?;
        let module = match self.stage {
            Stage::Optimized => compiled.optimized()?,
            _ => traced,
        };
        Ok(View { module, memory: compiled.memory() })
    }

    /// What is asked, of the module of a file.
    pub fn view_of_module(
        &self,
        module: Module,
        device: Option<&Device>,
    ) -> onetrace::Result<View> {
        let Some(device) = device else {
            return Ok(View { module, memory: None });
        };
        let program = module.compile(device)?;
        let module = match self.stage {
            Stage::Optimized => program.optimized()?,
            _ => module,
        };
        Ok(View { module, memory: program.memory() })
    }
}
