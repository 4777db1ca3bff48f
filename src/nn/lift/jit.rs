//! `nn::jit`: a compiled function that changes a module.

use std::borrow::Borrow;

use super::{Applied, Part, write_back};
use crate::error::Result;
use crate::jit as core;
use crate::stages::Lowered;
use crate::tree::Tree;

/// Makes a compiled function of one that takes a module and an argument and may change the module;
/// `nnx.jit`.
///
/// The module is an argument of the program: other weights need no new compilation. What the
/// function changed is written back; the other leaves are not returned by the program at all.
/// Several modules are a tuple.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let mut dropout = nn::Dropout::new(&mut nn::Rngs::new(0), 0.5);
/// let run = nn::jit(|dropout: &mut nn::Dropout, x: Tensor| dropout.call(&x));
/// let x = Tensor::ones([8], DType::F32);
/// let first = run.call(&mut dropout, &x)?;
/// let second = run.call(&mut dropout, &x)?;
/// assert_ne!(first.to_vec::<f32>()?, second.to_vec::<f32>()?);
/// assert_eq!(dropout.rngs.count.item::<u32>()?, 2);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
#[allow(clippy::type_complexity, reason = "the type says what the function takes and gives")]
pub fn jit<M: Tree, A: Tree, R: Tree>(
    f: impl Fn(&mut M, A) -> R,
) -> Jit<M, A, R, impl Fn((M, A)) -> (R, Part<M>)> {
    let call = ("nn::jit", std::panic::Location::caller());
    let rule = "the function must not change the type of the module, but it does";
    let function = move |(module, arguments): (M, A)| {
        let applied = Applied::of(call, rule, module, |module| f(module, arguments));
        (applied.result, Part { module: applied.module, chosen: applied.changed })
    };
    Jit(core::jit(function))
}

/// A function of a module that was lowered: it gives its result, and what it changed in the module.
pub type LoweredStep<M, A, R> = Lowered<(M, A), (R, Part<M>)>;

/// A function that [`jit`] made. It can be shared between threads if the closure can.
pub struct Jit<M, A, R, F>(core::Jit<(M, A), (R, Part<M>), F>);

impl<M: Tree, A: Tree, R: Tree, F: Fn((M, A)) -> (R, Part<M>)> Jit<M, A, R, F> {
    /// The name of the program; see [`onetrace::Jit::name`](crate::Jit::name).
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Jit(self.0.name(name))
    }

    /// Passes what the closure captures as arguments; see
    /// [`onetrace::Jit::captures_as_arguments`](crate::Jit::captures_as_arguments).
    #[must_use]
    pub fn captures_as_arguments(self) -> Self {
        Jit(self.0.captures_as_arguments())
    }

    /// Runs the function, and writes into `module` what it changed.
    ///
    /// # Errors
    /// As [`onetrace::Jit::call`](crate::Jit::call), and if the function changes the tree of the
    /// module or the types of its leaves. The module then is as it was.
    #[track_caller]
    pub fn call(&self, module: &mut M, arguments: impl Borrow<A>) -> Result<R> {
        let inputs = (module.clone(), arguments.borrow().clone());
        let (result, changed) = self.0.call(inputs)?;
        write_back(module, changed.leaves());
        Ok(result)
    }

    /// Traces the function for arguments of these types and lowers it to HLO; see
    /// [`onetrace::Jit::lower`](crate::Jit::lower).
    ///
    /// # Errors
    /// As [`call`](Jit::call), before anything is compiled.
    #[track_caller]
    pub fn lower(&self, module: &M, arguments: impl Borrow<A>) -> Result<LoweredStep<M, A, R>> {
        self.0.lower((module.clone(), arguments.borrow().clone()))
    }
}
