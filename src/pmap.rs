//! `pmap`: one function on several devices at the same time, each with its part of the data.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::array::{Array, Spread};
use crate::aval::Aval;
use crate::batch_axes::{BatchAxes, Sizes};
use crate::device::{self, Device};
use crate::error::{Error, ErrorKind, Location, Result};
use crate::hlo;
use crate::host::HostArray;
use crate::ir::Func;
use crate::lower;
use crate::ops::collective::in_replicas;
use crate::ops::control::leaf_name;
use crate::pjrt::{self, Buffer};
use crate::tensor::{Repr, Tensor};
use crate::trace::{self, Captures, Kind};
use crate::transform::varying::varying;
use crate::tree::{self, Structure, Tree};
use crate::tuning::{Kernels, Tuning};

/// Makes a function that several devices run at the same time, each with its part of the arguments:
/// data parallelism; `jax.pmap`.
///
/// `f` is traced once, for one device. Every leaf of the arguments has, along its first axis, one
/// part for each device, and `f` is given the parts, which do not have that axis; the results of
/// the devices come stacked in the same way. [`in_axes`](Pmap::in_axes) and
/// [`out_axes`](Pmap::out_axes) say otherwise, [`SAME`](crate::SAME) above all: of parameters,
/// every device gets all. Inside, devices learn from each other by [`psum`](crate::psum),
/// [`pmean`](crate::pmean), [`pmax`](crate::pmax) and [`pmin`](crate::pmin), and
/// [`axis_index`](crate::axis_index) tells them apart.
///
/// Results stay on their devices: the next call on the same devices takes them from there,
/// [`to_vec`](Tensor::to_vec) gathers them, and [`to_device`](Tensor::to_device) brings them to one
/// device, where they can be used outside of a `pmap`. What is copied or cut for a call is kept
/// with the tensor and so goes to the devices once.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::{SAME, XlaOptions, pmap, pmean};
/// XlaOptions::new().cpu_devices(2).apply()?;
///
/// // One step of gradient descent; each device has half of the examples.
/// let loss = |w: Tensor, x: &Tensor, y: &Tensor| (x.dot(&w) - y).square().mean(..);
/// let step = pmap(|(w, x, y): (Tensor, Tensor, Tensor)| {
///     let slope = pmean(grad(|w| loss(w, &x, &y))(w.clone()));
///     w - slope * 0.1
/// });
/// let step = step.in_axes((SAME, 0, 0)).out_axes(SAME);
///
/// let (x, y) = (Tensor::ones([2, 8, 3], DType::F32), Tensor::ones([2, 8], DType::F32));
/// let mut w = Tensor::zeros([3], DType::F32);
/// for _ in 0..20 {
///     w = step.call((w, x.clone(), y.clone()))?; // compiled once
/// }
/// assert_eq!(w.devices()?, Device::cpus()?); // a copy on each
/// assert!((w.sum(..).item::<f32>()? - 1.0).abs() < 1e-3);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn pmap<A: Tree, R: Tree, F: Fn(A) -> R>(f: F) -> Pmap<A, R, F> {
    Pmap {
        f,
        name: "main".to_owned(),
        in_axes: 0.into(),
        out_axes: 0.into(),
        devices: None,
        compiled: Mutex::new(HashMap::new()),
        arguments: PhantomData,
    }
}

/// A function that [`pmap`] made. It can be shared between threads if the closure can.
pub struct Pmap<A, R, F> {
    f: F,
    name: String,
    in_axes: BatchAxes,
    out_axes: BatchAxes,
    devices: Option<Vec<Device>>,
    compiled: Mutex<HashMap<Signature, Arc<Program<R>>>>,
    arguments: PhantomData<fn(A) -> R>,
}

/// What a compiled program is for: all that a trace can depend on.
#[derive(PartialEq, Eq, Hash)]
struct Signature {
    avals: Vec<Aval>,
    structure: Structure,
    devices: Vec<Device>,
}

/// Arguments and where they are to go.
struct Call<'a> {
    arrays: Vec<&'a Array>,
    /// The axis along which each argument has a part for each device; none if all get the same.
    axes: Vec<Option<usize>>,
    devices: Vec<Device>,
}

/// A function that was traced for one device.
struct Traced<R> {
    /// Its last parameter is the number of the device.
    func: Func,
    results: Vec<Output>,
    output: R,
}

