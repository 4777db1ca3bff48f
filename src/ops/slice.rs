//! Slices at places known when the program is traced, and reversal.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use xla::XlaOp;

use super::axes::resolve_axes;
use super::broadcast::Reshape;
use super::pad::Pad;
use super::reduce::Axes;
use super::{Operation, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, Shape};
use crate::error::{Error, Result};
use crate::ir::{Equation, Value};
use crate::lower::{Lowering, dims};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::simplify::Simplifier;
use crate::transform::transpose::Input;

operation! {
    /// Along each axis, the elements from `starts` up to, but not with, `limits`, every
    /// `strides`-th of them. HLO's `slice`.
    struct Slice = "slice" { starts: Vec<usize>, limits: Vec<usize>, strides: Vec<usize> }
}

impl Slice {
    /// The elements of `x` in `range` along one axis.
    pub fn along(axis: usize, range: Range<usize>, x: &Aval) -> Slice {
        let mut slice = whole(x);
        (slice.starts[axis], slice.limits[axis]) = (range.start, range.end);
        slice
    }

    /// Whether it takes all elements between its limits: a loop reads such a part of a stacked value
    /// where it is, for which see `scan/reads.rs`.
    pub fn is_dense(&self) -> bool {
        self.strides.iter().all(|&stride| stride == 1)
    }

    /// The slice of a value. What computes that element by element, up to some operations one after
    /// the other, is done to slices.
    pub fn of(&self, value: Value, at: &mut Simplifier) -> Value {
        self.of_computed(value, OPERATIONS_ON_SLICES, at)
    }

    fn of_computed(&self, value: Value, operations: usize, at: &mut Simplifier) -> Value {
        let is_elementwise = |e: &&Equation| e.is_elementwise(|value| at.aval(value));
        let computed = at.definition(value).filter(|e| operations > 0 && is_elementwise(e));
        let Some(Equation { op, inputs, .. }) = computed.cloned() else {
            return at.record(self.clone(), vec![value])[0];
        };
        let part = |input| self.of_computed(input, operations - 1, at);
        let parts = inputs.into_iter().map(part).collect();
        at.record(op, parts)[0]
    }
}

/// So many sums a gate may have before it. Each of their operands is followed, so that there is an
/// end to it.
const OPERATIONS_ON_SLICES: usize = 4;

impl Operation for Slice {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let Slice { starts, limits, strides } = self;
        if [starts, limits, strides].iter().any(|list| list.len() != x.rank()) {
            return Err(Error::shape(format!(
                "slice: {x} needs a start, a limit and a stride for each of its {} axes, but they \
                 are {starts:?}, {limits:?} and {strides:?}",
                x.rank(),
            )));
        }
        let mut shape = Shape::new();
        for (axis, &size) in x.shape.iter().enumerate() {
            let (start, limit, stride) = (starts[axis], limits[axis], strides[axis]);
            if start > limit || limit > size {
                return Err(Error::shape(format!(
                    "slice: {start}..{limit} is no range of axis {axis} of {x}, which has size {size}"
                )));
            }
            if stride == 0 {
                return Err(Error::argument(format!(
                    "slice: the stride of axis {axis} of {x} must be at least 1, but it is 0"
                )));
            }
            shape.push((limit - start).div_ceil(stride));
        }
        Ok(vec![x.with_shape(shape)])
    }

    /// The binding slices one axis at a time; those that stay whole are left alone.
    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let mut x = inputs[0].clone();
        let shape = x.dims()?;
        for (axis, size) in shape.into_iter().enumerate() {
            let (start, limit, stride) = (self.starts[axis], self.limits[axis], self.strides[axis]);
            if (start, limit, stride) != (0, size, 1) {
                // A stride beyond the axis takes one element, as does the axis' own size.
                let stride = stride.min(size.max(1));
                x = x.slice_in_dim(start as i64, limit as i64, stride as i64, axis as i64)?;
            }
        }
        Ok(vec![x])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    /// Zeros stand where nothing was taken from.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let back = |ct: &Tensor| {
            let around = |(axis, &size): (usize, &usize)| {
                let (start, stride, taken) =
                    (self.starts[axis], self.strides[axis], ct.shape()[axis]);
                let spread = taken.saturating_sub(1) * stride + taken.min(1);
                (start as i64, (size - start - spread) as i64, stride - 1)
            };
            let config = inputs[0].aval().shape.iter().enumerate().map(around).collect();
            record_one(Pad { config }, &[ct, &Tensor::zeros([], ct.dtype())])
        };
        Ok(vec![cts[0].as_ref().map(back)])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, axis) = rules::only(inputs);
        let mut op = self.clone();
        op.starts.insert(axis, 0);
        op.limits.insert(axis, size);
        op.strides.insert(axis, 1);
        Ok(vec![Batched { tensor: record_one(op, &[x]), axis: Some(axis) }])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

