//! Collectives: values of all devices that run a program at the same time, folded into one; what
//! [`pmap`](crate::pmap()) runs calls them.

use std::cell::RefCell;

use xla::XlaOp;

use super::control::result_tree;
use super::reduce::Fold;
use super::{Op, Operation, composed, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ir::{Equation, Func};
use crate::lower::Lowering;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::tree::{self, Tree};

operation! {
    /// The sum, maximum or minimum, element by element, of what the replicas of the program have.
    /// All of them get it. HLO's `all-reduce`.
    struct AllReduce = "all_reduce" { kind: Fold }
}

impl Operation for AllReduce {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let kind = self.kind.name();
        if !matches!(self.kind, Fold::Sum | Fold::Max | Fold::Min) {
            return Err(Error::argument(format!(
                "all_reduce: the kind must be sum, max or min, but it is {kind}"
            )));
        }
        if !self.kind.domain().contains(x.dtype) {
            let wanted = self.kind.domain().describe();
            return Err(Error::dtype(format!(
                "p{kind}: the operand must have {wanted}, but it is {x}; convert it with `astype`"
            )));
        }
        Ok(vec![x.clone()])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let computation = self.kind.computation(outputs[0].dtype)?;
        Ok(vec![inputs[0].all_reduce(&computation)?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        if self.kind != Fold::Sum {
            return Err(Error::argument(format!(
                "p{}: there is no derivative of the {0} over devices: give it a value that \
                 `stop_gradient` was applied to",
                self.kind.name(),
            )));
        }
        rules::linear_jvp(self, 1, primals, tangents)
    }

    /// What each replica has is a part of what all of them get, so that its cotangent is the sum of
    /// theirs.
    fn transpose(&self, cts: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        if self.kind != Fold::Sum {
            return Err(not_linear("all_reduce"));
        }
        Ok(vec![cts[0].as_ref().map(|ct| record_one(self.clone(), &[ct]))])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    fn varies(&self, _: &[bool], _: usize) -> Result<Vec<bool>> {
        Ok(vec![false])
    }
}

/// Whether there is a collective in `func`.
pub(super) fn is_in(func: &Func) -> bool {
    let is_one = |equation: &Equation| matches!(equation.op, Op::AllReduce(_));
    func.equations().iter().any(|e| is_one(e) || e.regions().into_iter().any(is_in))
}

/// The error of a collective in a `place` that not all devices come to.
pub(super) fn not_met(place: &str) -> Error {
    Error::argument(format!(
        "pmap: all devices must come to a collective (psum, pmean, pmax, pmin) together, but there is \
         one in {place}: what decides depends on arguments with an axis or on `axis_index`. Let the \
         result of a collective decide, or call the collective outside"
    ))
}

/// The devices that a program being traced is for.
struct Replicas {
    count: usize,
    /// The number of the device, which is an argument of the program.
    index: Tensor,
}

thread_local! {
    static REPLICAS: RefCell<Option<Replicas>> = const { RefCell::new(None) };
}

/// Runs `f`, which traces a program that `count` devices run at the same time, each with its number
/// as `index`.
pub(crate) fn in_replicas<R>(count: usize, index: Tensor, f: impl FnOnce() -> R) -> R {
    /// Forgets the devices even if `f` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            REPLICAS.set(None);
        }
    }

    REPLICAS.set(Some(Replicas { count, index }));
    let _guard = Guard;
    f()
}

/// What `f` makes of the devices, inside of a `pmap`.
fn of_replicas<R>(what: &str, f: impl FnOnce(&Replicas) -> R) -> Result<R> {
    REPLICAS.with_borrow(|replicas| match replicas {
        Some(replicas) => Ok(f(replicas)),
        None => Err(Error::argument(format!(
            "{what}: it is for several devices that run a function together, and there is one: call it \
             in the function that a `pmap` runs"
        ))),
    })
}

/// The sum, over all devices of a [`pmap`](crate::pmap()), of each tensor of a tree: every device
/// gets it. Numbers, element by element; `jax.lax.psum`.
///
/// It is linear, and the cotangent of what one device gives is the sum of the cotangents on all of
/// them, as in JAX: gradients are those of the sum of what all devices return.
///
/// All devices must come to it together. It may stand in a branch or in a loop, if what decides on
/// the branch or on the number of steps is the same on all devices; otherwise some would wait
/// forever, and so it is an error.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::{pmap, psum};
/// # onetrace::XlaOptions::new().cpu_devices(2).apply()?;
/// let share = pmap(|x: Tensor| &x / psum(x.clone()));
/// let x = Tensor::new(&[1.0f32, 3.0], [2]); // a number for each of two devices
/// assert_eq!(share.call(x)?.to_vec::<f32>()?, [0.25, 0.75]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn psum<T: Tree>(tree: T) -> T {
    all_reduce("psum", Fold::Sum, tree)
}