/// A result: its type on one device, and the axis along which those of all are to stand; none if
/// they are the same.
type Output = (Aval, Option<usize>);

/// A program that was compiled for several devices.
struct Program<R> {
    program: pjrt::Executable,
    /// The number of each device.
    indices: Array,
    results: Vec<Output>,
    output: R,
}

impl<A: Tree, R: Tree, F: Fn(A) -> R> Pmap<A, R, F> {
    /// The name of the program, in the IR and the HLO.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self.forget()
    }

    /// Along which axis of the arguments the parts for the devices stand: a number for all leaves,
    /// [`SAME`](crate::SAME) for arguments of which every device gets all, or a tuple of these (and
    /// of tuples) for the parts of a tuple. Negative numbers count from the back.
    #[must_use]
    pub fn in_axes(mut self, axes: impl Into<BatchAxes>) -> Self {
        self.in_axes = axes.into();
        self.forget()
    }

    /// Along which axis of the results those of the devices are to stand, as for
    /// [`in_axes`](Pmap::in_axes). [`SAME`](crate::SAME) is for results that are the same on all
    /// devices, such as what was computed of a `psum`: the result is that of the first device, and
    /// the other ones keep theirs for the next call. A result that may differ is an error.
    #[must_use]
    pub fn out_axes(mut self, axes: impl Into<BatchAxes>) -> Self {
        self.out_axes = axes.into();
        self.forget()
    }

    /// The function without what was compiled when it was another one.
    fn forget(mut self) -> Self {
        self.compiled = Mutex::default();
        self
    }

    /// The devices, all of one platform: as many as there are parts. Where nothing is said, these
    /// are the first ones of the platform of the [default device](Device::default_device).
    #[must_use]
    pub fn devices(mut self, devices: &[Device]) -> Self {
        self.devices = Some(devices.to_vec());
        self
    }

    /// Runs the function on all devices, after tracing and compiling it if these types of arguments
    /// are new. Results stay on the devices.
    ///
    /// # Errors
    /// The first mistake made in the closure or on the way to the arguments, with its place;
    /// arguments that have not one part for each device; devices that are not there or not of one
    /// platform; a call inside of another traced function, whose program is for one device;
    /// whatever XLA reports of a device.
    #[track_caller]
    pub fn call(&self, arguments: impl Borrow<A>) -> Result<R> {
        let location = std::panic::Location::caller();
        let result = self.call_at(arguments.borrow(), location);
        let result = result.map_err(|error| error.at(location));
        result.inspect_err(trace::keep_returned)
    }

    fn call_at(&self, arguments: &A, location: Location) -> Result<R> {
        let leaves = tree::leaves(arguments);
        let call = self.prepare(arguments, &leaves)?;
        let signature = Signature {
            avals: leaves.iter().map(|leaf| leaf.aval().clone()).collect(),
            structure: tree::structure(arguments),
            devices: call.devices.clone(),
        };
        let found = self.lock().get(&signature).cloned();
        let program = match found {
            Some(program) => program,
            // The lock is not held here: another thread may compile the same, and the last wins.
            None => {
                let traced = self.trace(arguments, &call, location)?;
                let program = Arc::new(Self::compile(traced, &call)?);
                self.lock().insert(signature, program.clone());
                program
            }
        };
        program.run(&call)
    }

    /// The HLO module for arguments of these types, before any pass of XLA: the program of each
    /// device.
    ///
    /// # Errors
    /// As [`call`](Pmap::call), before anything is compiled or run.
    #[track_caller]
    pub fn module(&self, arguments: impl Borrow<A>) -> Result<hlo::Module> {
        let location = std::panic::Location::caller();
        let arguments = arguments.borrow();
        let leaves = tree::leaves(arguments);
        let call = self.prepare(arguments, &leaves).map_err(|error| error.at(location))?;
        let traced = self.trace(arguments, &call, location)?;
        hlo::Module::from_xla(lower::lower(&traced.func.simplified(), &[])?.proto().to_bytes()?)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Signature, Arc<Program<R>>>> {
        // Entries are whole when they are inserted, so a panic of another thread leaves no damage.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The data of the arguments, and where it is to go. `leaves` are those of the arguments.
    fn prepare<'a>(&self, arguments: &A, leaves: &'a [Tensor]) -> Result<Call<'a>> {
        if trace::is_tracing() {
            return Err(Error::argument(
                "pmap: a function for several devices cannot be called where another one is traced \
                 (by jit, grad, vmap, scan or pmap), which becomes a program of its own: call it \
                 outside, and use jit, grad, vmap and scan in the function that the devices run",
            ));
        }
        tree::check(arguments)?;
        let arrays = trace::arrays(leaves);
        let axes = self.in_axes.of_arguments("pmap", arguments).map_err(|error| {
            error.note("an argument of which every device gets all is `SAME`: `in_axes((SAME, 0))`")
        })?;
        let sizes = Sizes::of(arguments, &axes);
        let devices = match &self.devices {
            Some(devices) => checked(devices)?,
            None => first_devices(sizes.first())?,
        };
        let rule = format!(
            "pmap: there must be one part for each of the {} devices ({}) along every axis",
            devices.len(),
            names(&devices),
        );
        sizes.check(devices.len(), &rule)?;
        Ok(Call { arrays: arrays?, axes, devices })
    }

    fn trace(&self, arguments: &A, call: &Call, location: Location) -> Result<Traced<R>> {
        let leaves = tree::leaves_with_paths(arguments).into_iter().zip(&call.axes);
        let param = |((path, leaf), axis): ((tree::Path, Tensor), &Option<usize>)| {
            let part = axis.map(|axis| leaf.aval().without_axis(axis));
            (part.unwrap_or_else(|| leaf.aval().clone()), leaf_name("arg", &path))
        };
        let mut params: Vec<(Aval, String)> = leaves.map(param).collect();
        params.push((Aval::scalar(crate::DType::I32), "axis_index".to_owned()));
        let f = |mut tensors: Vec<Tensor>| {
            let index = tensors.pop().expect("the last parameter is the number of the device");
            let arguments = tree::unflatten(arguments, tensors).expect("one tensor for each leaf");
            in_replicas(call.devices.len(), index, || (self.f)(arguments))
        };
        let (name, kind) = (&self.name, Kind::Function);
        let traced = trace::try_trace(name, location, kind, Captures::Constants, params, f)
            .map_err(trace::Panic::into_error)?
            .into_traced()
            .map_err(|error| error.at(location))?;
        let results = self.results(&traced.func, &traced.output, call)?;
        Ok(Traced { func: traced.func, results, output: traced.output })
    }

    /// Where the results are to stand. Only what is the same on all devices can be one result.
    fn results(&self, func: &Func, output: &R, call: &Call) -> Result<Vec<Output>> {
        let differ: Vec<bool> = call.axes.iter().map(Option::is_some).chain([true]).collect();
        let differ = varying(func, &differ)?;
        self.out_axes.check_parts(("pmap", "out_axes"), "result", output)?;
        let paths = tree::leaves_with_paths(output).into_iter().map(|(path, _)| path);
        let results = paths.zip(func.result_avals()).zip(differ);
        let place = |((path, aval), differs): ((tree::Path, Aval), bool)| {
            let axis = self.out_axes.of_result("pmap", &path, aval.rank() + 1)?;
            if axis.is_none() && differs {
                return Err(Error::argument(format!(
                    "pmap: out_axes says that {} is the same on all devices, but it depends on \
                     arguments with an axis or on `axis_index`: give it an axis, or apply `pmean`, \
                     `psum` or the like to what differs",
                    leaf_name("result", &path),
                )));
            }
            Ok((aval, axis))
        };
        results.map(place).collect()
    }

    fn compile(traced: Traced<R>, call: &Call) -> Result<Program<R>> {
        let fissioned = traced.func.simplified().fissioned();
        let tuning = Tuning::of_lowered(&fissioned, &call.devices[0], Kernels::All);
        let computation = lower::lower(&tuning.applied(&fissioned, &call.devices[0]), &[])?;
        let calls_host = traced.func.has_effect();
        let options = tuning.options();
        let program = device::compile(&call.devices, &computation, &options, calls_host)?;
        let count = call.devices.len();
        let indices = HostArray::new(&(0..count as i32).collect::<Vec<_>>(), &[count])?;
        let indices = Array::from_host(indices, "axis_index");
        Ok(Program { program, indices, results: traced.results, output: traced.output })
    }
}

