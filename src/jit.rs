//! `jit`: a closure becomes a program that XLA compiles, once for each type of its arguments.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use xla::XlaComputation;

use crate::array::Array;
use crate::aval::Aval;
use crate::device::{Device, XlaOptions};
use crate::error::{Error, Location, Result};
use crate::execute::{Executable, common_device};
use crate::hlo;
use crate::ir::Func;
use crate::ir::print;
use crate::lower;
use crate::memory::Memory;
use crate::ops::call;
use crate::ops::control::prefixed;
use crate::tensor::Tensor;
use crate::trace::{self, Captures, Kind};
use crate::tree::{self, Key, Structure, Tree};
use crate::tuning::{Search, Tuning};

/// Makes a function of a closure that is traced, compiled and then only run; `jax.jit`.
///
/// The closure takes one [tree](crate::tree) (a tuple, where there are several arguments) and
/// returns one. It runs once for each type of arguments (their dtypes, shapes and structure), on
/// traced tensors. A tensor it captures becomes a constant of the program; see
/// [`captures_as_arguments`](Jit::captures_as_arguments).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let norm = jit(|(x, y): (Tensor, Tensor)| (&x * &x + &y * &y).sqrt());
/// let (x, y) = (Tensor::new(&[3.0f32], [1]), Tensor::new(&[4.0f32], [1]));
/// assert_eq!(norm.call((x, y))?.to_vec::<f32>()?, [5.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn jit<A: Tree, R: Tree, F: Fn(A) -> R>(f: F) -> Jit<A, R, F> {
    Jit {
        f,
        name: "main".to_owned(),
        captures: Captures::Constants,
        donated: Vec::new(),
        autotune: false,
        compiled: Mutex::new(HashMap::new()),
        arguments: PhantomData,
    }
}

/// A function that [`jit`] made. It can be shared between threads if the closure can.
pub struct Jit<A, R, F> {
    f: F,
    name: String,
    captures: Captures,
    donated: Vec<usize>,
    autotune: bool,
    compiled: Mutex<HashMap<Signature, Arc<Compiled<A, R>>>>,
    arguments: PhantomData<fn(A) -> R>,
}

/// What a compiled program is for: all that a trace can depend on.
#[derive(PartialEq, Eq, Hash)]
struct Signature {
    avals: Vec<Aval>,
    structure: Structure,
    device: Device,
}