/// The largest of what the devices of a [`pmap`](crate::pmap()) have, element by element, for each
/// tensor of a tree; `jax.lax.pmax`. It has no derivative. See [`psum`].
#[track_caller]
pub fn pmax<T: Tree>(tree: T) -> T {
    all_reduce("pmax", Fold::Max, tree)
}

/// The smallest of what the devices of a [`pmap`](crate::pmap()) have, element by element, for each
/// tensor of a tree; `jax.lax.pmin`. It has no derivative. See [`psum`].
#[track_caller]
pub fn pmin<T: Tree>(tree: T) -> T {
    all_reduce("pmin", Fold::Min, tree)
}

/// The mean, over all devices of a [`pmap`](crate::pmap()), of each tensor of a tree: [`psum`]
/// divided by their number. Floats; `jax.lax.pmean`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// use onetrace::{SAME, pmap, pmean};
/// # onetrace::XlaOptions::new().cpu_devices(2).apply()?;
/// // Each device has half of the examples; the gradient is that for all of them.
/// let loss = |w: Tensor, x: &Tensor| (w * x).square().mean(..);
/// let slope = pmap(|(w, x): (Tensor, Tensor)| pmean(grad(|w| loss(w, &x))(w)))
///     .in_axes((SAME, 0))
///     .out_axes(SAME);
/// let (w, x) = (Tensor::scalar(1.0, DType::F32), Tensor::arange(4, DType::F32));
/// let slope = slope.call((w.clone(), x.reshape([2, 2])))?;
/// assert_eq!(slope.item::<f32>()?, grad(|w| loss(w, &x))(w).item::<f32>()?);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn pmean<T: Tree>(tree: T) -> T {
    let checked = of_replicas("pmean", |replicas| replicas.count).and_then(|count| {
        let leaves = tree::leaves_with_paths(&tree);
        match leaves.iter().find(|(_, leaf)| leaf.check().is_ok() && !leaf.dtype().is_float()) {
            Some((_, leaf)) => Err(Error::dtype(format!(
                "pmean: the operand must have a floating dtype, but it is {}; convert it with \
                 `astype`",
                leaf.aval(),
            ))),
            None => Ok(count),
        }
    });
    match checked {
        Ok(count) => {
            composed("pmean", tree, |tree| tree::map(&psum(tree), |sum| sum / count as f64))
        }
        Err(error) => result_tree(Err(error), &tree),
    }
}

/// The number of the device that runs the function of a [`pmap`](crate::pmap()), counted from 0 in
/// the order of its devices: `i32[]`; `jax.lax.axis_index`.
#[track_caller]
pub fn axis_index() -> Tensor {
    match of_replicas("axis_index", |replicas| replicas.index.clone()) {
        Ok(index) => index,
        Err(error) => {
            let error = poison(error, &[]);
            super::control::retyped(&error, Aval::scalar(DType::I32))
        }
    }
}

#[track_caller]
fn all_reduce<T: Tree>(what: &str, kind: Fold, tree: T) -> T {
    if let Err(error) = of_replicas(what, |_| ()) {
        return result_tree(Err(error), &tree);
    }
    let mut reduced = Vec::new();
    for leaf in tree::leaves(&tree) {
        reduced.push(record_one(AllReduce { kind }, &[&leaf]));
    }
    result_tree(Ok(reduced), &tree)
}