impl<R: Tree> Program<R> {
    fn run(&self, call: &Call) -> Result<R> {
        /// Programs that wait for one another must come in the same order on every device.
        static LAUNCH: Mutex<()> = Mutex::new(());

        let devices = &call.devices;
        let axes = call.axes.iter().copied().chain([Some(0)]);
        let arguments: Result<Vec<Argument>> = (call.arrays.iter().copied().chain([&self.indices]))
            .zip(axes)
            .map(|(array, axis)| Argument::of(array, axis, devices))
            .collect();
        let arguments = arguments?;
        let of_device = |i| arguments.iter().map(|argument| argument.buffer(i)).collect();
        let inputs: Vec<Vec<&Buffer>> = (0..devices.len()).map(of_device).collect();
        let launch = LAUNCH.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = self.program.execute(&inputs, self.results.len());
        drop(launch);
        let on = || format!("in a pmap over the devices {}", names(devices));
        let mut outputs: Vec<_> =
            outputs.map_err(|error| error.note(on()))?.into_iter().map(Vec::into_iter).collect();
        let results = self.results.iter().map(|(aval, axis)| {
            let buffers: Vec<Buffer> = outputs.iter_mut().filter_map(Iterator::next).collect();
            let array = match *axis {
                Some(axis) => {
                    let whole = aval.with_axis(axis, devices.len());
                    let spread = Spread { axis, devices: devices.clone(), parts: buffers };
                    Array::from_spread(spread, whole)
                }
                None => Array::from_copies(buffers, aval.clone(), devices),
            };
            Tensor(Repr::Concrete(Arc::new(array)))
        });
        tree::unflatten(&self.output, results.collect())
    }
}