impl<A: Tree, R: Tree, F: Fn(A) -> R> Jit<A, R, F> {
    /// The name of the program, in the IR and the HLO.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self.forget()
    }

    /// Passes captured tensors to the program as arguments instead of compiling them into it as
    /// constants: large weights then do not make the program large. Which tensors they are is
    /// settled when it is traced; weights that change from call to call must be an argument.
    #[must_use]
    pub fn captures_as_arguments(mut self) -> Self {
        self.captures = Captures::Params;
        self.forget()
    }

    /// Donates arguments: their memory may be used for results of the same type, and they cannot
    /// be used after the call. `positions` count the parts of a tuple of arguments; a closure of
    /// one argument has position 0. An argument that no result has the type of is left as it is.
    /// `donate_argnums` of `jax.jit`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let step = jit(|(w, g): (Tensor, Tensor)| w - g * 0.1).donate(&[0]);
    /// let (w, g) = (Tensor::ones([3], DType::F32), Tensor::ones([3], DType::F32));
    /// let next = step.call((w.clone(), g))?;
    /// assert_eq!(next.to_vec::<f32>()?, [0.9; 3]);
    /// assert!(w.to_vec::<f32>().unwrap_err().to_string().contains("donated"));
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[must_use]
    pub fn donate(mut self, positions: &[usize]) -> Self {
        self.donated = positions.to_vec();
        self.forget()
    }

    /// Measures how to compile the function where there is a choice: the first call for each type
    /// of arguments compiles up to four programs and runs each of them many times on these
    /// arguments, for a third of a second at most for each unless a single run takes longer. The
    /// fastest one is used from then on; what there is a choice of, [`Tuning`] says. Values are
    /// the same but for the order of sums, so that two machines may differ in the last digits.
    ///
    /// Without it, a model of the costs chooses, as it always does for [`lower`](Jit::lower), and
    /// for functions that print, which must not do so again and again.
    ///
    /// What was found is remembered for the process, and for others if compiled programs are
    /// [kept on disk](crate::compilation_cache): then they compile the fastest program alone.
    ///
    /// # Examples
    /// ```
    /// # use onetrace::prelude::*;
    /// let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 4, 8);
    /// let start = cell.initial_carry(&[]);
    /// let last = jit(|xs: Tensor| scan(|h, x| cell.step(h, x), start.clone(), xs).0).autotune();
    /// let xs = Tensor::ones([20, 4], DType::F32);
    /// let h = last.call(&xs)?;
    /// println!("{}", last.compiled(&xs)?.tuning());
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[must_use]
    pub fn autotune(mut self) -> Self {
        self.autotune = true;
        self.forget()
    }

    /// The function without what was compiled when it was another one.
    fn forget(mut self) -> Self {
        self.compiled = Mutex::default();
        self
    }

    /// Runs the function, after tracing and compiling it if these types of arguments are new.
    /// Inside another trace it is recorded there as a call.
    ///
    /// It runs on the device that the arguments are [tied to](Tensor::device), or on the [default
    /// device](Device::default_device) if they are tied to none. Tensors that were captured are
    /// copied there.
    ///
    /// # Errors
    /// The first mistake made in the closure or on the way to the arguments, with its place;
    /// arguments that are tied to different devices; whatever XLA reports.
    #[track_caller]
    pub fn call(&self, arguments: impl Borrow<A>) -> Result<R> {
        let location = std::panic::Location::caller();
        let arguments = arguments.borrow();
        if trace::is_tracing() {
            let traced = self.trace(arguments).inspect_err(trace::keep_returned)?;
            let inputs = tree::leaves(arguments);
            return call::record_call(traced.func, &traced.captures, &inputs, &traced.output);
        }
        let leaves = tree::leaves(arguments);
        let (compiled, is_tied) = self.find_or_compile(arguments, &leaves, location)?;
        compiled.run(&leaves, is_tied, location)
    }

    /// The program that [`call`](Jit::call) runs for these arguments, after tracing and compiling
    /// it if their types are new. The function is not run, but for
    /// [`autotune`](Jit::autotune).
    ///
    /// # Errors
    /// As [`call`](Jit::call); if an argument is traced.
    #[track_caller]
    pub fn compiled(&self, arguments: impl Borrow<A>) -> Result<Arc<Compiled<A, R>>> {
        let location = std::panic::Location::caller();
        let arguments = arguments.borrow();
        Ok(self.find_or_compile(arguments, &tree::leaves(arguments), location)?.0)
    }

    /// The program for these arguments, and whether they are tied to its device.
    fn find_or_compile(
        &self,
        arguments: &A,
        leaves: &[Tensor],
        location: Location,
    ) -> Result<(Arc<Compiled<A, R>>, bool)> {
        let arrays: Result<Vec<&Arc<Array>>> = leaves.iter().map(trace::concrete).collect();
        let home = arrays.and_then(|arrays| {
            common_device(&arrays.iter().map(|array| &***array).collect::<Vec<_>>())
        });
        let home = home.map_err(|error| error.at(location))?;
        let device = home.clone().map_or_else(Device::default_device, Ok)?;
        let signature = Signature {
            avals: leaves.iter().map(|leaf| leaf.aval().clone()).collect(),
            structure: tree::structure(arguments),
            device: device.clone(),
        };
        let found = self.lock().get(&signature).cloned();
        let compiled = match found {
            Some(compiled) => compiled,
            // The lock is not held here: another thread may compile the same, and the last wins.
            None => {
                let lowered = self.trace_at(arguments, location)?.lower()?;
                let compiled = Arc::new(match self.autotune {
                    true => lowered.compile_fastest(&device, leaves, location)?,
                    false => lowered.compile_for(&device)?,
                });
                self.lock().insert(signature, compiled.clone());
                compiled
            }
        };
        Ok((compiled, home.is_some()))
    }

    /// Traces the closure for arguments of these types; no more. `jax.jit(f).trace`.
    ///
    /// # Errors
    /// The first mistake made in the closure, with its place. That is so even if the closure panics
    /// after it: the shape of what stands for a result that could not be computed is a guess.
    #[track_caller]
    pub fn trace(&self, arguments: impl Borrow<A>) -> Result<Traced<A, R>> {
        self.trace_at(arguments.borrow(), std::panic::Location::caller())
    }

    fn trace_at(&self, arguments: &A, location: Location) -> Result<Traced<A, R>> {
        tree::check(arguments)?;
        let params = prefixed("arg", arguments);
        let donated = self.donated_leaves(arguments).map_err(|error| error.at(location))?;
        let f = |tensors| {
            let arguments = tree::unflatten(arguments, tensors);
            (self.f)(arguments.expect("one tensor for each leaf"))
        };
        let (name, kind) = (&self.name, Kind::Function);
        let traced = trace::try_trace(name, location, kind, self.captures, params.clone(), f)
            .map_err(trace::Panic::into_error)?
            .into_traced()
            .map_err(|error| error.at(location))?;
        Ok(Traced {
            func: traced.func,
            captures: traced.captures,
            output: traced.output,
            donated,
            params,
            structure: tree::structure(arguments),
            arguments: PhantomData,
        })
    }

    /// Traces the closure for arguments of these types and lowers it to HLO; nothing is compiled or
    /// run. `jax.jit(f).lower`.
    ///
    /// # Errors
    /// As [`trace`](Jit::trace), and whatever XLA's builder reports.
    #[track_caller]
    pub fn lower(&self, arguments: impl Borrow<A>) -> Result<Lowered<A, R>> {
        self.trace(arguments)?.lower()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Signature, Arc<Compiled<A, R>>>> {
        // Entries are whole when they are inserted, so a panic of another thread leaves no damage.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The positions of the leaves to donate.
    fn donated_leaves(&self, arguments: &A) -> Result<Vec<usize>> {
        let leaves = tree::leaves_with_paths(arguments);
        let position = |path: &tree::Path| match path.keys().first() {
            Some(Key::Index(index)) if A::IS_TUPLE => *index,
            _ => 0,
        };
        for &wanted in &self.donated {
            if !leaves.iter().any(|(path, _)| position(path) == wanted) {
                return Err(Error::argument(format!(
                    "donate: there is no argument at position {wanted} that has tensors"
                )));
            }
        }
        let donated = |(_, (path, _)): &(usize, &(tree::Path, Tensor))| {
            self.donated.contains(&position(path))
        };
        Ok(leaves.iter().enumerate().filter(donated).map(|(i, _)| i).collect())
    }
}

/// A function that was traced: the IR, before any HLO.
pub struct Traced<A, R> {
    func: Func,
    captures: Vec<Tensor>,
    output: R,
    /// Positions of donated leaves among the arguments.
    donated: Vec<usize>,
    /// The types and names of the arguments.
    params: Vec<(Aval, String)>,
    structure: Structure,
    arguments: PhantomData<fn(A) -> R>,
}

impl<A: Tree, R: Tree> Traced<A, R> {
    /// What was recorded.
    pub fn func(&self) -> &Func {
        &self.func
    }

    /// Lowers the function to HLO with `XlaBuilder`.
    ///
    /// # Errors
    /// Whatever the builder reports.
    pub fn lower(self) -> Result<Lowered<A, R>> {
        let captured = self.captures.len();
        let donated: Vec<usize> = self.donated.iter().map(|i| i + captured).collect();
        let aliases = aliases(&self.func, &donated);
        let simplified = self.func.simplified();
        let fissioned = simplified.fissioned();
        let computation = lower::lower(&fissioned, &aliases)?;
        Ok(Lowered { traced: self, simplified, fissioned, computation, aliases })
    }
}

/// Gives each donated parameter a result of the same type that takes over its memory.
fn aliases(func: &Func, donated: &[usize]) -> Vec<(usize, usize)> {
    let params = func.param_avals();
    let mut free: Vec<Option<Aval>> = func.result_avals().into_iter().map(Some).collect();
    let mut aliases = Vec::new();
    for &param in donated {
        let fits = |result: &Option<Aval>| result.as_ref() == Some(params[param]);
        if let Some(result) = free.iter().position(fits) {
            free[result] = None;
            aliases.push((result, param));
        }
    }
    aliases
}

/// A function that was lowered to HLO and can be looked at or compiled.
pub struct Lowered<A, R> {
    traced: Traced<A, R>,
    simplified: Func,
    fissioned: Func,
    computation: XlaComputation,
    /// Positions of results, and of the parameters whose memory they take over.
    aliases: Vec<(usize, usize)>,
}

impl<A: Tree, R: Tree> Lowered<A, R> {
    /// What was recorded.
    pub fn func(&self) -> &Func {
        &self.traced.func
    }

    /// What was recorded, [simplified](Func::simplified).
    pub fn simplified(&self) -> &Func {
        &self.simplified
    }

    /// What was recorded, simplified and [fissioned](Func::fissioned): the HLO is made of this.
    pub fn fissioned(&self) -> &Func {
        &self.fissioned
    }

    /// The IR as text; large constants are left out.
    pub fn ir(&self) -> String {
        self.ir_with(print::Options::default())
    }

    /// The IR as text, with large constants or with the user's file and line at each equation.
    pub fn ir_with(&self, options: print::Options) -> String {
        print::print(&self.traced.func, options)
    }

    /// The HLO as text, before any pass of XLA.
    ///
    /// # Errors
    /// If XLA cannot print the module.
    pub fn hlo(&self) -> Result<String> {
        self.module()?.text(hlo::TextOptions::default())
    }

    /// The program as StableHLO in MLIR's text form.
    ///
    /// # Errors
    /// If XLA cannot translate the module.
    pub fn stablehlo(&self) -> Result<String> {
        self.module()?.stablehlo()
    }

    /// The `HloModuleProto`, serialized.
    ///
    /// # Errors
    /// If the module is too large for a protocol buffer (2 GiB).
    pub fn hlo_proto(&self) -> Result<Vec<u8>> {
        Ok(self.module()?.proto().to_vec())
    }

    /// The HLO module, before any pass of XLA: to be printed in other forms and looked at.
    ///
    /// # Errors
    /// If the module is too large for a protocol buffer (2 GiB).
    pub fn module(&self) -> Result<hlo::Module> {
        hlo::Module::from_xla(self.computation.proto().to_bytes()?)
    }

    /// What the HLO module consists of and what it costs to run, before any pass of XLA.
    ///
    /// # Errors
    /// As [`module`](Lowered::module).
    pub fn stats(&self) -> Result<hlo::Stats> {
        Ok(self.module()?.stats())
    }

    /// Compiles the program for the [default device](Device::default_device).
    ///
    /// # Errors
    /// If there is no such device; whatever XLA reports.
    pub fn compile(self) -> Result<Compiled<A, R>> {
        self.compile_for(&Device::default_device()?)
    }

    /// Compiles the program for a device. Tensors that were captured are copied there.
    ///
    /// # Errors
    /// Whatever XLA reports.
    pub fn compile_for(self, device: &Device) -> Result<Compiled<A, R>> {
        self.compile_with(device, &XlaOptions::new())
    }

    /// Compiles the program for a device, with options of XLA for this compilation alone. They are
    /// stronger than those of the process.
    ///
    /// # Errors
    /// If XLA does not know an option, does not take its value or reads it for the process only;
    /// whatever else it reports.
    pub fn compile_with(self, device: &Device, options: &XlaOptions) -> Result<Compiled<A, R>> {
        options.check()?;
        let tuning = Tuning::by_model(&self.simplified, &self.fissioned, device);
        self.compile_as(device, tuning.beside(options), options)
    }

    /// Compiles the program in the way that is fastest for these arguments.
    fn compile_fastest(
        self,
        device: &Device,
        leaves: &[Tensor],
        location: Location,
    ) -> Result<Compiled<A, R>> {
        let none = XlaOptions::new();
        let arguments = self.traced.captures.iter().chain(leaves);
        let arguments: Result<Vec<&Array>> =
            arguments.map(|tensor| Ok(&**trace::concrete(tensor)?)).collect();
        let arguments = arguments.map_err(|error| error.at(location))?;
        let search = Search {
            simplified: &self.simplified,
            fissioned: &self.fissioned,
            computation: &self.computation,
            device,
            arguments: &arguments,
            location,
        };
        // Arguments are needed for more than one run, so none is donated yet.
        let (tuning, program) = search
            .run(|tuning| self.executable(device, tuning, &none, &[]))
            .map_err(|error| error.at(location))?;
        match program.filter(|_| self.aliases.is_empty()) {
            Some(executable) => Ok(self.compiled_to(executable, tuning)),
            None => self.compile_as(device, tuning, &none),
        }
    }

    /// Compiles the program in one of several ways.
    pub(crate) fn compile_as(
        self,
        device: &Device,
        tuning: Tuning,
        options: &XlaOptions,
    ) -> Result<Compiled<A, R>> {
        let executable = self.executable(device, tuning, options, &self.aliases)?;
        Ok(self.compiled_to(executable, tuning))
    }

    fn executable(
        &self,
        device: &Device,
        tuning: Tuning,
        options: &XlaOptions,
        aliases: &[(usize, usize)],
    ) -> Result<Executable> {
        let lowered;
        let computation = if tuning.is_without_fission() {
            lowered = lower::lower(&self.simplified, aliases)?;
            &lowered
        } else if aliases != self.aliases {
            lowered = lower::lower(&self.fissioned, aliases)?;
            &lowered
        } else {
            &self.computation
        };
        let options = tuning.options().followed_by(options);
        let results = self.traced.func.result_avals();
        let donated = aliases.iter().map(|alias| alias.1).collect();
        let calls_host = self.traced.func.has_effect();
        Executable::compile(computation, results, donated, device, &options, calls_host)
    }

    fn compiled_to(self, executable: Executable, tuning: Tuning) -> Compiled<A, R> {
        let traced = self.traced;
        Compiled {
            executable,
            tuning,
            captures: traced.captures,
            output: traced.output,
            params: traced.params,
            structure: traced.structure,
            arguments: PhantomData,
        }
    }
}

/// A compiled function for arguments of one type. Many threads can call it at the same time.
pub struct Compiled<A, R> {
    executable: Executable,
    tuning: Tuning,
    captures: Vec<Tensor>,
    output: R,
    /// The types and names of the arguments.
    params: Vec<(Aval, String)>,
    structure: Structure,
    arguments: PhantomData<fn(A) -> R>,
}

impl<A: Tree, R: Tree> Compiled<A, R> {
    /// The device that the program runs on.
    pub fn device(&self) -> &Device {
        self.executable.device()
    }

    /// How the program was compiled, where there was a choice.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Runs the program. The results stay on its device until they are read.
    ///
    /// # Errors
    /// If the types of the arguments are not those it was compiled for, or if one is tied to
    /// another device; whatever XLA reports.
    #[track_caller]
    pub fn call(&self, arguments: impl Borrow<A>) -> Result<R> {
        let location = std::panic::Location::caller();
        let arguments = arguments.borrow();
        tree::check(arguments)?;
        let leaves = tree::leaves(arguments);
        if let Some(traced) = leaves.iter().find(|leaf| leaf.is_traced()) {
            return Err(Error::argument(format!(
                "a compiled function runs at once, but a traced tensor of type {} was given: call \
                 the `Jit` where something is traced",
                traced.aval(),
            ))
            .at(location));
        }
        let fits = leaves.len() == self.params.len()
            && leaves.iter().zip(&self.params).all(|(leaf, (aval, _))| leaf.aval() == aval)
            && tree::structure(arguments) == self.structure;
        if !fits {
            return Err(self.misfit(arguments).at(location));
        }
        self.check_devices(&leaves).map_err(|error| error.at(location))?;
        self.run(&leaves, true, location)
    }

    /// Checks that what is tied to a device is tied to this one.
    fn check_devices(&self, leaves: &[Tensor]) -> Result<()> {
        for (leaf, (_, name)) in leaves.iter().zip(&self.params) {
            self.executable.check_device(trace::concrete(leaf)?, "function", name)?;
        }
        Ok(())
    }

    /// What tells `arguments` from those the function was compiled for.
    fn misfit(&self, arguments: &A) -> Error {
        let given = prefixed("arg", arguments);
        let find = |leaves: &[(Aval, String)], wanted: &str| {
            let found = leaves.iter().find(|(_, name)| name == wanted);
            found.map_or("nothing".to_owned(), |(aval, _)| aval.to_string())
        };
        let added = given.iter().filter(|(_, name)| self.params.iter().all(|(_, n)| n != name));
        let mut lines = String::new();
        for (_, name) in self.params.iter().chain(added) {
            let (compiled, given) = (find(&self.params, name), find(&given, name));
            if compiled != given {
                lines += &format!("\n  {name}: {compiled} compiled, {given} given");
            }
        }
        if lines.is_empty() {
            lines += "\n  arg: the static fields differ";
        }
        Error::argument(format!(
            "a compiled function takes the types it was compiled for, but:{lines}\n  call the `Jit` \
             instead: it compiles for new types"
        ))
    }

    /// The HLO module that the backend runs, after XLA's passes.
    ///
    /// # Errors
    /// If the backend does not give it.
    pub fn optimized(&self) -> Result<hlo::Module> {
        hlo::Module::from_xla(self.executable.program().optimized_module()?)
    }

    /// The HLO that the backend runs, after XLA's passes, as text with short constants.
    ///
    /// # Errors
    /// As [`optimized`](Compiled::optimized).
    pub fn optimized_hlo(&self) -> Result<String> {
        self.optimized()?.text(hlo::TextOptions::default())
    }

    /// The memory that the program needs, where the backend tells.
    pub fn memory(&self) -> Option<Memory> {
        self.executable.program().memory()
    }

    fn run(&self, leaves: &[Tensor], is_tied: bool, location: Location) -> Result<R> {
        let arrays: Result<Vec<&Array>> =
            self.captures.iter().chain(leaves).map(|t| Ok(&**trace::concrete(t)?)).collect();
        let results = arrays.and_then(|arrays| self.executable.run(&arrays, is_tied, location));
        tree::unflatten(&self.output, results.map_err(|error| error.at(location))?)
    }
}
