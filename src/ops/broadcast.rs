//! Broadcast, reshape and transpose: other shapes of the same elements.

use xla::XlaOp;

use super::{Operation, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, Shape};
use crate::error::{Error, Result};
use crate::lower::{Lowering, dims};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// Repeats elements along new or unit axes: axis `i` of the operand becomes axis `axes[i]` of
    /// the result. HLO's `broadcast` after its `BroadcastInDim`.
    struct Broadcast = "broadcast" { shape: Vec<usize>, axes: Vec<usize> }
}

impl Operation for Broadcast {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let increasing = self.axes.is_sorted_by(|a, b| a < b);
        let fits = |(&axis, &d): (&usize, &usize)| {
            self.shape.get(axis).is_some_and(|&wanted| d == wanted || d == 1)
        };
        if !increasing || self.axes.len() != x.rank() || !self.axes.iter().zip(&x.shape).all(fits) {
            return Err(Error::shape(format!(
                "broadcast: {x} cannot be broadcast to shape {:?} with its axes at {:?}",
                self.shape, self.axes,
            )));
        }
        Ok(vec![x.with_shape(self.shape.clone())])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].broadcast_in_dim(&dims(&self.shape), &dims(&self.axes))?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    /// The sum over the copies of each element.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let shape = &inputs[0].aval().shape;
        let mut before = vec![1; self.shape.len()];
        self.axes.iter().zip(shape).for_each(|(&axis, &size)| before[axis] = size);
        let repeated = (0..before.len()).filter(|&axis| before[axis] != self.shape[axis]);
        let repeated: Vec<isize> = repeated.map(|axis| axis as isize).collect();
        let back = |ct: &Tensor| {
            let sum = if repeated.is_empty() { ct.clone() } else { ct.sum(repeated) };
            reshaped(&sum, shape)
        };
        Ok(vec![cts[0].as_ref().map(back)])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, from) = rules::only(inputs);
        // The axes of the result ascend as those of the operand do, and so there is a place
        // between.
        let to = if from == 0 { 0 } else { self.axes[from - 1] + 1 };
        let (mut shape, mut axes) = (self.shape.clone(), self.axes.clone());
        shape.insert(to, size);
        axes[from..].iter_mut().for_each(|axis| *axis += 1);
        axes.insert(from, to);
        let tensor = record_one(Broadcast { shape, axes }, &[x]);
        Ok(vec![Batched { tensor, axis: Some(to) }])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

operation! {
    /// The same elements in row-major order in another shape.
    struct Reshape = "reshape" { shape: Vec<usize> }
}

impl Operation for Reshape {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let reshaped = x.with_shape(self.shape.clone());
        if reshaped.size() != x.size() {
            return Err(Error::shape(format!(
                "reshape: {x} has {} elements, but shape {:?} holds {}",
                x.size(),
                self.shape,
                reshaped.size(),
            )));
        }
        Ok(vec![reshaped])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].reshape(&dims(&self.shape))?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![cts[0].as_ref().map(|ct| reshaped(ct, &inputs[0].aval().shape))])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, from) = rules::only(inputs);
        // The batch axis can stay where it is if the axes before it become whole axes, too.
        let sizes = |shape: &[usize], place: usize| {
            let size = |part: &[usize]| x.aval().with_shape(part).size();
            (size(&shape[..place]), size(&shape[place..]))
        };
        let before = sizes(&inputs[0].member().shape, from);
        let stays = (0..=self.shape.len()).find(|&to| sizes(&self.shape, to) == before);
        let (x, to) = match stays {
            Some(to) => (x.clone(), to),
            None => (inputs[0].to_front(size), 0),
        };
        let mut shape = self.shape.clone();
        shape.insert(to, size);
        Ok(vec![Batched { tensor: reshaped(&x, &shape), axis: Some(to) }])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

operation! {
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    struct Transpose = "transpose" { permutation: Vec<usize> }
}

impl Operation for Transpose {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let mut sorted = self.permutation.clone();
        sorted.sort_unstable();
        if sorted.iter().copied().ne(0..x.rank()) {
            return Err(Error::shape(format!(
                "transpose: {:?} is not a permutation of the {} axes of {x}",
                self.permutation,
                x.rank(),
            )));
        }
        let shape: Shape = self.permutation.iter().map(|&axis| x.shape[axis]).collect();
        Ok(vec![x.with_shape(shape)])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].transpose(&dims(&self.permutation))?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    fn transpose(&self, cts: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let mut permutation = vec![0; self.permutation.len()];
        self.permutation.iter().enumerate().for_each(|(to, &from)| permutation[from] = to);
        let back = |ct: &Tensor| record_one(Transpose { permutation }, &[ct]);
        Ok(vec![cts[0].as_ref().map(back)])
    }

    fn batch(&self, _: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, from) = rules::only(inputs);
        let permutation = [vec![from], rules::shifted(&self.permutation, from)].concat();
        Ok(vec![Batched::stacked(record_one(Transpose { permutation }, &[x]))])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

