//! `jit`: a closure becomes a program that XLA compiles, once for each type of its arguments.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use crate::aval::Aval;
use crate::device::Device;
use crate::error::{Error, Location, Result};
use crate::execute::common_device;
use crate::ops::call;
use crate::ops::control::prefixed;
use crate::stages::{Compiled, Lowered, Traced};
use crate::tensor::Tensor;
use crate::trace::{self, Captures, Kind};
use crate::tree::{self, Key, Structure, Tree};
use crate::tuning::Kernels;

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
        kernels: Kernels::All,
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
    kernels: Kernels,
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
    /// of arguments compiles up to five programs and runs each of them many times on these
    /// arguments, for a third of a second at most for each unless a single run takes longer. The
    /// fastest one is used from then on; what there is a choice of, [`Tuning`](crate::Tuning) says.
    /// Values are the same but for the order of sums, so that two machines may differ in the last
    /// digits.
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

    /// Compiles the function for the kernels of XLA alone. Otherwise a loop on a CPU calls a kernel
    /// of this library where it multiplies with a matrix that is the same at every step, and that
    /// kernel was measured to be faster; sums are associated in another way then.
    ///
    /// # Examples
    /// ```
    /// # use onetrace::prelude::*;
    /// let w = Tensor::ones([64, 64], DType::F32);
    /// let step = |h: Tensor, x: Tensor| ((h.dot(&w) + x).tanh(), ());
    /// let last = |xs: Tensor| scan(step, Tensor::zeros([16, 64], DType::F32), xs).0;
    /// let xs = Tensor::ones([100, 16, 64], DType::F32);
    /// let program = jit(last).xla_only().lower(&xs)?.compile()?;
    /// assert!(!program.optimized_hlo()?.contains("custom-call"));
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[must_use]
    pub fn xla_only(mut self) -> Self {
        self.kernels = Kernels::Xla;
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
        let home = trace::arrays(leaves).and_then(|arrays| common_device(&arrays));
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
            kernels: self.kernels,
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
