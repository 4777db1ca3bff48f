//! Gather: elements at many places at once.

use xla::XlaOp;

use super::broadcast::{Broadcast, broadcast_shapes};
use super::dynamic_slice::{from_front, is_index, wide_index_dtype};
use super::scatter::{Combine, Scatter};
use super::select::select;
use super::{Operation, Text, check_size, composed, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::host::Scalar;
use crate::lower::{Lowering, dims};
use crate::ops::concatenate::concatenate;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// One slice of the first operand, of size `slice_sizes`, for each vector along the last axis
    /// of the second one. The vector says where the slice starts: its element `i` is the index in
    /// axis `start_index_map[i]`; in the other axes the slice starts at 0. Each is moved so that
    /// the slice lies inside. Without its `collapsed_axes`, which have size one, a slice fills the
    /// axes `offset_axes` of the result; the other axes of the result are those of the indices but
    /// the last. HLO's `gather`.
    struct Gather = "gather" {
        offset_axes: Vec<usize>,
        collapsed_axes: Vec<usize>,
        start_index_map: Vec<usize>,
        slice_sizes: Vec<usize>,
    }
}

impl Operation for Gather {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, indices] = inputs(self, avals)?;
        let Gather { offset_axes, collapsed_axes, start_index_map, slice_sizes } = self;
        let batch = check_indices("gather", x, indices, start_index_map)?;
        if slice_sizes.len() != x.rank() || slice_sizes.iter().zip(&x.shape).any(|(s, d)| s > d) {
            return Err(Error::shape(format!(
                "gather: slices of sizes {slice_sizes:?} do not fit in {x}"
            )));
        }
        check_axes("gather: the collapsed axes", collapsed_axes, x.rank())?;
        if let Some(axis) = collapsed_axes.iter().find(|&&axis| slice_sizes[axis] != 1) {
            return Err(Error::shape(format!(
                "gather: a collapsed axis must have size 1 in the slice, but axis {axis} has size {}",
                slice_sizes[*axis],
            )));
        }
        let kept = (0..x.rank()).filter(|axis| !collapsed_axes.contains(axis));
        let window: Shape = kept.map(|axis| slice_sizes[axis]).collect();
        if offset_axes.len() != window.len() {
            return Err(Error::shape(format!(
                "gather: there must be one offset axis for each of the {} axes of a slice, but they \
                 are {offset_axes:?}",
                window.len(),
            )));
        }
        let rank = batch.len() + window.len();
        check_axes("gather: the offset axes", offset_axes, rank)?;
        let (mut batch, mut window) = (batch.iter(), window.iter());
        let size = |axis| if offset_axes.contains(&axis) { window.next() } else { batch.next() };
        let shape: Option<Shape> = (0..rank).map(size).map(Option::<&usize>::copied).collect();
        Ok(vec![x.with_shape(shape.expect("the axes are those of the slices and the indices"))])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let index_vector_axis = inputs[1].rank()? as i64 - 1;
        Ok(vec![inputs[0].gather(
            &inputs[1],
            &dims(&self.offset_axes),
            &dims(&self.collapsed_axes),
            &dims(&self.start_index_map),
            Some(index_vector_axis),
            &dims(&self.slice_sizes),
        )?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    /// What was taken somewhere is added there, after slices have been moved inside again.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let (x, indices) = (inputs[0].aval(), inputs[1].known(self.name())?);
        let add = |ct: &Tensor| {
            let limits = self.limits(x, indices.dtype());
            let places = indices.maximum(0).minimum(limits);
            let zeros = Tensor::zeros(&x.shape[..], x.dtype);
            record_one(self.scatter(Combine::Add), &[&zeros, &places, ct])
        };
        // Nothing was taken if there is nothing to add.
        Ok(vec![cts[0].as_ref().filter(|ct| ct.size() > 0).map(add), None])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, indices) = (&inputs[0], &inputs[1]);
        let (tensor, axis) = match (x.axis, indices.axis) {
            (place, None) => {
                self.slices_of_each(size, place.unwrap_or(0), &x.tensor, &indices.tensor)
            }
            (None, Some(place)) => {
                // The last axis is that of the index vectors.
                let last = place + 1 == indices.tensor.rank();
                let front = if last { indices.to_front_if_batched(size) } else { indices.clone() };
                self.at_each(front.axis.unwrap_or(0), &x.tensor, &front.tensor)
            }
            (Some(_), Some(_)) => self.at_each_slices_of_each(size, x, indices)?,
        };
        Ok(vec![Batched { tensor, axis: Some(axis) }])
    }
}

