//! Compiled programs, and a cache of them for the whole process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use xla::{PjRtBuffer, PjRtLoadedExecutable, XlaComputation};

use crate::array::Array;
use crate::aval::Aval;
use crate::device::Device;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::hlo;
use crate::ir::{Func, FuncBuilder, Param, Source, Value};
use crate::lower;
use crate::ops::Op;
use crate::tensor::{Repr, Tensor};
use crate::xla_ext::{self, CompileFor};

/// A program that XLA compiled for a device. Many threads can run it at the same time.
pub(crate) struct Executable {
    program: PjRtLoadedExecutable,
    device: Device,
    results: Vec<Aval>,
    /// The parameters whose memory a call takes over.
    donated: Vec<usize>,
}

impl Executable {
    /// Compiles a computation that was lowered from `func`.
    pub fn compile(
        computation: &XlaComputation,
        func: &Func,
        donated: Vec<usize>,
        device: &Device,
        goal: CompileFor,
    ) -> Result<Executable> {
        let program = xla_ext::compile(device.client(), computation, goal)?;
        Ok(Executable { program, device: device.clone(), results: func.result_avals(), donated })
    }

    /// Runs the program. `location` is the call in the user's code.
    pub fn run(&self, arguments: &[&Array], location: Location) -> Result<Vec<Tensor>> {
        self.check_donations(arguments)?;
        let buffers: Result<Vec<Arc<PjRtBuffer>>> =
            arguments.iter().map(|array| array.on_device(&self.device)).collect();
        let outputs = self.program.execute_b(&buffers?)?;
        for &i in &self.donated {
            arguments[i].donate(location);
        }
        let outputs = outputs.into_iter().next().unwrap_or_default();
        if outputs.len() != self.results.len() {
            return Err(Error::new(
                ErrorKind::Xla,
                format!("XLA returned {} results instead of {}", outputs.len(), self.results.len()),
            ));
        }
        let array = |(buffer, aval): (PjRtBuffer, &Aval)| {
            Tensor(Repr::Concrete(Arc::new(Array::from_buffer(buffer, aval.clone(), &self.device))))
        };
        Ok(outputs.into_iter().zip(&self.results).map(array).collect())
    }

    /// The module that the backend runs.
    pub fn optimized(&self) -> Result<hlo::Module> {
        Err(Error::new(ErrorKind::Xla, "optimized: this backend does not give its module"))
    }

    /// The memory that a run needs.
    pub fn memory(&self) -> Option<hlo::Memory> {
        None
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

/// The device that the data of all `arrays` is on; the CPU if none belongs to a device.
pub(crate) fn common_device(arrays: &[&Array]) -> Result<Device> {
    let mut homes = arrays.iter().filter_map(|array| array.home());
    let Some(first) = homes.next() else { return Device::cpu() };
    match homes.find(|home| *home != first) {
        None => Ok(first.clone()),
        Some(other) => Err(Error::new(
            ErrorKind::Device,
            format!(
                "the arguments are on different devices, {first} and {other}: bring them to one"
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
    let computation = lower::lower(&func, &[])?;
    let executable = Executable::compile(&computation, &func, Vec::new(), device, goal)?;
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
    let results = builder.equation(op, values, outputs, source.clone());
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
    let device = common_device(&arrays)?;
    cached(func, &device, goal)?.run(&arrays, location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::host::HostArray;

    #[test]
    fn arguments_of_different_devices_are_refused() {
        let on = |device: &Device| {
            let host = HostArray::new(&[1.0f32], &[1]).unwrap();
            let buffer = Array::from_host(host, "").on_device(device).unwrap();
            let buffer = Arc::into_inner(buffer);
            let aval = Aval::new(DType::F32, [1]);
            buffer.map_or_else(
                || panic!("the buffer is shared"),
                |b| Array::from_buffer(b, aval, device),
            )
        };
        let (a, b) = (Device::another_cpu().unwrap(), Device::another_cpu().unwrap());
        let (x, y) = (on(&a), on(&b));
        assert!(common_device(&[&x, &x]).is_ok());
        let error = common_device(&[&x, &y]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Device);
        assert!(error.message().contains("different devices"), "{error}");
    }
}
