//! `nn::vmap`: a function of a module becomes one of a batch of modules.

use super::axes::{LeafAxis, Plan, StateAxes, StateAxis, check_broadcast};
use super::{Applied, Filter, Part, write_back};
use crate::batch_axes::{BatchAxes, SAME, Sizes};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::{self, Tree};
use crate::vmap as core;

/// Runs `f` for each module of a batch and each of as many arguments, and lets it change its
/// module; `nnx.vmap`.
///
/// The modules are one whose leaves all have the members along axis 0, and so have the arguments
/// and the results. For options see [`Vmap`]. Where one module serves all examples of a batch,
/// [`vmap`](crate::vmap) is enough.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let make = |rngs: &mut nn::Rngs, ()| nn::Linear::new(rngs, 3, 2);
/// let streams = nn::Filter::All;
/// let mut ensemble =
///     nn::Vmap::new().axis_size(5).split_rngs(streams).run(make, &mut nn::Rngs::new(0), ());
/// assert_eq!(ensemble.kernel.shape(), [5, 3, 2]);
/// let xs = Tensor::ones([5, 3], DType::F32);
/// let ys = nn::vmap(|layer: &mut nn::Linear, x: Tensor| layer.call(&x), &mut ensemble, xs);
/// assert_eq!(ys.shape(), [5, 2]);
/// ```
#[track_caller]
pub fn vmap<M: Tree, A: Tree, R: Tree>(
    f: impl FnOnce(&mut M, A) -> R,
    module: &mut M,
    arguments: A,
) -> R {
    Vmap::new().run(f, module, arguments)
}

/// A [`vmap`] with options. See there.
#[derive(Clone, Debug)]
#[must_use = "a vmap does nothing until it is run"]
pub struct Vmap {
    axes: StateAxes,
    split: Option<Filter>,
    in_axes: BatchAxes,
    out_axes: BatchAxes,
    size: Option<usize>,
}

impl Default for Vmap {
    fn default() -> Vmap {
        Vmap::new()
    }
}

impl Vmap {
    /// Members along the first axis of the module, the arguments and the results.
    pub fn new() -> Vmap {
        Vmap {
            axes: StateAxis::Axis(0).into(),
            split: None,
            in_axes: 0.into(),
            out_axes: 0.into(),
            size: None,
        }
    }

    /// What is done with each leaf of the module; axis 0 where no rule matches. What is broadcast
    /// may not be changed, and nothing can be carried.
    pub fn state_axes(mut self, axes: impl Into<StateAxes>) -> Vmap {
        self.axes = axes.into();
        self
    }

    /// Splits the streams of keys that this matches: a key is drawn from each and split into one
    /// for every member, whatever is said by [`state_axes`](Vmap::state_axes). Afterwards the
    /// stream is as after that one draw. `nnx.split_rngs`.
    pub fn split_rngs(mut self, streams: Filter) -> Vmap {
        self.split = Some(streams);
        self
    }

    /// The axes of the arguments; see [`onetrace::Vmap::in_axes`](crate::Vmap::in_axes).
    pub fn in_axes(mut self, axes: impl Into<BatchAxes>) -> Vmap {
        self.in_axes = axes.into();
        self
    }

    /// The axes of the results; see [`onetrace::Vmap::out_axes`](crate::Vmap::out_axes).
    pub fn out_axes(mut self, axes: impl Into<BatchAxes>) -> Vmap {
        self.out_axes = axes.into();
        self
    }

    /// The number of members. Needed where nothing has an axis for them; otherwise it must agree.
    pub fn axis_size(mut self, size: usize) -> Vmap {
        self.size = Some(size);
        self
    }

    /// Runs `f` for each member; see [`vmap`].
    #[track_caller]
    pub fn run<M: Tree, A: Tree, R: Tree>(
        self,
        f: impl FnOnce(&mut M, A) -> R,
        module: &mut M,
        arguments: A,
    ) -> R {
        let call = ("nn::vmap", std::panic::Location::caller());
        let (plan, mistake) = match self.plan(module, &arguments) {
            Ok(plan) => (plan, None),
            // The function is traced all the same, for the tree that it returns.
            Err(error) => (Plan::nothing(module), Some(poison(error.at(call.1), &[]))),
        };
        let members = Part { module: plan.prepared(module), chosen: plan.sliced() };
        let mut vmap = core::Vmap::new()
            .in_axes((BatchAxes::from(0), self.in_axes, SAME))
            .out_axes((self.out_axes, BatchAxes::from(0)));
        if let Some(size) = self.size {
            vmap = vmap.axis_size(size);
        }
        let member = |(member, arguments, _): (Part<M>, A, Option<Tensor>)| {
            let rule = "the function must not change the type of the module, but it does";
            let applied = Applied::of(call, rule, member.module, |module| f(module, arguments));
            let kept = ("member", "give it an axis");
            let (axes, changed) = (&plan.axes, &applied.changed);
            if let Err(error) = check_broadcast(call.0, kept, &applied.module, axes, changed) {
                poison(error.at(call.1), &[]);
            }
            let stacked = Plan::stacked(axes, changed);
            (applied.result, Part { module: applied.module, chosen: stacked })
        };
        let (results, changed) = vmap.run_at(call.1, member, (members, arguments, mistake));
        if tree::check(&results).and(tree::check(&changed)).is_ok() {
            write_back(module, plan.results(changed.leaves()));
        }
        results
    }

    #[track_caller]
    fn plan<M: Tree, A: Tree>(&self, module: &M, arguments: &A) -> Result<Plan> {
        let otherwise = |_: &tree::Path| StateAxis::Axis(0);
        let axes = self.axes.of_leaves("nn::vmap", module, self.split.as_ref(), otherwise)?;
        if axes.contains(&LeafAxis::Carry) {
            return Err(Error::argument(
                "nn::vmap: StateAxis::Carry is for steps that follow one another: the members of a \
                 batch do not; give the leaves an axis",
            ));
        }
        let of_arguments = || {
            let axes = self.in_axes.of_arguments("nn::vmap", arguments).ok()?;
            Sizes::of(arguments, &axes).first()
        };
        let size = self.size.or_else(|| Plan::first_size(module, &axes)).or_else(of_arguments);
        Plan::of("nn::vmap", module, axes, size)
    }
}
