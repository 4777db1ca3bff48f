//! The problem this project began with, as a function.

use super::{GruCell, Rngs, RnnCell};
use crate::aval::DType;
use crate::error::{Error, Result};
use crate::jit::jit;
use crate::ops::scan::scan;
use crate::tensor::Tensor;
use crate::tree;

/// The final hidden state of a GRU, shape `[hidden]`, `f32`, after it went over the first `steps`
/// rows of `x` from a carry of zeros, in one compiled While loop.
///
/// `x` is a sequence of shape `[time, features]`, converted to `f32`. The numbers are truncated
/// towards zero. The cell is that of `nnx.GRUCell(features, hidden, rngs=nnx.Rngs(seed))`. With
/// `steps` past the end the whole sequence is taken, with zero steps the result is zeros.
///
/// # Errors
/// If `x` is not of rank 2 or has no feature; if `seed` is not finite; if `hidden` is not at least 1
/// or its parameters would not fit in memory; if `steps` is negative or NaN.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::ones([100, 3], DType::F32);
/// let h = nn::scan_rnn_forward(42.0, &x, 8.0, 50.0)?;
/// assert_eq!(h.shape(), [8]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn scan_rnn_forward(seed: f64, x: &Tensor, hidden: f64, steps: f64) -> Result<Tensor> {
    x.check()?;
    let &[time, features] = x.shape() else {
        return Err(Error::shape(format!(
            "scan_rnn_forward: x must be a sequence of shape [time, features], but it is {}",
            x.aval(),
        )));
    };
    if features == 0 {
        let message =
            format!("scan_rnn_forward: x must have at least one feature, but it is {}", x.aval());
        return Err(Error::shape(message));
    }
    let seed = integer("seed", seed, i64::MIN as f64)? as i64;
    let hidden = integer("hidden", hidden, 1.0)? as usize;
    let steps = if steps == f64::INFINITY { time } else { integer("steps", steps, 0.0)? as usize };

    let cell = GruCell::new(&mut Rngs::new(seed), features, hidden);
    tree::check(&cell).map_err(|error| error.note(format!("for hidden = {hidden}")))?;
    let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), cell.initial_carry(&[]), x).0);
    let x = x.astype(DType::F32).slice_in_dim(0..steps.min(time), 0);
    forward.call(&x)
}

/// `value` truncated towards zero, if it is a number of at least `least`.
fn integer(name: &str, value: f64, least: f64) -> Result<f64> {
    let truncated = value.trunc();
    if truncated.is_finite() && truncated >= least {
        return Ok(truncated);
    }
    let limit = if least >= 0.0 { format!(" of at least {least}") } else { String::new() };
    Err(Error::argument(format!(
        "scan_rnn_forward: {name} must be a finite number{limit}, but it is {value}"
    )))
}
