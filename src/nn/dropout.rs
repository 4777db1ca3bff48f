//! Dropout.

use onetrace_derive::Tree;

use super::{Mode, RngStream, Rngs};
use crate::error::{Error, Result};
use crate::ops::select::select;
use crate::ops::{composed, resolve_axis};
use crate::random;
use crate::tensor::Tensor;
use crate::trace::poison;

/// Sets elements to zero with the probability `rate` while it is trained, and divides the others by
/// `1 - rate` (Srivastava et al., 2014); `nnx.Dropout`.
///
/// The layer has a stream of keys of its own, which is state: a call draws a key, so it needs the
/// layer mutably. In [`Mode::Eval`] (Flax's `deterministic`) the input comes back as it is.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let mut dropout = nn::Dropout::new(&mut nn::Rngs::new(0), 0.5);
/// let x = Tensor::ones([1000], DType::F32);
/// let y = dropout.call(&x).to_vec::<f32>()?;
/// assert!(y.iter().all(|&y| y == 0.0 || y == 2.0));
/// assert_ne!(y, dropout.call(&x).to_vec::<f32>()?); // with the next key
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Dropout {
    /// The keys.
    pub rngs: RngStream,
    /// Whether elements are dropped.
    pub mode: Mode,
    #[tree(static)]
    rate: f64,
    #[tree(static)]
    broadcast_dims: Vec<isize>,
}

impl Dropout {
    /// A layer with this rate, in [0, 1], whose stream is forked from the stream `dropout`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, rate: f64) -> Dropout {
        let rngs = rngs.stream("dropout").fork();
        Dropout { rngs, mode: Mode::Train, rate, broadcast_dims: Vec::new() }
    }

    /// The layer with one draw for all elements along each of these axes; negative ones count from
    /// the back. `broadcast_dims` of Flax.
    #[must_use]
    pub fn broadcast_dims(mut self, axes: &[isize]) -> Dropout {
        self.broadcast_dims = axes.to_vec();
        self
    }

    /// The layer in [`Mode::Eval`] from the start, or not.
    #[must_use]
    pub fn deterministic(mut self, deterministic: bool) -> Dropout {
        self.mode = if deterministic { Mode::Eval } else { Mode::Train };
        self
    }

    /// Drops elements of `x`, with the next key of the layer. The result has the type of `x`.
    ///
    /// No key is drawn in [`Mode::Eval`], nor if the rate is 0 or 1. Fails if the rate is not in
    /// [0, 1], if the dtype is not a floating one, or if one of the `broadcast_dims` is out of
    /// range.
    #[track_caller]
    pub fn call(&mut self, x: &Tensor) -> Tensor {
        let shape = match self.mask_shape(x) {
            Ok(shape) => shape,
            Err(error) => return poison(error, &[x]),
        };
        let random = self.mode == Mode::Train && self.rate > 0.0 && self.rate < 1.0;
        // Where no key is drawn, none is looked at.
        let key = if random { self.rngs.next_key() } else { self.rngs.key.clone() };
        self.apply(x, shape, &key)
    }

    /// The same with this key, `u32[2]`.
    #[track_caller]
    pub fn call_with_key(&self, x: &Tensor, key: &Tensor) -> Tensor {
        match self.mask_shape(x) {
            Ok(shape) => self.apply(x, shape, key),
            Err(error) => poison(error, &[x]),
        }
    }

    #[track_caller]
    fn apply(&self, x: &Tensor, mask_shape: Vec<usize>, key: &Tensor) -> Tensor {
        if self.mode == Mode::Eval || self.rate == 0.0 {
            return x.clone();
        }
        composed("Dropout", (x.clone(), key.clone()), |(x, key)| {
            // Nothing is left, and a division by zero would make the gradient NaN.
            if self.rate == 1.0 {
                return Tensor::zeros(x.shape(), x.dtype());
            }
            let keep = 1.0 - self.rate;
            let mask = random::bernoulli(&key, keep, mask_shape);
            select(&mask, x / keep, 0.0)
        })
    }

    /// The shape of what is drawn.
    fn mask_shape(&self, x: &Tensor) -> Result<Vec<usize>> {
        x.check()?;
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(Error::argument(format!(
                "Dropout: the rate is the probability to drop an element, so it must be in [0, 1], \
                 but it is {}",
                self.rate,
            )));
        }
        if !x.dtype().is_float() {
            return Err(Error::dtype(format!(
                "Dropout: the input must have a floating dtype, but it is {}; convert it with `astype`",
                x.aval(),
            )));
        }
        let mut shape = x.shape().to_vec();
        for &axis in &self.broadcast_dims {
            shape[resolve_axis("Dropout: broadcast_dims", axis, x.rank())?] = 1;
        }
        Ok(shape)
    }
}