/// An argument on all devices.
enum Argument {
    Same(Vec<Arc<Buffer>>),
    Parts(Arc<Spread>),
}

impl Argument {
    fn of(array: &Array, axis: Option<usize>, devices: &[Device]) -> Result<Argument> {
        match axis {
            Some(axis) => array.spread_over(axis, devices).map(Argument::Parts),
            None => {
                let copies: Result<_> = devices.iter().map(|d| array.on_device(d)).collect();
                copies.map(Argument::Same)
            }
        }
    }

    /// What the device with this number gets.
    fn buffer(&self, index: usize) -> &Buffer {
        match self {
            Argument::Same(copies) => &copies[index],
            Argument::Parts(spread) => &spread.parts[index],
        }
    }
}

fn names(devices: &[Device]) -> String {
    devices.iter().map(Device::to_string).collect::<Vec<_>>().join(", ")
}

/// The devices, if one program can run on all of them.
fn checked(devices: &[Device]) -> Result<Vec<Device>> {
    let error = |message: String| Err(Error::new(ErrorKind::Device, message));
    let Some(first) = devices.first() else {
        return error("pmap: there must be at least one device, but none is given".to_owned());
    };
    if let Some(other) = devices.iter().find(|device| !device.shares_client_with(first)) {
        return error(format!(
            "pmap: the devices must be of one platform, but there are {first} and {other}"
        ));
    }
    for (i, device) in devices.iter().enumerate() {
        if devices[..i].contains(device) {
            return error(format!(
                "pmap: the devices must be different, but {device} is there twice"
            ));
        }
    }
    Ok(devices.to_vec())
}

/// The first `count` devices of the platform of the default device.
fn first_devices(count: Option<usize>) -> Result<Vec<Device>> {
    let mut devices = Device::default_device()?.peers();
    let error = |message: String| Err(Error::new(ErrorKind::Device, message));
    match count {
        None => error(
            "pmap: no argument has an axis for the devices, so that they must be given: \
             `pmap(f).devices(&devices)`"
                .to_owned(),
        ),
        Some(0) => error("pmap: there must be at least one part, but the axis has none".to_owned()),
        Some(count) if count > devices.len() => error(format!(
            "pmap: there are {count} parts, one for each device, but only {} devices ({}){}",
            devices.len(),
            names(&devices),
            if devices[0].platform() == "cpu" {
                ": XlaOptions::cpu_devices makes more of a CPU"
            } else {
                ""
            },
        )),
        Some(count) => {
            devices.truncate(count);
            Ok(devices)
        }
    }
}
