//! `nn::scan`: a loop whose step changes a module.

use super::axes::{LeafAxis, Plan, StateAxes, StateAxis, check_broadcast};
use super::{Applied, Filter, Part, with_leaves, write_back};
use crate::error::Result;
use crate::ops::checkpoint::Checkpoint;
use crate::ops::control::Pure;
use crate::ops::scan as core;
use crate::ops::scan::unroll::Unroll;
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::{self, Key, Node, Path, Tree};

/// Runs `f` over the leading axis of `xs`, carrying a state along, and lets every step change
/// `module`; `nnx.scan`.
///
/// State (batch statistics, counters, streams of keys) goes from each step to the next, and
/// `module` has that of the last one afterwards. Everything else, the parameters in particular, is
/// the same at every step, and may not be changed by it. More can be said with [`Scan`].
///
/// A mistake comes out where the results do, and `module` then is as it was: those of
/// [`scan`](crate::scan), and a step that changes the tree of the module or what it may not change.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// #[derive(Clone, Tree)]
/// struct Counted {
///     dense: nn::Linear,
///     dropout: nn::Dropout,
///     #[tree(state)]
///     steps: Tensor,
/// }
/// let rngs = &mut nn::Rngs::new(0);
/// let mut model = Counted {
///     dense: nn::Linear::new(rngs, 3, 3),
///     dropout: nn::Dropout::new(rngs, 0.5),
///     steps: Tensor::scalar(0, DType::I32),
/// };
/// let step = |model: &mut Counted, h: Tensor, x: Tensor| {
///     model.steps = &model.steps + 1;
///     let h = model.dropout.call(&model.dense.call(&(h + x)).tanh()); // a key for each step
///     (h.clone(), h)
/// };
/// let (h, _) = nn::scan(step, &mut model, Tensor::zeros([3], DType::F32), Tensor::ones([7, 3], DType::F32));
/// assert_eq!(h.shape(), [3]);
/// assert_eq!(model.steps.item::<i32>()?, 7);
/// assert_eq!(model.dropout.rngs.count.item::<u32>()?, 7);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn scan<M: Tree, C: Tree, X: Tree, Y: Tree>(
    f: impl FnOnce(&mut M, C, X) -> (C, Y) + Pure,
    module: &mut M,
    init: C,
    xs: X,
) -> (C, Y) {
    Scan::new().run(f, module, init, xs)
}

/// A [`scan`] of which more is said: what is done with each leaf of the module, and what
/// [`onetrace::Scan`](crate::Scan) takes.
///
/// # Examples
/// Eight layers as one loop, over parameters that are stacked along axis 0:
/// ```
/// use onetrace::nn::{Filter, StateAxis};
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let make = |rngs: &mut nn::Rngs, ()| (nn::Linear::new(rngs, 4, 4), nn::Dropout::new(rngs, 0.1));
/// let mut layers = nn::Vmap::new().axis_size(8).split_rngs(Filter::All).run(make, rngs, ());
/// assert_eq!(layers.0.kernel.shape(), [8, 4, 4]);
///
/// let layer = |(dense, dropout): &mut (nn::Linear, nn::Dropout), x: Tensor, ()| {
///     (dropout.call(&dense.call(&x).relu()), ())
/// };
/// let deep = nn::Scan::new().state_axes(StateAxis::Axis(0));
/// let (y, ()) = deep.run(layer, &mut layers, Tensor::ones([2, 4], DType::F32), ());
/// assert_eq!(y.shape(), [2, 4]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a scan does nothing until it is run"]
pub struct Scan {
    scan: core::Scan,
    length: Option<usize>,
    axes: StateAxes,
    split: Option<Filter>,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan::new()
    }
}

impl Scan {
    /// A scan forwards that carries the state of the module.
    pub fn new() -> Scan {
        let scan = core::Scan::on_behalf_of("nn::scan");
        Scan { scan, length: None, axes: StateAxes::from([]), split: None }
    }

    /// What is done with each leaf of the module. By default, and where no rule matches, state is
    /// carried and everything else is broadcast.
    pub fn state_axes(mut self, axes: impl Into<StateAxes>) -> Scan {
        self.axes = axes.into();
        self
    }

    /// Splits the streams of keys that this matches: a key is drawn from each and split into one
    /// for every step, whatever is said by [`state_axes`](Scan::state_axes). Afterwards the stream
    /// is as after that one draw. `nnx.split_rngs`.
    pub fn split_rngs(mut self, streams: Filter) -> Scan {
        self.split = Some(streams);
        self
    }

    /// The number of steps; see [`onetrace::Scan::length`](crate::Scan::length).
    pub fn length(mut self, length: usize) -> Scan {
        self.length = Some(length);
        self.scan = self.scan.length(length);
        self
    }

    /// Whether to go from the last step to the first, for the leaves of the module with an axis,
    /// too; see [`onetrace::Scan::reverse`](crate::Scan::reverse).
    pub fn reverse(mut self, reverse: bool) -> Scan {
        self.scan = self.scan.reverse(reverse);
        self
    }

