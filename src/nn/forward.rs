//! The final state of a GRU over a sequence, in one call.

use std::ops::Range;

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
/// If `x` is not of rank 2 or has no feature; if `seed` is not finite; if `hidden` is not at least
/// 1 or its parameters would not fit in memory; if `steps` is negative or NaN.
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
    let location = std::panic::Location::caller();
    forward(seed, x, hidden, steps).map_err(|error| error.at(location))
}

fn forward(seed: f64, x: &Tensor, hidden: f64, steps: f64) -> Result<Tensor> {
    x.check()?;
    let &[time, features] = x.shape() else {
        return Err(Error::shape(format!(
            "scan_rnn_forward: x must be a sequence of shape [time, features], but it is {}",
            x.aval(),
        )));
    };
    if features == 0 {
        return Err(Error::shape(format!(
            "scan_rnn_forward: x must have at least one feature, but it is {}",
            x.aval(),
        )));
    }
    // Floats from 2^63 on are no i64, and the limits here are floats: the upper one is excluded.
    let seed = truncated("seed", seed, i64::MIN as f64..-(i64::MIN as f64))? as i64;
    let size = truncated("hidden", hidden, 1.0..f64::INFINITY)? as usize;
    let steps = match steps {
        f64::INFINITY => time,
        steps => truncated("steps", steps, 0.0..f64::INFINITY)? as usize,
    };

    let cell = GruCell::new(&mut Rngs::new(seed), features, size);
    tree::check(&cell).map_err(|error| error.note(format!("for hidden = {hidden}")))?;
    let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), cell.initial_carry(&[]), x).0);
    let x = x.astype(DType::F32).slice_in_dim(0..steps.min(time), 0);
    forward.call(&x)
}

/// `value` truncated towards zero, which must lie in `range`.
fn truncated(name: &str, value: f64, range: Range<f64>) -> Result<f64> {
    if range.contains(&value.trunc()) {
        return Ok(value.trunc());
    }
    let Range { start, end } = range;
    let end = if end.is_finite() { format!(" and below {end}") } else { String::new() };
    Err(Error::argument(format!(
        "scan_rnn_forward: {name} must be a finite number of at least {start}{end}, but it is {value}"
    )))
}
