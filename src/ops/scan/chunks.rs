//! A scan that keeps the carry of some steps only: a scan over chunks of steps, each of which is
//! computed again where reverse mode needs it.

use super::ScanOp;
use super::unroll::Unroll;
use crate::error::{Error, Result};
use crate::ops::broadcast::Reshape;
use crate::ops::checkpoint::{Checkpoint, CheckpointOp};
use crate::ops::concatenate::concatenate;
use crate::tensor::Tensor;
use crate::trace::{record, record_one};
use crate::transform::build;
use crate::transform::split::Save;

impl Checkpoint {
    /// How many of `length` steps a chunk has; none if all steps are kept.
    pub(super) fn chunk(self, what: &str, length: usize) -> Result<Option<usize>> {
        match self {
            Checkpoint::None => Ok(None),
            Checkpoint::Every(0) => Err(Error::argument(format!(
                "{what}: Checkpoint::Every must keep the carry of every 1 or more steps, but it is 0"
            ))),
            // A chunk of more steps than there are is one of all steps.
            Checkpoint::Every(steps) => Ok(Some(steps.min(length.max(1)))),
            Checkpoint::Sqrt => Ok(Some(near_root(length))),
        }
    }
}

/// A number of steps near √length.
fn near_root(length: usize) -> usize {
    steps_near(length.isqrt().max(1), length)
}

/// A number of steps of half of `most` to `most` that divides the length if there is one: then no
/// step is left over, and the xs need not be copied to be cut.
pub(super) fn steps_near(most: usize, length: usize) -> usize {
    /// So many numbers are tried at most: a length may be anything.
    const TRIED: usize = 4096;
    let smallest = (most / 2).max(most.saturating_sub(TRIED)).max(1);
    (smallest..=most).rev().find(|steps| length.is_multiple_of(*steps)).unwrap_or(most)
}

impl ScanOp {
    /// Records the scan in chunks of `steps` steps, and what is left of it behind them. `chunk`
    /// records what stands for the scan of a chunk.
    pub(super) fn record_in_chunks(
        &self,
        steps: usize,
        inputs: &[Tensor],
        chunk: fn(ScanOp, Vec<Tensor>) -> Result<Vec<Tensor>>,
    ) -> Result<Vec<Tensor>> {
        let (constants, carry, xs) = self.split_inputs(inputs);
        let chunks = self.length / steps;
        let whole = chunks * steps;
        let part = |from: usize, to: usize| -> Vec<Tensor> {
            xs.iter().map(|x| x.slice_in_dim(from..to, 0)).collect()
        };

        let head = |carry: &[Tensor]| -> Result<Vec<Tensor>> {
            let xs = if whole == self.length { xs.to_vec() } else { part(0, whole) };
            let xs: Vec<Tensor> = xs.iter().map(|x| folded(x, 1, &[chunks, steps])).collect();
            let of_chunk = ScanOp { length: steps, body: self.body.clone(), ..*self };
            let avals = of_chunk.input_avals();
            let body = build("chunk", avals, |inputs| chunk(of_chunk, inputs))?;
            let op = ScanOp { length: chunks, unroll: Unroll::Steps(1), body, ..*self };
            let inputs = [constants, carry, &xs].concat();
            let mut outputs = record(op, &inputs, self.body.results().len());
            for y in &mut outputs[self.carry..] {
                *y = folded(y, 2, &[whole]);
            }
            Ok(outputs)
        };
        let tail = |carry: &[Tensor]| -> Result<Vec<Tensor>> {
            let length = self.length - whole;
            let op = ScanOp { length, body: self.body.clone(), ..*self };
            chunk(op, [constants, carry, &part(whole, self.length)].concat())
        };
        if whole == self.length {
            return head(carry);
        }
        let (mut head_outputs, tail_outputs, last);
        if self.reverse {
            tail_outputs = tail(carry)?;
            head_outputs = head(&tail_outputs[..self.carry])?;
            last = head_outputs.clone();
        } else {
            head_outputs = head(carry)?;
            tail_outputs = tail(&head_outputs[..self.carry])?;
            last = tail_outputs.clone();
        }
        let ys = head_outputs.split_off(self.carry).into_iter().zip(&tail_outputs[self.carry..]);
        let ys = ys.map(|(head, tail)| concatenate(&[&head, tail], 0));
        Ok(last[..self.carry].iter().cloned().chain(ys).collect())
    }

    /// Records the scan.
    pub(super) fn record_whole(self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let outputs = self.body.results().len();
        Ok(record(self, &inputs, outputs))
    }

    /// Records the scan so that reverse mode computes it again.
    pub(super) fn record_again(self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let outputs = self.body.results().len();
        let function = build("chunk", self.input_avals(), |inputs| self.record_whole(inputs))?;
        Ok(record(CheckpointOp { save: Save::Nothing, again: false, function }, &inputs, outputs))
    }
}

/// The tensor with its first `axes` axes replaced by others of as many elements.
fn folded(x: &Tensor, axes: usize, sizes: &[usize]) -> Tensor {
    record_one(Reshape { shape: [sizes, &x.shape()[axes..]].concat() }, &[x])
}
