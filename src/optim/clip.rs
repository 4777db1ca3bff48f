//! Limits of the size of updates.

use super::{GradientTransformation, check, leaves};
use crate::aval::DType;
use crate::error::{Location, Result};
use crate::ops::call::composite;
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::tree::{self, Tree};

/// Clips each element of the updates to `[-max_delta, max_delta]`; `optax.clip`.
#[track_caller]
pub fn clip(max_delta: f64) -> Clip {
    Clip { max_delta, location: std::panic::Location::caller() }
}

/// See [`clip`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct Clip {
    max_delta: f64,
    location: Location,
}

impl GradientTransformation for Clip {
    type State<P: Tree> = ();

    fn init<P: Tree>(&self, _: &P) {}

    fn try_update<P: Tree>(&self, updates: P, (): (), params: &P) -> Result<(P, ())> {
        let max = self.max_delta;
        check::not_negative("clip", "max_delta", max).map_err(|error| error.at(self.location))?;
        let [updates] = leaves::map(params, [&updates], |_, [u]| [u.clamp(-max, max)])?;
        Ok((updates, ()))
    }
}

/// Scales the updates so that their [`global_norm`] is at most `max_norm`;
/// `optax.clip_by_global_norm`.
///
/// [Pascanu et al., "On the difficulty of training recurrent neural networks",
/// 2012](https://arxiv.org/abs/1211.5063).
#[track_caller]
pub fn clip_by_global_norm(max_norm: f64) -> ClipByGlobalNorm {
    ClipByGlobalNorm { max_norm, location: std::panic::Location::caller() }
}

/// See [`clip_by_global_norm`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct ClipByGlobalNorm {
    max_norm: f64,
    location: Location,
}

impl GradientTransformation for ClipByGlobalNorm {
    type State<P: Tree> = ();

    fn init<P: Tree>(&self, _: &P) {}

    fn try_update<P: Tree>(&self, updates: P, (): (), params: &P) -> Result<(P, ())> {
        let max = self.max_norm;
        check::positive("clip_by_global_norm", "max_norm", max)
            .map_err(|error| error.at(self.location))?;
        let norm = norm_of(params, &updates);
        let fits = norm.lt(max);
        let [updates] = leaves::map(params, [&updates], |_, [u]| {
            [select(&fits, u, u / norm.astype(u.dtype()) * max)]
        })?;
        Ok((updates, ()))
    }
}

/// The Euclidean norm of all [parameters](tree::is_parameter) of a tree together, shape `[]`;
/// `optax.global_norm`. Its dtype is that of the leaves, or the one that holds all of theirs.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let tree = (Tensor::new(&[3.0f32], [1]), Tensor::new(&[0.0f32, 4.0], [2]));
/// assert_eq!(optim::global_norm(&tree).item::<f32>()?, 5.0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn global_norm<P: Tree>(tree: &P) -> Tensor {
    composite("global_norm", tree.clone(), |tree| norm_of(&tree, &tree))
}

/// The norm of the leaves of `tree` that stand in place of the parameters.
fn norm_of<P: Tree>(params: &P, tree: &P) -> Tensor {
    let pairs = tree::leaves_with_paths(params).into_iter().zip(tree::leaves(tree));
    let parameters = pairs.filter(|((path, leaf), _)| tree::is_parameter(path, leaf));
    let squares = parameters.map(|(_, x)| x.square().sum(..));
    let sum = squares.reduce(|a, b| {
        let dtype = leaves::promoted(a.dtype(), b.dtype());
        a.astype(dtype) + b.astype(dtype)
    });
    sum.unwrap_or_else(|| Tensor::scalar(0.0, DType::F32)).sqrt()
}