impl Gather {
    /// The scatter that puts slices where this takes them from.
    fn scatter(&self, combine: Combine) -> Scatter {
        Scatter {
            combine,
            window_axes: self.offset_axes.clone(),
            inserted_axes: self.collapsed_axes.clone(),
            scatter_axes: self.start_index_map.clone(),
        }
    }

    /// The largest index, for each element of an index vector, from which on a slice still lies
    /// inside of `x`. One that is too large for the dtype is no limit, and the largest there is.
    pub(super) fn limits(&self, x: &Aval, dtype: DType) -> Tensor {
        let largest = match dtype {
            DType::I32 => i32::MAX as usize,
            DType::U32 => u32::MAX as usize,
            _ => i64::MAX as usize,
        };
        let limit = |&axis: &usize| (x.shape[axis] - self.slice_sizes[axis]).min(largest) as i64;
        let limits: Vec<i64> = self.start_index_map.iter().map(limit).collect();
        Tensor::new(&limits, [limits.len()]).astype(dtype)
    }

    /// The same slices of each member, which stand along axis `place` of `x`: each slice becomes
    /// that of all members.
    fn slices_of_each(
        &self,
        size: usize,
        place: usize,
        x: &Tensor,
        indices: &Tensor,
    ) -> (Tensor, usize) {
        let Gather { mut offset_axes, mut slice_sizes, .. } = self.clone();
        let before = (0..place).filter(|axis| !self.collapsed_axes.contains(axis)).count();
        let to = if before == 0 { 0 } else { offset_axes[before - 1] + 1 };
        offset_axes[before..].iter_mut().for_each(|axis| *axis += 1);
        offset_axes.insert(before, to);
        slice_sizes.insert(place, size);
        let gather = Gather {
            offset_axes,
            collapsed_axes: rules::shifted(&self.collapsed_axes, place),
            start_index_map: rules::shifted(&self.start_index_map, place),
            slice_sizes,
        };
        (record_one(gather, &[x, indices]), to)
    }

    /// The slices that each member, along axis `place` of the indices, takes of one `x`: there are
    /// just more of them.
    fn at_each(&self, place: usize, x: &Tensor, indices: &Tensor) -> (Tensor, usize) {
        let rank = self.offset_axes.len() + indices.rank() - 2;
        let mut places = (0..rank).filter(|axis| !self.offset_axes.contains(axis));
        let to = places.nth(place).unwrap_or(rank);
        let offset_axes = rules::shifted(&self.offset_axes, to);
        (record_one(Gather { offset_axes, ..self.clone() }, &[x, indices]), to)
    }

    /// The slices that each member takes of its own `x`: an index more says of which.
    fn at_each_slices_of_each(
        &self,
        size: usize,
        x: &Batched,
        indices: &Batched,
    ) -> Result<(Tensor, usize)> {
        if size == 0 {
            let member = self.infer(&[&x.member(), &indices.member()])?.swap_remove(0);
            return Ok((Tensor::zeros([&[0], &member.shape[..]].concat(), member.dtype), 0));
        }
        let gather = Gather {
            offset_axes: rules::shifted(&self.offset_axes, 0),
            collapsed_axes: with_front(&self.collapsed_axes),
            start_index_map: with_front(&self.start_index_map),
            slice_sizes: [&[1], &self.slice_sizes[..]].concat(),
        };
        let (x, indices) = (x.to_front(size), with_member(size, &indices.to_front(size)));
        Ok((record_one(gather, &[&x, &indices]), 0))
    }
}

/// Axes of a member where the members stand along axis 0, and that axis.
pub(super) fn with_front(axes: &[usize]) -> Vec<usize> {
    [vec![0], rules::shifted(axes, 0)].concat()
}

/// The index vectors of `size` members, along the first axis, with the number of the member before
/// the first element of each.
pub(super) fn with_member(size: usize, indices: &Tensor) -> Tensor {
    let indices = indices.astype(wide_index_dtype(indices.dtype(), size));
    let mut shape = indices.shape().to_vec();
    shape[indices.rank() - 1] = 1;
    let member = Tensor::broadcasted_iota(shape, 0, indices.dtype());
    concatenate(&[member, indices], -1)
}

/// The elements of `x` at `positions` along `axis`, which are in range and of a dtype for indices
/// that holds the [`widest`] axis. The other axes are those of `x`; those of size one stretch.
#[track_caller]
pub(super) fn along_axis(x: &Tensor, positions: &Tensor, axis: usize) -> Tensor {
    let (shape, dtype) = (positions.shape(), positions.dtype());
    // An axis without elements has none for a gather to take.
    if positions.size() == 0 {
        return Tensor::zeros(shape, x.dtype());
    }
    // Along the other axes, an element stays where it is.
    let place = |i: usize| match (i == axis, x.shape()[i]) {
        (true, _) => positions.clone(),
        (false, 1) => Tensor::zeros(shape, dtype),
        (false, _) => Tensor::broadcasted_iota(shape, i as isize, dtype),
    };
    let places: Vec<Tensor> = (0..x.rank()).map(|i| place(i).expand_dims(-1)).collect();
    let gather = Gather {
        offset_axes: Vec::new(),
        collapsed_axes: (0..x.rank()).collect(),
        start_index_map: (0..x.rank()).collect(),
        slice_sizes: vec![1; x.rank()],
    };
    record_one(gather, &[x, &concatenate(&places, -1)])
}