    /// How many steps one iteration makes; see [`onetrace::Scan::unroll`](crate::Scan::unroll).
    pub fn unroll(mut self, unroll: impl Into<Unroll>) -> Scan {
        self.scan = self.scan.unroll(unroll);
        self
    }

    /// What reverse mode keeps; see [`onetrace::Scan::checkpoint`](crate::Scan::checkpoint).
    pub fn checkpoint(mut self, checkpoint: Checkpoint) -> Scan {
        self.scan = self.scan.checkpoint(checkpoint);
        self
    }

    /// Shows how many steps have been made; see
    /// [`onetrace::Scan::progress`](crate::Scan::progress).
    pub fn progress(mut self, label: &str) -> Scan {
        self.scan = self.scan.progress(label);
        self
    }

    /// Runs `f` over `xs`; see [`scan`].
    #[track_caller]
    pub fn run<M: Tree, C: Tree, X: Tree, Y: Tree>(
        self,
        f: impl FnOnce(&mut M, C, X) -> (C, Y) + Pure,
        module: &mut M,
        init: C,
        xs: X,
    ) -> (C, Y) {
        let call = ("nn::scan", std::panic::Location::caller());
        let (plan, mistake) = match self.plan(module, &xs) {
            Ok(plan) => (plan, None),
            // The loop is traced all the same, for the trees that it returns.
            Err(error) => (Plan::nothing(module), Some(poison(error.at(call.1), &[]))),
        };
        let carried: Vec<bool> = plan.axes.iter().map(|&axis| axis == LeafAxis::Carry).collect();
        let prepared = plan.prepared(module);
        let init = Carried {
            part: Part { module: prepared.clone(), chosen: carried.clone() },
            carry: init,
            mistake,
        };
        let sliced = Part { module: prepared, chosen: plan.sliced() };
        let steps = Carried { part: sliced, carry: xs, mistake: None };
        let axes = plan.axes.clone();
        let step = |before: Carried<M, C>, step: Carried<M, X>| {
            let module = with_leaves(&before.part.module, step.part.leaves());
            let rule = "the module must have the same type before and after a step, but it changes";
            let applied =
                Applied::of(call, rule, module, |module| f(module, before.carry, step.carry));
            let advice = "carry it (mark the field #[tree(state)], or give it StateAxis::Carry), or \
                          give it an axis";
            let kept = ("step", advice);
            let checked = check_broadcast(call.0, kept, &applied.module, &axes, &applied.changed);
            if let Err(error) = checked {
                poison(error.at(call.1), &[]);
            }
            let stacked = Plan::stacked(&axes, &applied.changed);
            let (carry, y) = applied.result;
            let part = Part { module: applied.module.clone(), chosen: carried };
            let changed = Part { module: applied.module, chosen: stacked };
            let mistake = before.mistake;
            (Carried { part, carry, mistake }, Carried { part: changed, carry: y, mistake: None })
        };
        let (last, ys) = self.scan.run(step, init, steps);
        let leaves = last.part.leaves().into_iter().zip(ys.part.leaves());
        let leaves: Vec<Option<Tensor>> = leaves.map(|(last, ys)| last.or(ys)).collect();
        // A mistake may be in what no leaf of the module depends on.
        if tree::check(&last).and(tree::check(&ys)).is_ok() {
            write_back(module, plan.results(leaves));
        }
        (last.carry, ys.carry)
    }

    #[track_caller]
    fn plan<M: Tree, X: Tree>(&self, module: &M, xs: &X) -> Result<Plan> {
        let otherwise =
            |path: &Path| if path.is_state() { StateAxis::Carry } else { StateAxis::Broadcast };
        let axes = self.axes.of_leaves("nn::scan", module, self.split.as_ref(), otherwise)?;
        let first = tree::leaves(xs).first().and_then(|leaf| leaf.shape().first().copied());
        let size = self.length.or(first).or_else(|| Plan::first_size(module, &axes));
        Plan::of("nn::scan", module, axes, size)
    }
}

/// A part of a module beside what the user's function takes or returns: its paths are in `module`,
/// and those of the other are as they would be without it.
#[derive(Clone)]
struct Carried<M, C> {
    part: Part<M>,
    carry: C,
    /// A tensor with the mistake, if one was made on the way here.
    mistake: Option<Tensor>,
}

impl<M: Tree, C: Tree> Tree for Carried<M, C> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        path.with(Key::Field("module"), |path| self.part.visit(path, f));
        self.carry.visit(path, f);
        path.with(Key::Field("mistake"), |path| self.mistake.visit(path, f));
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        Carried {
            part: path.with(Key::Field("module"), |path| self.part.map(path, f)),
            carry: self.carry.map(path, f),
            mistake: path.with(Key::Field("mistake"), |path| Tree::map(&self.mistake, path, f)),
        }
    }
}
