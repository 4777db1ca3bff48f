//! Compiled programs, and a cache of them for the whole process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use xla::XlaComputation;

use crate::array::Array;
use crate::aval::Aval;
use crate::device::{self, Device, XlaOptions};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ir::{Func, FuncBuilder, Param, Source, Value};
use crate::lower;
use crate::ops::Op;
use crate::pjrt::{self, Buffer};
use crate::tensor::{Repr, Tensor};
use crate::tuning::{Kernels, Tuning};

/// A program that XLA compiled for a device. Many threads can run it at the same time.
pub(crate) struct Executable {
    program: pjrt::Executable,
    device: Device,
    results: Vec<Aval>,
    /// The parameters whose memory a call takes over.
    donated: Vec<usize>,
}

/// Whether a program is compiled to run fast or to be there fast.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CompileFor {
    /// The best code that XLA makes.
    Speed,
    /// Code without XLA:CPU's MLIR emitters of fusions, which take most of the time of compiling a
    /// small program: 38 ms become 18 for an addition, 195 become 123 for the parameters of a GRU.
    Latency,
}

impl CompileFor {
    fn options(self) -> XlaOptions {
        static KNOWN: OnceLock<bool> = OnceLock::new();
        let options = XlaOptions::new().flag("xla_cpu_use_fusion_emitters", false);
        // Not every version of XLA has the option.
        if self == CompileFor::Latency && *KNOWN.get_or_init(|| options.check().is_ok()) {
            options
        } else {
            XlaOptions::new()
        }
    }
}

impl Executable {
    /// Compiles a computation that returns a tuple of these types, or the one there is.
    pub fn compile(
        computation: &XlaComputation,
        results: Vec<Aval>,
        donated: Vec<usize>,
        device: &Device,
        options: &XlaOptions,
        calls_host: bool,
    ) -> Result<Executable> {
        let devices = std::slice::from_ref(device);
        let program = device::compile(devices, computation, options, calls_host)?;
        Ok(Executable { program, device: device.clone(), results, donated })
    }

    /// The device that the program runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The program as PJRT knows it.
    pub fn program(&self) -> &pjrt::Executable {
        &self.program
    }

    /// Checks that an argument that is tied to a device is tied to the program's. `called` is what
    /// is called, and `name` the argument.
    pub fn check_device(&self, array: &Array, called: &str, name: &str) -> Result<()> {
        match array.home()?.filter(|&home| *home != self.device) {
            None => Ok(()),
            Some(home) => Err(Error::new(
                ErrorKind::Device,
                format!(
                    "a compiled {called} takes data of its own device: it was compiled for {}, but \
                     {name} is on {home}: bring it there with `to_device`",
                    self.device,
                ),
            )),
        }
    }

    /// Runs the program. `is_tied` is whether its device was chosen for what it computes;
    /// `location` is the call in the user's code.
    pub fn run(
        &self,
        arguments: &[&Array],
        is_tied: bool,
        location: Location,
    ) -> Result<Vec<Tensor>> {
        self.check_donations(arguments)?;
        let buffers: Result<Vec<Arc<Buffer>>> =
            arguments.iter().map(|array| array.on_device(&self.device)).collect();
        let buffers = buffers?;
        let inputs = buffers.iter().map(|buffer| &**buffer).collect();
        let outputs = self.program.execute(&[inputs], self.results.len())?;
        for &i in &self.donated {
            arguments[i].donate(location);
        }
        let array = |(buffer, aval): (Buffer, &Aval)| {
            let array = Array::from_buffer(buffer, aval.clone(), &self.device, is_tied);
            Tensor(Repr::Concrete(Arc::new(array)))
        };
        Ok(outputs.into_iter().flatten().zip(&self.results).map(array).collect())
    }