/// The size of the widest axis.
pub(super) fn widest(x: &Aval) -> usize {
    x.shape.iter().copied().max().unwrap_or(0)
}

/// Checks indices into `x` whose vectors, along the last axis, name places along `axes`. Gives the
/// other axes of the indices.
pub(super) fn check_indices<'a>(
    what: &str,
    x: &Aval,
    indices: &'a Aval,
    axes: &[usize],
) -> Result<&'a [usize]> {
    if !is_index(indices.dtype) {
        return Err(Error::dtype(format!(
            "{what}: the indices must have dtype i32, i64 or u32, but they are {indices}"
        )));
    }
    let Some((&length, batch)) = indices.shape.split_last() else {
        return Err(Error::shape(format!(
            "{what}: the last axis of the indices is that of their vectors, but they are the scalar \
             {indices}"
        )));
    };
    let distinct = |(i, axis): (usize, &usize)| *axis < x.rank() && !axes[..i].contains(axis);
    if length != axes.len() || !axes.iter().enumerate().all(distinct) {
        return Err(Error::shape(format!(
            "{what}: the index vectors of {indices} must name places along different axes of {x}, \
             but the axes are {axes:?}"
        )));
    }
    Ok(batch)
}

/// Checks that axes ascend and are less than the rank.
pub(super) fn check_axes(what: &str, axes: &[usize], rank: usize) -> Result<()> {
    let in_range = axes.last().is_none_or(|&axis| axis < rank);
    if axes.is_sorted_by(|a, b| a < b) && in_range {
        return Ok(());
    }
    Err(Error::shape(format!("{what} must ascend and be less than {rank}, but they are {axes:?}")))
}

/// What `jnp` puts where nothing can be taken: NaN, the smallest signed and the largest unsigned
/// integer, true.
#[track_caller]
fn fill_value(dtype: DType) -> Tensor {
    let value = match dtype {
        DType::Bool => Scalar::Bool(true),
        DType::U8 => Scalar::Int(u8::MAX.into()),
        DType::U32 => Scalar::Int(u32::MAX.into()),
        DType::I32 => Scalar::Int(i32::MIN.into()),
        DType::I64 => Scalar::Int(i64::MIN),
        DType::F16 | DType::BF16 | DType::F32 | DType::F64 => Scalar::Float(f64::NAN),
    };
    Tensor::scalar(value, dtype)
}

/// What a take does with indices that are out of range.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OutOfRange {
    /// Gives a fill value. Negative indices count from the back.
    Fill,
    /// Gives the first or the last element. Negative indices are before the first.
    Clip,
}

/// Many elements at once. Indices are integers.
impl Tensor {
    /// The elements of one axis at `indices`, whose axes take its place; `jnp.take`.
    ///
    /// Shapes `[a, n, b]` and `[i, j]`, along axis 1, give `[a, i, j, b]`. Negative indices count
    /// from the back. Where an index is out of range, the result is NaN for floats, the smallest
    /// number for signed integers, the largest for unsigned ones, and true for `bool`. Fails if the
    /// indices are not integers, if the axis is out of range, or if it is empty.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(4, DType::I32) * 10;
    /// let indices = Tensor::new(&[2i32, 0, -1], [3]);
    /// assert_eq!(x.take(&indices, 0).to_vec::<i32>()?, [20, 0, 30]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn take(&self, indices: &Tensor, axis: isize) -> Tensor {
        take("take", self, indices, axis, OutOfRange::Fill)
    }

    /// As [`take`](Tensor::take), but an index out of range gives the first or the last element,
    /// and negative indices the first; `jnp.take` with `mode="clip"`.
    #[track_caller]
    pub fn take_clip(&self, indices: &Tensor, axis: isize) -> Tensor {
        take("take_clip", self, indices, axis, OutOfRange::Clip)
    }

    /// For each position of `indices`, the element there, but at the index along `axis`;
    /// `jnp.take_along_axis`. It undoes `argsort`.
    ///
    /// The other axes are broadcast. What indices out of range give is told at
    /// [`take`](Tensor::take). Fails if the indices are not integers, if they have another rank or
    /// do not broadcast, or if the axis is out of range or empty.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[3i32, 1, 2, 6, 5, 4], [2, 3]);
    /// let order = Tensor::new(&[1i32, 2, 0, 2, 1, 0], [2, 3]);
    /// assert_eq!(x.take_along_axis(&order, 1).to_vec::<i32>()?, [1, 2, 3, 4, 5, 6]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn take_along_axis(&self, indices: &Tensor, axis: isize) -> Tensor {
        let (axis, shape) = match check_along(self.aval(), indices.aval(), axis) {
            Ok(checked) => checked,
            Err(error) => return poison(error, &[self, indices]),
        };
        let size = self.shape()[axis];
        composed("take_along_axis", (self.clone(), indices.clone()), |(x, indices)| {
            if shape.contains(&0) {
                return Tensor::zeros(shape, x.dtype());
            }
            let indices = indices.astype(wide_index_dtype(indices.dtype(), widest(x.aval())));
            let chosen = from_front(&indices, size).broadcast_to(&shape);
            let taken = along_axis(&x, &chosen, axis);
            select(&in_range(&chosen, size), taken, fill_value(x.dtype()))
        })
    }
}

