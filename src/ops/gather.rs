//! Gather and scatter: elements at many places at once.

use xla::XlaOp;

use super::binary::Operand;
use super::broadcast::{Broadcast, Reshape, broadcast_shapes};
use super::dynamic_slice::{from_front, is_index, wide_index_dtype};
use super::iota::index_dtype;
use super::select::select;
use super::{Operation, Text, check_size, composed, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::host::Scalar;
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::lower::{Lowering, dims};
use crate::ops::concatenate::concatenate;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::{Dual, or_zeros};
use crate::transform::transpose::{Input, not_linear};

operation! {
    /// One slice of the first operand, of size `slice_sizes`, for each vector along the last axis
    /// of the second one. The vector says where the slice starts: its element `i` is the index in
    /// axis `start_index_map[i]`; in the other axes the slice starts at 0. Each is moved so that the
    /// slice lies inside. Without its `collapsed_axes`, which have size one, a slice fills the axes
    /// `offset_axes` of the result; the other axes of the result are those of the indices but the
    /// last. HLO's `gather`.
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
            (place, None) => self.from_each(size, place.unwrap_or(0), &x.tensor, &indices.tensor),
            (None, Some(place)) => {
                // The last axis is that of the index vectors.
                let last = place + 1 == indices.tensor.rank();
                let front = if last { indices.to_front_if_batched(size) } else { indices.clone() };
                self.at_each(front.axis.unwrap_or(0), &x.tensor, &front.tensor)
            }
            (Some(_), Some(_)) => self.at_each_from_each(size, x, indices)?,
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
    fn limits(&self, x: &Aval, dtype: DType) -> Tensor {
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
    fn from_each(
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
    fn at_each_from_each(
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
fn with_front(axes: &[usize]) -> Vec<usize> {
    [vec![0], rules::shifted(axes, 0)].concat()
}

/// The index vectors of `size` members, along the first axis, with the number of the member before
/// the first element of each.
fn with_member(size: usize, indices: &Tensor) -> Tensor {
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

/// How a scatter joins an update with the element that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Combine {
    Add,
    Max,
    Min,
    Replace,
}

impl Combine {
    const ALL: [Combine; 4] = [Combine::Add, Combine::Max, Combine::Min, Combine::Replace];

    fn name(self) -> &'static str {
        match self {
            Combine::Add => "add",
            Combine::Max => "max",
            Combine::Min => "min",
            Combine::Replace => "replace",
        }
    }

    fn lower(self, old: &XlaOp, update: &XlaOp) -> Result<XlaOp> {
        Ok(match self {
            Combine::Add => old.add_(update)?,
            Combine::Max => old.max(update)?,
            Combine::Min => old.min(update)?,
            Combine::Replace => update.clone(),
        })
    }
}

impl Attribute for Combine {
    fn print(&self, printer: &mut Printer) {
        printer.push(self.name());
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Combine> {
        let start = parser.start();
        let name = parser.word();
        let found = Combine::ALL.into_iter().find(|combine| combine.name() == name);
        found.ok_or_else(|| parser.error_at(start, "add, max, min or replace"))
    }
}

operation! {
    /// The first operand, changed at the places that the second one names: the counterpart of
    /// [`Gather`]. For each vector along the last axis of the indices, a slice of the third operand
    /// is joined with what is there. The axes `window_axes` of the updates are those of a slice,
    /// which is without the axes `inserted_axes` of the operand; the other axes of the updates are
    /// those of the indices but the last. Element `i` of a vector is the index in axis
    /// `scatter_axes[i]`. Slices that do not lie inside change nothing. HLO's `scatter`.
    struct Scatter = "scatter" {
        combine: Combine,
        window_axes: Vec<usize>,
        inserted_axes: Vec<usize>,
        scatter_axes: Vec<usize>,
    }
}

impl Operation for Scatter {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, indices, updates] = inputs(self, avals)?;
        let batch = check_indices("scatter", x, indices, &self.scatter_axes)?;
        if x.dtype != updates.dtype {
            return Err(Error::dtype(format!(
                "scatter: the updates must have the dtype of the tensor, but they are {updates} and \
                 {x}: convert them with `astype`"
            )));
        }
        check_axes("scatter: the inserted axes", &self.inserted_axes, x.rank())?;
        check_axes("scatter: the window axes", &self.window_axes, updates.rank())?;
        let kept = (0..x.rank()).filter(|axis| !self.inserted_axes.contains(axis));
        let limits: Shape = kept.map(|axis| x.shape[axis]).collect();
        let window: Shape = self.window_axes.iter().map(|&axis| updates.shape[axis]).collect();
        if window.len() != limits.len() || window.iter().zip(&limits).any(|(w, limit)| w > limit) {
            return Err(Error::shape(format!(
                "scatter: slices of sizes {window:?} do not fit in {x} without its axes {:?}",
                self.inserted_axes,
            )));
        }
        let places = (0..updates.rank()).filter(|axis| !self.window_axes.contains(axis));
        if !places.map(|axis| &updates.shape[axis]).eq(batch) {
            return Err(Error::shape(format!(
                "scatter: the axes of the updates {updates} other than {:?} must be those of the \
                 indices {indices} but the last",
                self.window_axes,
            )));
        }
        Ok(vec![x.clone()])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let scalar = Aval::scalar(outputs[0].dtype);
        let pair = [scalar.clone(), scalar];
        let computation = Lowering::computation(self.combine.name(), &pair, |_, params| {
            self.combine.lower(&params[0], &params[1])
        })?;
        let index_vector_axis = inputs[1].rank()? as i64 - 1;
        Ok(vec![inputs[0].scatter(
            &inputs[1],
            &inputs[2],
            &computation,
            &dims(&self.window_axes),
            &dims(&self.inserted_axes),
            &dims(&self.scatter_axes),
            index_vector_axis,
        )?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let [x, indices, updates] = [0, 1, 2].map(|i| &primals[i]);
        // Nothing is changed, or there is nothing to change.
        if x.size() == 0 || updates.size() == 0 {
            return Ok(Dual::one(x.clone(), tangents[0].clone()));
        }
        match self.combine {
            Combine::Add => {
                let y = rules::apply_one(self, primals);
                let t = self.add(x.aval(), tangents[0].clone(), indices, tangents[2].clone());
                Ok(Dual::one(y, t))
            }
            Combine::Max | Combine::Min => Ok(self.extreme_jvp(primals, tangents)),
            Combine::Replace => Ok(self.replace_jvp(primals, tangents)),
        }
    }

    /// Of a scatter that adds; updates that were left out have no part.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let (x, updates) = (inputs[0].aval(), inputs[2].aval());
        let indices = inputs[1].known(self.name())?;
        if self.combine != Combine::Add {
            return Err(not_linear(&format!("scatter_{}", self.combine.name())));
        }
        let taken = |ct: &Tensor| {
            let gather = self.gather(x, updates);
            let limits = gather.limits(x, indices.dtype());
            let inside = (indices.ge(0) & indices.le(limits)).all(-1);
            let inside = self.spread(&inside, updates);
            select(&inside, record_one(gather, &[ct, indices]), 0)
        };
        let wanted = inputs[2].is_linear() && x.size() > 0 && updates.size() > 0;
        let of_updates = cts[0].as_ref().filter(|_| wanted).map(taken);
        Ok(vec![cts[0].clone().filter(|_| inputs[0].is_linear()), None, of_updates])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let [x, indices, updates] = [0, 1, 2].map(|i| &inputs[i]);
        let (x, updates) = (x.to_front(size), updates.to_front(size));
        let Scatter { combine, window_axes, inserted_axes, scatter_axes } = self;
        let (scatter, indices) = if indices.is_batched() {
            // An index more says which member is changed.
            let scatter = Scatter {
                combine: *combine,
                window_axes: rules::shifted(window_axes, 0),
                inserted_axes: with_front(inserted_axes),
                scatter_axes: with_front(scatter_axes),
            };
            (scatter, with_member(size, &indices.to_front(size)))
        } else {
            // Each update becomes that of all members.
            let scatter = Scatter {
                combine: *combine,
                window_axes: with_front(window_axes),
                inserted_axes: rules::shifted(inserted_axes, 0),
                scatter_axes: rules::shifted(scatter_axes, 0),
            };
            (scatter, indices.tensor.clone())
        };
        Ok(vec![Batched::stacked(record_one(scatter, &[&x, &indices, &updates]))])
    }
}

impl Scatter {
    /// The gather that takes slices from where this puts them.
    fn gather(&self, x: &Aval, updates: &Aval) -> Gather {
        let mut window = self.window_axes.iter().map(|&axis| updates.shape[axis]);
        let inserted = |axis| self.inserted_axes.contains(&axis);
        let size = |axis| if inserted(axis) { Some(1) } else { window.next() };
        Gather {
            offset_axes: self.window_axes.clone(),
            collapsed_axes: self.inserted_axes.clone(),
            start_index_map: self.scatter_axes.clone(),
            slice_sizes: (0..x.rank()).filter_map(size).collect(),
        }
    }

    /// A value for each index vector, repeated for all elements of its update.
    fn spread(&self, value: &Tensor, updates: &Aval) -> Tensor {
        let axes = (0..updates.rank()).filter(|axis| !self.window_axes.contains(axis)).collect();
        record_one(Broadcast { shape: updates.shape.clone(), axes }, &[value])
    }

    /// `x` with the updates added to it, where each may be zero.
    fn add(
        &self,
        aval: &Aval,
        x: Option<Tensor>,
        indices: &Tensor,
        updates: Option<Tensor>,
    ) -> Option<Tensor> {
        let Some(updates) = updates else { return x };
        let add = Scatter { combine: Combine::Add, ..self.clone() };
        Some(record_one(add, &[&or_zeros(x, aval), indices, &updates]))
    }

    /// Of the elements and updates that are the largest or smallest ones at a place, each has an
    /// equal share in the tangent there, as in JAX.
    fn extreme_jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Dual {
        let [x, indices, updates] = [0, 1, 2].map(|i| &primals[i]);
        let y = rules::apply_one(self, primals);
        let there = record_one(self.gather(x.aval(), updates.aval()), &[&y, indices]);
        // NaN stays where it is, too.
        let stands = |x: &Tensor, y: &Tensor| (x.eq(y) | x.is_nan()).astype(x.dtype());
        let (old, new) = (stands(x, &y), stands(updates, &there));
        let part = |t: &Option<Tensor>, stands: &Tensor| t.as_ref().map(|t| t * stands);
        let (t_x, t_updates) = (part(&tangents[0], &old), part(&tangents[2], &new));
        let sum = self.add(x.aval(), t_x, indices, t_updates);
        let count = self.add(x.aval(), Some(old), indices, Some(new));
        let tangent = sum.zip(count).map(|(sum, count)| sum / count);
        Dual::one(y, tangent)
    }

    /// Where several updates fall on one place it is not said which one stays. So that the value and
    /// the tangent are of the same one, the updates are numbered and the numbers scattered, as JAX
    /// does it; of what the others would have put there, zeros are added.
    fn replace_jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Dual {
        let [x, indices, updates] = [0, 1, 2].map(|i| &primals[i]);
        let batch = &indices.shape()[..indices.rank() - 1];
        let count: usize = batch.iter().product();
        let dtype = index_dtype(count);
        let numbers = Tensor::arange(count, dtype) + 1;
        let numbers = record_one(Reshape { shape: batch.to_vec() }, &[&numbers]);
        let numbers = self.spread(&numbers, updates.aval());
        let unchanged = Tensor::zeros(x.shape(), dtype);
        let stays = record_one(self.clone(), &[&unchanged, indices, &numbers]);
        let kept = stays.eq(0);
        let old = |x: &Tensor| select(&kept, x, 0);
        let t_x = tangents[0].as_ref().map(old);
        if count == 1 {
            let t = self.add(x.aval(), t_x, indices, tangents[2].clone());
            return Dual::one(rules::apply_one(self, primals), t);
        }
        let there = record_one(self.gather(x.aval(), updates.aval()), &[&stays, indices]);
        let stands = there.eq(&numbers);
        let new = |updates: &Tensor| select(&stands, updates, 0);
        let y = self.add(x.aval(), Some(old(x)), indices, Some(new(updates)));
        let t = self.add(x.aval(), t_x, indices, tangents[2].as_ref().map(new));
        Dual { primals: y.into_iter().collect(), tangents: vec![t] }
    }
}

/// Checks indices into `x` whose vectors, along the last axis, name places along `axes`. Gives the
/// other axes of the indices.
fn check_indices<'a>(
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
fn check_axes(what: &str, axes: &[usize], rank: usize) -> Result<()> {
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

    /// As [`take`](Tensor::take), but an index out of range gives the first or the last element, and
    /// negative indices the first; `jnp.take` with `mode="clip"`.
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

    /// The tensor with `updates` added to the elements of the leading axis at `indices`;
    /// `x.at[indices].add(updates)` of JAX.
    ///
    /// Shapes `[n, a]`, indices `[i, j]` and updates `[i, j, a]` give `[n, a]`; the updates are
    /// broadcast. Where an index comes more than once, all its updates are added. Negative indices
    /// count from the back; updates at indices out of range are left out. Fails if the indices are
    /// not integers, if the tensor is a scalar, or if the updates do not fit or have another dtype.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let counts = Tensor::zeros([3], DType::I32).scatter_add(&Tensor::new(&[0i32, 2, 2], [3]), 1);
    /// assert_eq!(counts.to_vec::<i32>()?, [1, 0, 2]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn scatter_add(&self, indices: &Tensor, updates: impl Operand) -> Tensor {
        scatter("scatter_add", Combine::Add, self, indices, &updates.into_tensor(self))
    }

    /// As [`scatter_add`](Tensor::scatter_add), with the larger one of element and update;
    /// `x.at[indices].max(updates)` of JAX.
    #[track_caller]
    pub fn scatter_max(&self, indices: &Tensor, updates: impl Operand) -> Tensor {
        scatter("scatter_max", Combine::Max, self, indices, &updates.into_tensor(self))
    }

    /// As [`scatter_add`](Tensor::scatter_add), with the smaller one of element and update;
    /// `x.at[indices].min(updates)` of JAX.
    #[track_caller]
    pub fn scatter_min(&self, indices: &Tensor, updates: impl Operand) -> Tensor {
        scatter("scatter_min", Combine::Min, self, indices, &updates.into_tensor(self))
    }

    /// As [`scatter_add`](Tensor::scatter_add), with the update in place of the element;
    /// `x.at[indices].set(updates)` of JAX. Where an index comes more than once, it is not said
    /// which update stays.
    #[track_caller]
    pub fn scatter_set(&self, indices: &Tensor, updates: impl Operand) -> Tensor {
        scatter("scatter_set", Combine::Replace, self, indices, &updates.into_tensor(self))
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

fn require_ints(what: &str, indices: &Aval) -> Result<()> {
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

#[track_caller]
fn scatter(what: &str, combine: Combine, x: &Tensor, indices: &Tensor, updates: &Tensor) -> Tensor {
    let shape = match check_scatter(what, x.aval(), indices.aval(), updates.aval()) {
        Ok(shape) => shape,
        Err(error) => return poison(error, &[x, indices, updates]),
    };
    let size = x.shape()[0];
    let arguments = (x.clone(), indices.clone(), updates.clone());
    composed(what, arguments, |(x, indices, updates)| {
        // Nothing is changed, or there is nothing to change.
        if shape.contains(&0) || x.size() == 0 {
            return x;
        }
        let indices = indices.astype(wide_index_dtype(indices.dtype(), size));
        let indices = from_front(&indices, size);
        let scatter = Scatter {
            combine,
            window_axes: (indices.rank()..shape.len()).collect(),
            inserted_axes: vec![0],
            scatter_axes: vec![0],
        };
        record_one(scatter, &[&x, &indices.expand_dims(-1), &updates.broadcast_to(&shape)])
    })
}

/// The shape that the updates are broadcast to.
fn check_scatter(what: &str, x: &Aval, indices: &Aval, updates: &Aval) -> Result<Shape> {
    let Some((_, slice)) = x.shape.split_first() else {
        return Err(Error::shape(format!(
            "{what}: {x} has no axis along which indices could name places"
        )));
    };
    require_ints(what, indices)?;
    if updates.dtype != x.dtype {
        return Err(Error::dtype(format!(
            "{what}: the updates must have the dtype of the tensor, but they are {updates} and {x}: \
             convert them with `astype`"
        )));
    }
    let wanted = updates.with_shape([&indices.shape, slice].concat());
    check_size(what, &wanted)?;
    let fits = broadcast_shapes(&[updates, &wanted]).is_ok_and(|shape| shape == wanted.shape);
    if !fits {
        return Err(Error::shape(format!(
            "{what}: with indices {indices} into {x}, the updates must broadcast to {wanted}, but \
             they are {updates}"
        )));
    }
    Ok(wanted.shape)
}