    /// Checks that no memory that is given away is an argument for a second time.
    fn check_donations(&self, arguments: &[&Array]) -> Result<()> {
        let mut donated = HashMap::new();
        for &i in &self.donated {
            donated.insert(arguments[i].memory(), i);
        }
        for (j, array) in arguments.iter().enumerate() {
            if !donated.is_empty() && donated.get(&array.memory()).is_some_and(|&i| i != j) {
                return Err(Error::argument(format!(
                    "a tensor of type {} is donated to this call and is another argument of it too: \
                     pass a copy, or do not donate it",
                    array.aval(),
                )));
            }
        }
        Ok(())
    }
}

/// The device that all `arrays` are tied to, if some are.
pub(crate) fn common_device(arrays: &[&Array]) -> Result<Option<Device>> {
    let homes: Result<Vec<Option<&Device>>> = arrays.iter().map(|array| array.home()).collect();
    let mut homes = homes?.into_iter().flatten();
    let first = homes.next();
    match homes.find(|&home| Some(home) != first).zip(first) {
        None => Ok(first.cloned()),
        Some((other, first)) => Err(Error::new(
            ErrorKind::Device,
            format!(
                "the arguments are on different devices, {first} and {other}: bring them to one \
                 with `to_device`"
            ),
        )),
    }
}

/// How many programs that ran at once are kept; beyond it all are forgotten.
const CACHE_LIMIT: usize = 4096;

/// The program for `func` on `device`, compiled the first time it is asked for.
fn cached(func: Func, device: &Device, goal: CompileFor) -> Result<Arc<Executable>> {
    type Cache = HashMap<Func, Vec<(Device, Arc<Executable>)>>;
    static CACHE: OnceLock<Mutex<Cache>> = OnceLock::new();
    let lock = || {
        // Entries are whole when they are inserted, so a panic of another thread leaves no damage.
        CACHE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
    };
    let find = |cache: &Cache| {
        let entries = cache.get(&func)?;
        entries.iter().find(|(d, _)| d == device).map(|(_, executable)| executable.clone())
    };
    if let Some(executable) = find(&lock()) {
        return Ok(executable);
    }
    // The lock is not held while XLA compiles: other threads go on.
    let fissioned = func.simplified().fissioned();
    let tuning = Tuning::of_lowered(&fissioned, device, Kernels::All);
    let computation = lower::lower(&tuning.applied(&fissioned, device), &[])?;
    let results = func.result_avals();
    let options = tuning.options().followed_by(&goal.options());
    let calls_host = func.has_effect();
    let executable =
        Executable::compile(&computation, results, Vec::new(), device, &options, calls_host)?;
    let executable = Arc::new(executable);
    let mut cache = lock();
    if cache.len() >= CACHE_LIMIT {
        cache.clear();
    }
    cache.entry(func).or_default().push((device.clone(), executable.clone()));
    Ok(executable)
}

/// Runs one operation on concrete arrays, where nothing is traced.
pub(crate) fn run_operation(
    op: Op,
    inputs: &[&Arc<Array>],
    outputs: Vec<Aval>,
    source: Source,
) -> Result<Vec<Tensor>> {
    let mut builder = FuncBuilder::new();
    let name = op.rules().name();
    let values: Vec<Value> = inputs.iter().map(|a| builder.param(a.aval().clone())).collect();
    // A loop may run for long. Anything else is soon done, and so should its compilation be.
    let plain = op.rules().regions().is_empty();
    let goal = if plain { CompileFor::Latency } else { CompileFor::Speed };
    let params = values.iter().map(|&value| Param { value, name: String::new() }).collect();
    let results = builder.equation(op, values, outputs, source.clone()).to_vec();
    run_function(builder.finish(name, params, results), inputs, goal, &source)
}

/// Runs a function on concrete arrays, for the call that `source` tells of.
pub(crate) fn run_function(
    func: Func,
    inputs: &[&Arc<Array>],
    goal: CompileFor,
    source: &Source,
) -> Result<Vec<Tensor>> {
    let location = source.location.unwrap_or(std::panic::Location::caller());
    let arrays: Vec<&Array> = inputs.iter().map(|array| &***array).collect();
    let home = common_device(&arrays)?;
    let device = home.clone().map_or_else(Device::default_device, Ok)?;
    cached(func, &device, goal)?.run(&arrays, home.is_some(), location)
}