operation! {
    /// The elements in reverse order along `axes`. HLO's `reverse`.
    struct Reverse = "reverse" { axes: Vec<usize> }
}

impl Operation for Reverse {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        for (i, &axis) in self.axes.iter().enumerate() {
            if axis >= x.rank() || self.axes[..i].contains(&axis) {
                return Err(Error::shape(format!(
                    "reverse: {:?} are not different axes of {x}, which has rank {}",
                    self.axes,
                    x.rank(),
                )));
            }
        }
        Ok(vec![x.clone()])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].rev(&dims(&self.axes))?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    fn transpose(&self, cts: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![cts[0].as_ref().map(|ct| record_one(self.clone(), &[ct]))])
    }

    fn batch(&self, _: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, place) = rules::only(inputs);
        let axes = rules::shifted(&self.axes, place);
        Ok(vec![Batched { tensor: record_one(Reverse { axes }, &[x]), axis: Some(place) }])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }
}

/// An integer that names a place along an axis: `i32`, `isize` or `usize`. Negative ones count
/// from the back.
pub trait AxisIndex: Copy + private::Sealed {
    #[doc(hidden)]
    fn to_i128(self) -> i128;
}

/// A range of places along an axis, such as `2..5`, `..-1` or `..`: any range of [`AxisIndex`].
pub trait AxisRange: private::Sealed {
    /// The start, and the end with which the range no longer goes on.
    #[doc(hidden)]
    fn bounds(self) -> (Option<i128>, Option<i128>);
}

mod private {
    pub trait Sealed {}
}

macro_rules! axis_indices {
    ($($ty:ty)*) => {$(
        impl private::Sealed for $ty {}

        impl AxisIndex for $ty {
            fn to_i128(self) -> i128 {
                self as i128
            }
        }
    )*};
}

axis_indices!(i32 isize usize);

/// The place behind `last`; behind the last place of all, which is -1, there is no number.
fn behind(last: i128) -> Option<i128> {
    (last != -1).then_some(last + 1)
}

macro_rules! axis_ranges {
    ($($Range:ident<I>: |$range:ident| $bounds:expr;)*) => {$(
        impl<I: AxisIndex> private::Sealed for $Range<I> {}

        impl<I: AxisIndex> AxisRange for $Range<I> {
            fn bounds(self) -> (Option<i128>, Option<i128>) {
                let $range = self;
                $bounds
            }
        }
    )*};
}

axis_ranges! {
    Range<I>: |r| (Some(r.start.to_i128()), Some(r.end.to_i128()));
    RangeInclusive<I>: |r| (Some(r.start().to_i128()), behind(r.end().to_i128()));
    RangeFrom<I>: |r| (Some(r.start.to_i128()), None);
    RangeTo<I>: |r| (None, Some(r.end.to_i128()));
    RangeToInclusive<I>: |r| (None, behind(r.end.to_i128()));
}

impl private::Sealed for RangeFull {}

impl AxisRange for RangeFull {
    fn bounds(self) -> (Option<i128>, Option<i128>) {
        (None, None)
    }
}