/// The same elements in another shape that holds as many.
#[track_caller]
fn reshaped(x: &Tensor, shape: &[usize]) -> Tensor {
    if x.shape() == shape {
        return x.clone();
    }
    record_one(Reshape { shape: shape.to_vec() }, &[x])
}

/// The shape that tensors of these types are broadcast to by NumPy's rules: shapes are aligned at
/// their last axes, and axes of size one stretch.
pub(crate) fn broadcast_shapes(avals: &[&Aval]) -> Result<Shape> {
    let rank = avals.iter().map(|a| a.rank()).max().unwrap_or(0);
    let mut shape = vec![1; rank];
    for aval in avals {
        for (out, &d) in shape[rank - aval.rank()..].iter_mut().zip(&aval.shape) {
            match (*out, d) {
                (1, d) => *out = d,
                (_, 1) => {}
                (a, b) if a == b => {}
                _ => {
                    let list: Vec<String> = avals.iter().map(ToString::to_string).collect();
                    return Err(Error::shape(format!(
                        "the shapes of {} cannot be broadcast together: aligned at the last axis, \
                         sizes must be equal or one",
                        list.join(" and "),
                    )));
                }
            }
        }
    }
    Ok(shape)
}

/// Shapes.
impl Tensor {
    /// The tensor repeated to `shape` by NumPy's rules; `jnp.broadcast_to`.
    ///
    /// Fails if an axis is neither one nor the size wanted.
    #[track_caller]
    pub fn broadcast_to(&self, shape: &[usize]) -> Tensor {
        if self.shape() == shape {
            return self.clone();
        }
        let target = self.aval().with_shape(shape);
        let fits = broadcast_shapes(&[self.aval(), &target]).is_ok_and(|s| s == shape);
        if !fits {
            let message = format!("broadcast_to: {} cannot be broadcast to {target}", self.aval());
            return poison(Error::shape(message), &[self]);
        }
        let axes = (shape.len() - self.rank()..shape.len()).collect();
        record_one(Broadcast { shape: shape.to_vec(), axes }, &[self])
    }

    /// The same elements in another shape, in row-major order; `jnp.reshape`. One size may be -1:
    /// it is what the others leave.
    ///
    /// Fails if the number of elements differs.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(6, DType::I32).reshape([2, -1]);
    /// assert_eq!(x.shape(), [2, 3]);
    /// ```
    #[track_caller]
    pub fn reshape(&self, shape: impl AsRef<[isize]>) -> Tensor {
        match resolve_shape(self.aval(), shape.as_ref()) {
            Ok(shape) if shape == self.shape() => self.clone(),
            Ok(shape) => record_one(Reshape { shape }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The axes in the order that `permutation` names them; `jnp.transpose`. Axis `i` of the result
    /// is axis `permutation[i]` of the tensor. See [`t`](Tensor::t) for the reverse order.
    ///
    /// Fails if an axis is out of range, or not every axis is named once. Negative axes count from
    /// the back.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::zeros([2, 3, 4], DType::F32);
    /// assert_eq!(x.transpose([0, 2, 1]).shape(), [2, 4, 3]);
    /// assert_eq!(x.t().shape(), [4, 3, 2]);
    /// ```
    #[track_caller]
    pub fn transpose(&self, permutation: impl AsRef<[isize]>) -> Tensor {
        let axes = permutation.as_ref().iter();
        let resolved: Result<Vec<usize>> =
            axes.map(|&axis| resolve_axis("transpose", axis, self.rank())).collect();
        match resolved {
            Ok(permutation) => record_one(Transpose { permutation }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The axes in reverse order; `x.T` of NumPy.
    #[track_caller]
    pub fn t(&self) -> Tensor {
        record_one(Transpose { permutation: (0..self.rank()).rev().collect() }, &[self])
    }
}

fn resolve_shape(aval: &Aval, shape: &[isize]) -> Result<Shape> {
    let sizes = shape.iter().filter(|&&d| d != -1).map(|&d| d.max(0) as usize);
    let known = sizes.fold(1usize, |n, d| n.saturating_mul(d));
    let unknown = shape.iter().filter(|&&d| d == -1).count();
    if unknown > 1 || shape.iter().any(|&d| d < -1) {
        return Err(Error::shape(format!(
            "reshape: sizes must not be negative, and one of them may be -1, but the shape is {shape:?}"
        )));
    }
    if unknown == 1 && (known == 0 || !aval.size().is_multiple_of(known)) {
        return Err(Error::shape(format!(
            "reshape: the {} elements of {aval} cannot be divided by the other sizes of {shape:?}",
            aval.size(),
        )));
    }
    let size = |&d: &isize| if d == -1 { aval.size() / known } else { d as usize };
    Ok(shape.iter().map(size).collect())
}
