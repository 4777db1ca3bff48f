//! The problem this project began with, as a function.

use super::{GruCell, RnnCell, Rngs};
use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::jit::jit;
use crate::ops::scan::scan;
use crate::tensor::Tensor;

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
        let message = format!("scan_rnn_forward: x must have at least one feature, but it is {}", x.aval());
        return Err(Error::shape(message));
    }
    let seed = integer("seed", seed, i64::MIN as f64)? as i64;
    let hidden = hidden_size(hidden, features)?;
    let steps = if steps == f64::INFINITY { time } else { integer("steps", steps, 0.0)? as usize };

    let cell = GruCell::new(&mut Rngs::new(seed), features, hidden);
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
    let limit = if least == 0.0 { " of at least 0" } else { "" };
    Err(Error::argument(format!(
        "scan_rnn_forward: {name} must be a finite number{limit}, but it is {value}"
    )))
}

/// The hidden size, if it is positive and a cell of it fits in the memory of the machine.
fn hidden_size(hidden: f64, features: usize) -> Result<usize> {
    let truncated = hidden.trunc();
    if !truncated.is_finite() || truncated < 1.0 {
        return Err(Error::argument(format!(
            "scan_rnn_forward: hidden must be a finite number of at least 1, but it is {hidden}"
        )));
    }
    let size = truncated as usize;
    let gates = size.saturating_mul(3);
    let bytes = |rows: usize| Aval::new(DType::F32, [rows, gates]).byte_size();
    let needed = bytes(features).zip(bytes(size)).map(|(a, b)| a.saturating_add(b));
    let limit = memory_size();
    match needed {
        Some(needed) if needed <= limit => Ok(size),
        _ => Err(Error::new(
            ErrorKind::Argument,
            format!(
                "scan_rnn_forward: hidden is {size}, and the parameters of a GRU of that size do \
                 not fit in the {limit} bytes of this machine's memory"
            ),
        )),
    }
}

/// Bytes of memory this machine has, where the system tells; else a limit no machine reaches.
fn memory_size() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse().ok());
    kibibytes.map_or(1 << 46, |k: usize| k.saturating_mul(1024))
}