/// Slices.
impl Tensor {
    /// Along each axis, the elements `starts[i]..limits[i]`, every `strides[i]`-th of them;
    /// `lax.slice`.
    ///
    /// Fails if one of the three does not have as many numbers as there are axes, if a range does
    /// not lie in its axis, or if a stride is zero.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(12, DType::I32).reshape([3, 4]);
    /// assert_eq!(x.slice(&[1, 0], &[3, 4], &[1, 2]).to_vec::<i32>()?, [4, 6, 8, 10]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn slice(&self, starts: &[usize], limits: &[usize], strides: &[usize]) -> Tensor {
        let (starts, limits, strides) = (starts.to_vec(), limits.to_vec(), strides.to_vec());
        record_one(Slice { starts, limits, strides }, &[self])
    }

    /// The elements in a range of one axis; `lax.slice_in_dim`.
    ///
    /// Bounds may be negative, to count from the back (clippy takes `1..-1`, written in numbers,
    /// for a mistake: allow `clippy::reversed_empty_ranges` there). Fails if the range does not lie
    /// in the axis: unlike Python's slices, it is not cut to fit.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(6, DType::I32).reshape([2, 3]);
    /// assert_eq!(x.slice_in_dim(1.., -1).to_vec::<i32>()?, [1, 2, 4, 5]);
    /// assert_eq!(x.slice_in_dim(..-1, 0).to_vec::<i32>()?, [0, 1, 2]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn slice_in_dim(&self, range: impl AxisRange, axis: isize) -> Tensor {
        match slice_of_axis("slice_in_dim", self.aval(), range.bounds(), 1, axis) {
            Ok(op) => record_one(op, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// Every `stride`-th element in a range of one axis, from its start on; `lax.slice_in_dim` with
    /// a stride.
    ///
    /// Bounds are those of [`slice_in_dim`](Tensor::slice_in_dim). Fails if the range does not lie
    /// in the axis or if the stride is zero.
    #[track_caller]
    pub fn strided_slice_in_dim(
        &self,
        range: impl AxisRange,
        stride: usize,
        axis: isize,
    ) -> Tensor {
        match slice_of_axis("strided_slice_in_dim", self.aval(), range.bounds(), stride, axis) {
            Ok(op) => record_one(op, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The element at `index` of the leading axis, without that axis; `x[index]` of NumPy.
    ///
    /// Negative indices count from the back. Fails if the index is out of range.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(6, DType::I32).reshape([2, 3]);
    /// assert_eq!(x.index(-1).to_vec::<i32>()?, [3, 4, 5]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn index(&self, index: impl AxisIndex) -> Tensor {
        match slice_of_index("index", self.aval(), index.to_i128(), 0) {
            Ok(op) => {
                let shape = self.shape()[1..].to_vec();
                record_one(Reshape { shape }, &[&record_one(op, &[self])])
            }
            Err(error) => poison(error, &[self]),
        }
    }

    /// The element at `index` of one axis; `lax.index_in_dim`. With `keepdims`, the axis stays,
    /// with size one.
    ///
    /// Negative indices count from the back. Fails if the index is out of range.
    #[track_caller]
    pub fn index_in_dim(&self, index: impl AxisIndex, axis: isize, keepdims: bool) -> Tensor {
        match slice_of_index("index_in_dim", self.aval(), index.to_i128(), axis) {
            Ok(op) if keepdims => record_one(op, &[self]),
            Ok(op) => record_one(op, &[self]).squeeze(axis),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The tensor cut along an axis into `sections` parts of the same size; `jnp.split`.
    ///
    /// Fails if the size of the axis is not a multiple of `sections`, or if that is zero. The
    /// tensors of the result then all carry the error.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let gates = Tensor::arange(6, DType::I32).split(3, -1);
    /// assert_eq!(gates[2].to_vec::<i32>()?, [4, 5]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn split(&self, sections: usize, axis: isize) -> Vec<Tensor> {
        let mut parts = Vec::new();
        match sections_of_axis(self.aval(), sections, axis) {
            Ok(slices) => {
                for slice in slices {
                    parts.push(record_one(slice, &[self]));
                }
            }
            // Code that takes the parts one by one still finds them.
            Err(error) => {
                parts.resize(sections.clamp(1, MANY_SECTIONS), poison(error, &[self]));
            }
        }
        parts
    }

    /// The tensor cut along an axis before each of the places `indices`; `jnp.split` with indices.
    /// There is one part more than there are indices.
    ///
    /// Fails if the indices are not in order or out of range. The tensors of the result then all
    /// carry the error.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let parts = Tensor::arange(5, DType::I32).split_at(&[1, 3], 0);
    /// assert_eq!(parts[1].to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn split_at(&self, indices: &[usize], axis: isize) -> Vec<Tensor> {
        let mut parts = Vec::new();
        match parts_of_axis(self.aval(), indices, axis) {
            Ok(slices) => {
                for slice in slices {
                    parts.push(record_one(slice, &[self]));
                }
            }
            Err(error) => parts.resize(indices.len() + 1, poison(error, &[self])),
        }
        parts
    }

    /// The elements in reverse order along `axes`: one, several, or `..` for all; `jnp.flip`,
    /// `lax.rev`.
    ///
    /// Fails if an axis is out of range or named twice. Negative axes count from the back.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!(Tensor::arange(3, DType::I32).flip(0).to_vec::<i32>()?, [2, 1, 0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[doc(alias = "rev")]
    #[track_caller]
    pub fn flip(&self, axes: impl Into<Axes>) -> Tensor {
        match resolve_axes("flip", &axes.into(), self.aval()) {
            Ok(axes) => record_one(Reverse { axes }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }
}

/// The slice that takes `x` whole.
fn whole(x: &Aval) -> Slice {
    Slice { starts: vec![0; x.rank()], limits: x.shape.clone(), strides: vec![1; x.rank()] }
}

fn slice_of_axis(
    what: &str,
    x: &Aval,
    (start, limit): (Option<i128>, Option<i128>),
    stride: usize,
    axis: isize,
) -> Result<Slice> {
    let axis = resolve_axis(what, axis, x.rank())?;
    let size = x.shape[axis];
    if stride == 0 {
        return Err(Error::argument(format!("{what}: the stride must be at least 1, but it is 0")));
    }
    let from_front = |i: i128| if i < 0 { i + size as i128 } else { i };
    let (first, last) = (start.map_or(0, from_front), limit.map_or(size as i128, from_front));
    if first < 0 || first > last || last > size as i128 {
        let text = |bound: Option<i128>| bound.map_or(String::new(), |i| i.to_string());
        return Err(Error::shape(format!(
            "{what}: {}..{} is no range of axis {axis} of {x}, which has size {size}",
            text(start),
            text(limit),
        )));
    }
    let mut slice = whole(x);
    (slice.starts[axis], slice.limits[axis]) = (first as usize, last as usize);
    slice.strides[axis] = stride;
    Ok(slice)
}

fn slice_of_index(what: &str, x: &Aval, index: i128, axis: isize) -> Result<Slice> {
    let axis = resolve_axis(what, axis, x.rank())?;
    let size = x.shape[axis];
    let from_front = if index < 0 { index + size as i128 } else { index };
    if !(0..size as i128).contains(&from_front) {
        return Err(Error::shape(format!(
            "{what}: index {index} is out of range for axis {axis} of {x}, which has size {size}"
        )));
    }
    let mut slice = whole(x);
    (slice.starts[axis], slice.limits[axis]) = (from_front as usize, from_front as usize + 1);
    Ok(slice)
}

/// The most sections an empty axis is cut into: there is no size that would limit them.
const MANY_SECTIONS: usize = 1 << 16;

fn sections_of_axis(x: &Aval, sections: usize, axis: isize) -> Result<Vec<Slice>> {
    let axis = resolve_axis("split", axis, x.rank())?;
    let size = x.shape[axis];
    if sections == 0 || !size.is_multiple_of(sections) || sections > size.max(MANY_SECTIONS) {
        return Err(Error::shape(format!(
            "split: axis {axis} of {x} has size {size}, which cannot be cut into {sections} parts \
             of the same size; cut at indices with `split_at`"
        )));
    }
    let part = size / sections;
    let places: Vec<usize> = (1..sections).map(|i| i * part).collect();
    Ok(cut(x, &places, axis))
}

fn parts_of_axis(x: &Aval, indices: &[usize], axis: isize) -> Result<Vec<Slice>> {
    let axis = resolve_axis("split_at", axis, x.rank())?;
    let size = x.shape[axis];
    if !indices.is_sorted() || indices.last().is_some_and(|&last| last > size) {
        return Err(Error::shape(format!(
            "split_at: the indices must be in order and at most {size}, the size of axis {axis} of \
             {x}, but they are {indices:?}"
        )));
    }
    Ok(cut(x, indices, axis))
}

/// The slices between the places of an axis.
fn cut(x: &Aval, places: &[usize], axis: usize) -> Vec<Slice> {
    let starts = std::iter::once(0).chain(places.iter().copied());
    let limits = places.iter().copied().chain(std::iter::once(x.shape[axis]));
    let slice = |(start, limit)| {
        let mut slice = whole(x);
        (slice.starts[axis], slice.limits[axis]) = (start, limit);
        slice
    };
    starts.zip(limits).map(slice).collect()
}
