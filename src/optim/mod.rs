//! Optimisers as in optax: the same names, arguments, defaults and numbers.
//!
//! A [`GradientTransformation`] makes updates of gradients, and keeps what it must remember in a
//! state that is a tree: it can be the carry of a scan, an argument of a compiled function, or
//! saved to a file. The gradient of a model is a model, and so are its updates and its moments.
//!
//! ```
//! use onetrace::prelude::*;
//!
//! let model = nn::Linear::new(&mut nn::Rngs::new(0), 2, 1);
//! let schedule = optim::warmup_cosine_decay_schedule(0.0, 0.1, 10, 100);
//! let optimizer =
//!     optim::chain((optim::clip_by_global_norm(1.0), optim::adamw(schedule).weight_decay(1e-3)));
//!
//! let x = random::normal(&random::key(1), [64, 2], DType::F32);
//! let y = x.sum(-1).reshape([64, 1]);
//! let loss = |model: nn::Linear| (model.call(&x) - &y).square().mean(..);
//!
//! // The whole training is one program, with one While loop.
//! let train = jit(|model: nn::Linear| {
//!     let step = |(model, state): (nn::Linear, _), ()| {
//!         let (loss, grads) = value_and_grad(loss)(model.clone());
//!         let (updates, state) = optimizer.update(grads, state, &model);
//!         ((optim::apply_updates(model, updates), state), loss)
//!     };
//!     let start = (model.clone(), optimizer.init(&model));
//!     let ((model, _), losses) = Scan::new().length(100).run(step, start, ());
//!     (model, losses)
//! });
//! let (_model, losses) = train.call(&model)?;
//! let losses = losses.to_vec::<f32>()?;
//! assert!(losses[99] < 0.05 * losses[0]);
//! # Ok::<(), onetrace::Error>(())
//! ```
//!
//! A learning rate is a number, a [`Schedule`] or a scalar tensor. What a number may not be, such
//! as a negative learning rate, is a mistake that comes out where the updates do.
//!
//! Leaves that are not parameters are left alone: they have no moments, and their values stay what
//! they are. [`tree::is_parameter`](crate::tree::is_parameter) says which leaves are parameters.

mod adaptive;
mod aliases;
mod chain;
mod check;
mod clip;
mod leaves;
mod scale;
mod schedule;
mod trace;
mod weight_decay;

pub use adaptive::{
    ScaleByAdam, ScaleByAdamState, ScaleByRms, ScaleByRmsState, ScaleByRss, ScaleByRssState,
    scale_by_adam, scale_by_rms, scale_by_rss, scale_by_stddev,
};
pub use aliases::{Adagrad, Adam, AdamW, RmsProp, Sgd, adagrad, adam, adamw, rmsprop, sgd};
pub use chain::{Chain, Transformations, chain};
pub use clip::{Clip, ClipByGlobalNorm, clip, clip_by_global_norm, global_norm};
pub use scale::{CountState, ScaleByLearningRate, scale_by_learning_rate};
pub use schedule::{
    CosineDecay, ExponentialDecay, FromFn, Joined, Piecewise, Polynomial, Schedule,
    WarmupCosineDecay, cosine_decay_schedule, exponential_decay, from_fn, join_schedules,
    linear_schedule, piecewise_constant_schedule, polynomial_schedule,
    warmup_cosine_decay_schedule,
};
pub use trace::{Trace, TraceState, trace};
pub use weight_decay::{AddDecayedWeights, add_decayed_weights};

use crate::error::Result;
use crate::ops::call::composite;
use crate::ops::control::result_tree;
use crate::tree::Tree;

/// Makes updates of gradients, or of the updates of another transformation;
/// `optax.GradientTransformation`.
///
/// It works in any trace, and outside of one as a program of its own. Updates have the type of the
/// parameters.
pub trait GradientTransformation {
    /// What is remembered from step to step for parameters of type `P`.
    type State<P: Tree>: Tree;

    /// The state before the first step.
    fn init<P: Tree>(&self, params: &P) -> Self::State<P>;

    /// The updates and the next state, or the mistake that was made. What calls it is
    /// [`update`](GradientTransformation::update); what is given here is what a transformation is.
    ///
    /// # Errors
    /// If a number of the transformation is out of range, or the state is that of other parameters.
    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: Self::State<P>,
        params: &P,
    ) -> Result<(P, Self::State<P>)>;

    /// The updates, to be [applied](apply_updates) to `params`, and the state for the next step.
    ///
    /// Fails if the gradients have not the type of the parameters, if the state is that of other
    /// parameters, and if a number of the transformation is out of range.
    #[track_caller]
    fn update<P: Tree>(
        &self,
        updates: P,
        state: Self::State<P>,
        params: &P,
    ) -> (P, Self::State<P>) {
        let location = std::panic::Location::caller();
        composite("update", (updates, state, params.clone()), |(updates, state, params)| {
            let template = (updates.clone(), state.clone());
            let checked = check::gradients("update", &updates, &params);
            let result = checked.and_then(|()| self.try_update(updates, state, &params));
            result.unwrap_or_else(|error| result_tree(Err(error.at(location)), &template))
        })
    }

    /// One step: the parameters after the [update](GradientTransformation::update) by these
    /// gradients, and the state for the next step.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let optimizer = optim::sgd(0.5);
    /// let w = Tensor::new(&[1.0f32, -2.0], [2]);
    /// let grads = grad(|w: Tensor| w.square().sum(..))(w.clone());
    /// let (w, _state) = optimizer.step(w.clone(), grads, optimizer.init(&w));
    /// assert_eq!(w.to_vec::<f32>()?, [0.0, 0.0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    fn step<P: Tree>(&self, params: P, grads: P, state: Self::State<P>) -> (P, Self::State<P>) {
        let (updates, state) = self.update(grads, state, &params);
        (apply_updates(params, updates), state)
    }
}

/// The parameters with the updates added to them; `optax.apply_updates`. Leaves that are not
/// parameters stay as they are.
///
/// Fails if the updates have not the type of the parameters.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let model = (Tensor::ones([2], DType::F32), Tensor::scalar(7, DType::I32));
/// let updates = (Tensor::full([2], 0.5, DType::F32), Tensor::scalar(1, DType::I32));
/// let (weights, count) = optim::apply_updates(model, updates);
/// assert_eq!((weights.to_vec::<f32>()?, count.item::<i32>()?), (vec![1.5; 2], 7));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn apply_updates<P: Tree>(params: P, updates: P) -> P {
    let location = std::panic::Location::caller();
    composite("apply_updates", (params, updates), |(params, updates)| {
        let sum = check::gradients("apply_updates", &updates, &params).and_then(|()| {
            leaves::map(&params, [&params, &updates], |_, [p, u]| [p + u, u.clone()])
        });
        match sum {
            Ok([params, _]) => params,
            Err(error) => result_tree(Err(error.at(location)), &params),
        }
    })
}