#[track_caller]
fn take(what: &str, x: &Tensor, indices: &Tensor, axis: isize, out_of_range: OutOfRange) -> Tensor {
    let (axis, shape) = match check_take(what, x.aval(), indices.aval(), axis) {
        Ok(checked) => checked,
        Err(error) => return poison(error, &[x, indices]),
    };
    let size = x.shape()[axis];
    let behind = axis + indices.rank();
    composed(what, (x.clone(), indices.clone()), |(x, indices)| {
        if shape.contains(&0) {
            return Tensor::zeros(shape, x.dtype());
        }
        let fill = out_of_range == OutOfRange::Fill;
        let indices = indices.astype(wide_index_dtype(indices.dtype(), size));
        let indices = if fill { from_front(&indices, size) } else { indices };
        let mut slice_sizes = x.shape().to_vec();
        slice_sizes[axis] = 1;
        let gather = Gather {
            offset_axes: (0..axis).chain(behind..shape.len()).collect(),
            collapsed_axes: vec![axis],
            start_index_map: vec![axis],
            slice_sizes,
        };
        let taken = record_one(gather, &[&x, &indices.expand_dims(-1)]);
        if !fill {
            return taken;
        }
        let mask = Broadcast { shape, axes: (axis..behind).collect() };
        let valid = record_one(mask, &[&in_range(&indices, size)]);
        select(&valid, taken, fill_value(x.dtype()))
    })
}

/// Whether indices are in the range of an axis of this size.
#[track_caller]
fn in_range(indices: &Tensor, size: usize) -> Tensor {
    let below = indices.lt(size as i64);
    if indices.dtype().is_signed_int() { below & indices.ge(0) } else { below }
}

pub(super) fn require_ints(what: &str, indices: &Aval) -> Result<()> {
    if indices.dtype.is_int() {
        return Ok(());
    }
    Err(Error::dtype(format!("{what}: the indices must be integers, but they are {indices}")))
}

fn require_elements(what: &str, x: &Aval, axis: usize, result: Shape) -> Result<(usize, Shape)> {
    if x.shape[axis] == 0 && !result.contains(&0) {
        return Err(Error::shape(format!(
            "{what}: axis {axis} of {x} has no elements, so nothing can be taken from it"
        )));
    }
    check_size(what, &x.with_shape(&result[..]))?;
    Ok((axis, result))
}

/// The axis, and the shape of what is taken along it.
fn check_take(what: &str, x: &Aval, indices: &Aval, axis: isize) -> Result<(usize, Shape)> {
    let axis = resolve_axis(what, axis, x.rank())?;
    require_ints(what, indices)?;
    let result = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    require_elements(what, x, axis, result)
}

fn check_along(x: &Aval, indices: &Aval, axis: isize) -> Result<(usize, Shape)> {
    let what = "take_along_axis";
    let axis = resolve_axis(what, axis, x.rank())?;
    require_ints(what, indices)?;
    if indices.rank() != x.rank() {
        return Err(Error::shape(format!(
            "{what}: the indices must have as many axes as the tensor, but they are {indices} and \
             {x}"
        )));
    }
    let mut kept = x.clone();
    kept.shape[axis] = 1;
    let mut others = indices.clone();
    others.shape[axis] = 1;
    let mut result = broadcast_shapes(&[&kept, &others]).map_err(|_| {
        Error::shape(format!(
            "{what}: the sizes of {indices} and {x} must be equal or one, except along axis {axis}"
        ))
    })?;
    result[axis] = indices.shape[axis];
    require_elements(what, x, axis, result)
}
