//! Slices at places known only when the program runs.

use std::borrow::Borrow;

use xla::XlaOp;

use super::broadcast::Reshape;
use super::concatenate::concatenate;
use super::gather::Gather;
use super::iota::index_dtype;
use super::scatter::{Combine, Scatter};
use super::select::select;
use super::{Operation, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::{Lowering, dims};
use crate::tensor::Repr;
use crate::trace::scope::library_scope;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::Input;

operation! {
    /// The slice of the first operand of these sizes that starts where the other operands say, one
    /// index for each axis. Each is moved so that the slice lies inside. HLO's `dynamic-slice`.
    struct DynamicSlice = "dynamic_slice" { sizes: Vec<usize> }
}

impl Operation for DynamicSlice {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let Some((&x, starts)) = avals.split_first() else {
            return Err(Error::argument("dynamic_slice: there is no tensor to slice"));
        };
        if self.sizes.len() != x.rank() {
            return Err(Error::shape(format!(
                "dynamic_slice: {x} needs a size for each of its {} axes, but the sizes are {:?}",
                x.rank(),
                self.sizes,
            )));
        }
        if let Some(axis) = (0..x.rank()).find(|&axis| self.sizes[axis] > x.shape[axis]) {
            return Err(Error::shape(format!(
                "dynamic_slice: a slice of size {} does not fit in axis {axis} of {x}, which has \
                 size {}",
                self.sizes[axis], x.shape[axis],
            )));
        }
        check_starts("dynamic_slice", x, starts)?;
        Ok(vec![x.with_shape(&self.sizes[..])])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(match inputs.split_first() {
            Some((x, starts)) if !starts.is_empty() => {
                vec![x.dynamic_slice(starts, &dims(&self.sizes))?]
            }
            _ => inputs.to_vec(),
        })
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 1, primals, tangents)
    }

    /// Zeros with the cotangent written where the slice was.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let starts = known_starts("dynamic_slice", &inputs[1..])?;
        let x = inputs[0].aval();
        let back = |ct: &Tensor| {
            let zeros = Tensor::zeros(&x.shape[..], x.dtype);
            rules::apply_one(&DynamicUpdateSlice {}, &[&[zeros, ct.clone()], &starts[..]].concat())
        };
        let mut cotangents = vec![None; inputs.len()];
        cotangents[0] = cts[0].as_ref().map(back);
        Ok(cotangents)
    }

    /// With a start for each member, a gather.
    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, starts) = (&inputs[0], &inputs[1..]);
        if !starts.iter().any(Batched::is_batched) {
            let place = x.axis.unwrap_or(0);
            let mut sizes = self.sizes.clone();
            sizes.insert(place, size);
            let operands = [vec![x.tensor.clone()], starts_around(starts, place)].concat();
            let tensor = rules::apply_one(&DynamicSlice { sizes }, &operands);
            return Ok(vec![Batched { tensor, axis: x.axis }]);
        }
        let moving = moving_axes(&x.member(), &self.sizes);
        if moving.is_empty() {
            return Ok(vec![x.clone()]);
        }
        if size == 0 {
            // A batch axis without a place has none for a gather to take.
            let shape = [&[size], &self.sizes[..]].concat();
            return Ok(vec![Batched::stacked(Tensor::zeros(shape, x.tensor.dtype()))]);
        }
        let mut slice_sizes = self.sizes.clone();
        x.axis.iter().for_each(|&axis| slice_sizes.insert(axis, 1));
        let gather = Gather {
            offset_axes: (1..=self.sizes.len()).collect(),
            collapsed_axes: x.axis.into_iter().collect(),
            start_index_map: axes_of_columns(&moving, x.axis),
            slice_sizes,
        };
        let columns = moving.iter().map(|&axis| starts[axis].to_front(size));
        let indices = index_vectors(size, columns.collect(), x.is_batched());
        Ok(vec![Batched::stacked(record_one(gather, &[&x.tensor, &indices]))])
    }
}

operation! {
    /// The first operand with the second one written over it, starting where the other operands
    /// say, one index for each axis. Each is moved so that the update lies inside. HLO's
    /// `dynamic-update-slice`.
    struct DynamicUpdateSlice = "dynamic_update_slice" {}
}

impl Operation for DynamicUpdateSlice {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, update, starts @ ..] = avals else {
            return Err(Error::argument(
                "dynamic_update_slice: the tensor or the update is missing",
            ));
        };
        if x.dtype != update.dtype {
            return Err(Error::dtype(format!(
                "dynamic_update_slice: the update must have the dtype of the tensor, but they are \
                 {update} and {x}: convert it with `astype`"
            )));
        }
        if x.rank() != update.rank() || update.shape.iter().zip(&x.shape).any(|(u, d)| u > d) {
            return Err(Error::shape(format!(
                "dynamic_update_slice: the update {update} does not fit in {x}: it must have as \
                 many axes, none larger"
            )));
        }
        check_starts("dynamic_update_slice", x, starts)?;
        Ok(vec![(*x).clone()])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(match inputs {
            // A scalar has no place to choose: it is replaced.
            [_, update] => vec![update.clone()],
            [x, update, starts @ ..] => vec![x.dynamic_update_slice(update, starts)?],
            _ => inputs.to_vec(),
        })
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, 2, primals, tangents)
    }

    /// What was written over gets nothing; the update gets what stands in its place.
    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let starts = known_starts("dynamic_update_slice", &inputs[2..])?;
        let update = inputs[1].aval();
        let to = |i: usize| cts[0].as_ref().filter(|_| inputs[i].is_linear());
        let of_tensor = to(0).map(|ct| {
            let zeros = Tensor::zeros(&update.shape[..], update.dtype);
            rules::apply_one(self, &[&[ct.clone(), zeros], &starts[..]].concat())
        });
        let of_update = to(1).map(|ct| {
            let slice = DynamicSlice { sizes: update.shape.clone() };
            rules::apply_one(&slice, &[std::slice::from_ref(ct), &starts[..]].concat())
        });
        let mut cotangents = vec![of_tensor, of_update];
        cotangents.resize(inputs.len(), None);
        Ok(cotangents)
    }

    /// With a start for each member, a scatter.
    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (operands, starts) = inputs.split_at(2);
        if !starts.iter().any(Batched::is_batched) {
            let (mut operands, place) = rules::aligned(size, operands);
            operands.extend(starts_around(starts, place));
            let tensor = rules::apply_one(self, &operands);
            return Ok(vec![Batched { tensor, axis: Some(place) }]);
        }
        let (x, update) = (&operands[0], &operands[1]);
        let (shape, sizes) = (x.member().shape, update.member().shape);
        let moving = moving_axes(&x.member(), &sizes);
        if moving.is_empty() {
            return Ok(vec![update.clone()]);
        }
        // A scatter leaves out what does not lie inside; the update moves there.
        let column = |&axis: &usize| {
            let last = (shape[axis] - sizes[axis]) as i64;
            starts[axis].to_front(size).clamp(0, last)
        };
        let indices = index_vectors(size, moving.iter().map(column).collect(), true);
        let place = x.axis.unwrap_or(0);
        let x = if x.is_batched() { x.tensor.clone() } else { x.to_front(size) };
        let scatter = Scatter {
            combine: Combine::Replace,
            window_axes: (1..=sizes.len()).collect(),
            inserted_axes: vec![place],
            scatter_axes: axes_of_columns(&moving, Some(place)),
        };
        let tensor = record_one(scatter, &[&x, &indices, &update.to_front(size)]);
        Ok(vec![Batched { tensor, axis: Some(place) }])
    }
}

/// The start indices of a slice that is transposed.
fn known_starts(name: &str, starts: &[Input]) -> Result<Vec<Tensor>> {
    starts.iter().map(|start| start.known(name).cloned()).collect()
}

/// The start indices, the same for all members, of a slice that takes all of a batch axis.
fn starts_around(starts: &[Batched], batch_axis: usize) -> Vec<Tensor> {
    let dtype = starts.first().map_or(DType::I32, |start| start.tensor.dtype());
    let mut starts: Vec<Tensor> = starts.iter().map(|start| start.tensor.clone()).collect();
    starts.insert(batch_axis, Tensor::zeros([], dtype));
    starts
}

/// The axes in which a slice of these sizes can lie in more than one place.
fn moving_axes(x: &Aval, sizes: &[usize]) -> Vec<usize> {
    (0..x.rank()).filter(|&axis| sizes[axis] < x.shape[axis]).collect()
}

/// The axis that each column of the index vectors names a place along, where the first column is
/// that of the batch axis, if there is one, and the others are those of the `moving` axes.
fn axes_of_columns(moving: &[usize], batch_axis: Option<usize>) -> Vec<usize> {
    match batch_axis {
        Some(batch) => [vec![batch], rules::shifted(moving, batch)].concat(),
        None => moving.to_vec(),
    }
}

/// The vectors that name the places of all slices, for the index of each member along each moving
/// axis. With `numbered`, they begin with the number of the member.
fn index_vectors(size: usize, mut columns: Vec<Tensor>, numbered: bool) -> Tensor {
    if numbered {
        let dtype = wide_index_dtype(columns[0].dtype(), size);
        columns.iter_mut().for_each(|column| *column = column.astype(dtype));
        columns.insert(0, Tensor::arange(size, dtype));
    }
    let columns: Vec<Tensor> = columns.iter().map(|column| column.expand_dims(-1)).collect();
    concatenate(&columns, -1)
}

/// Whether a tensor of this dtype can hold places in a tensor, as the operations take them.
pub(super) fn is_index(dtype: DType) -> bool {
    matches!(dtype, DType::I32 | DType::I64 | DType::U32)
}

fn check_starts(what: &str, x: &Aval, starts: &[&Aval]) -> Result<()> {
    if starts.len() != x.rank() {
        return Err(Error::argument(format!(
            "{what}: {x} needs a start index for each of its {} axes, but there are {}",
            x.rank(),
            starts.len(),
        )));
    }
    let scalar_index = |start: &&Aval| start.rank() == 0 && is_index(start.dtype);
    if !starts.iter().all(scalar_index) || starts.iter().any(|start| *start != starts[0]) {
        let list: Vec<String> = starts.iter().map(ToString::to_string).collect();
        return Err(Error::dtype(format!(
            "{what}: the start indices must be integer scalars of one dtype, but they are {}",
            list.join(", "),
        )));
    }
    Ok(())
}

/// The dtype of indices into a tensor with axes up to `size`, given in `dtype`: one in which the
/// size has a place too, since XLA compares them.
pub(super) fn wide_index_dtype(dtype: DType, size: usize) -> DType {
    match dtype {
        DType::U8 | DType::I32 => index_dtype(size),
        DType::U32 if u32::try_from(size).is_err() => DType::I64,
        other => other,
    }
}

/// A start index as the operations take it: negative ones count from the back. What is known while
/// tracing is computed then.
#[track_caller]
fn start_index(index: &Tensor, size: usize, widest: usize) -> Tensor {
    let dtype = wide_index_dtype(index.dtype(), widest);
    if !is_index(dtype) || index.rank() != 0 {
        // The operation will refuse it, and say why.
        return index.clone();
    }
    if let Some(known) = known_int(index) {
        if known >= 0 && index.dtype() == dtype {
            return index.clone();
        }
        let known = if known < 0 { known.saturating_add_unsigned(size as u64) } else { known };
        return Tensor::scalar(known, dtype);
    }
    from_front(&index.astype(dtype), size)
}

/// The number that an integer scalar is, if it has data.
fn known_int(index: &Tensor) -> Option<i64> {
    let Repr::Concrete(array) = &index.0 else { return None };
    let host = array.to_host().ok()?;
    Some(match host.aval.dtype {
        DType::U8 => host.to_vec::<u8>().ok()?[0].into(),
        DType::U32 => host.to_vec::<u32>().ok()?[0].into(),
        DType::I32 => host.to_vec::<i32>().ok()?[0].into(),
        _ => host.to_vec::<i64>().ok()?[0],
    })
}

/// Indices with negative ones counted from the back of an axis of this size, which the dtype holds.
#[track_caller]
pub(super) fn from_front(index: &Tensor, size: usize) -> Tensor {
    if !index.dtype().is_signed_int() {
        return index.clone();
    }
    select(&index.lt(0), index + size as i64, index)
}

/// The start indices of a slice that starts at `start` of one axis and at 0 of the others.
#[track_caller]
fn starts_in_dim(x: &Tensor, start: &Tensor, axis: usize) -> Vec<Tensor> {
    let zero = Tensor::zeros([], start.dtype());
    (0..x.rank()).map(|i| if i == axis { start.clone() } else { zero.clone() }).collect()
}

/// Slices at indices that are tensors: integer scalars, of one dtype where there are several.
/// Negative ones count from the back. A slice that would then reach beyond an end is moved inside,
/// so nothing fails when the program runs.
impl Tensor {
    /// The slice of sizes `slice_sizes` that starts at `start_indices`, one for each axis;
    /// `lax.dynamic_slice`.
    ///
    /// Fails if the indices are not integer scalars of one dtype, one for each axis, or if the
    /// slice is larger than the tensor.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(5, DType::F32);
    /// let i = Tensor::scalar(4, DType::I32);
    /// assert_eq!(x.dynamic_slice(&[i], &[2]).to_vec::<f32>()?, [3.0, 4.0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn dynamic_slice<T: Borrow<Tensor>>(
        &self,
        start_indices: &[T],
        slice_sizes: &[usize],
    ) -> Tensor {
        let starts = prepared("dynamic_slice", self, start_indices);
        let inputs: Vec<&Tensor> = std::iter::once(self).chain(&starts).collect();
        record_one(DynamicSlice { sizes: slice_sizes.to_vec() }, &inputs)
    }

    /// The slice of size `slice_size` of one axis that starts at `start_index`;
    /// `lax.dynamic_slice_in_dim`.
    ///
    /// Fails if the index is not an integer scalar, or if the slice is larger than the axis.
    #[track_caller]
    pub fn dynamic_slice_in_dim(
        &self,
        start_index: &Tensor,
        slice_size: usize,
        axis: isize,
    ) -> Tensor {
        let axis = match resolve_axis("dynamic_slice_in_dim", axis, self.rank()) {
            Ok(axis) => axis,
            Err(error) => return poison(error, &[self]),
        };
        let mut sizes = self.shape().to_vec();
        sizes[axis] = slice_size;
        self.dynamic_slice(&starts_in_dim(self, start_index, axis), &sizes)
    }

    /// The element at `index` of one axis; `lax.dynamic_index_in_dim`. With `keepdims`, the axis
    /// stays, with size one.
    ///
    /// An index that is out of range gives the first or the last element. Fails if the index is not
    /// an integer scalar, or if the axis is empty.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::arange(6, DType::I32).reshape([2, 3]);
    /// let i = Tensor::scalar(1, DType::I32);
    /// assert_eq!(x.dynamic_index_in_dim(&i, 0, false).to_vec::<i32>()?, [3, 4, 5]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn dynamic_index_in_dim(&self, index: &Tensor, axis: isize, keepdims: bool) -> Tensor {
        if let Err(error) = resolve_axis("dynamic_index_in_dim", axis, self.rank()) {
            return poison(error, &[self]);
        }
        let slice = self.dynamic_slice_in_dim(index, 1, axis);
        if keepdims { slice } else { slice.squeeze(axis) }
    }

    /// The tensor with `update` written over it from `start_indices` on, one for each axis;
    /// `lax.dynamic_update_slice`.
    ///
    /// Fails if the indices are not integer scalars of one dtype, one for each axis, or if the
    /// update is larger than the tensor or has another dtype or rank.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let i = Tensor::scalar(-1, DType::I32);
    /// let (x, one) = (Tensor::zeros([3], DType::F32), Tensor::ones([1], DType::F32));
    /// let x = x.dynamic_update_slice(&one, &[i]);
    /// assert_eq!(x.to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn dynamic_update_slice<T: Borrow<Tensor>>(
        &self,
        update: &Tensor,
        start_indices: &[T],
    ) -> Tensor {
        let starts = prepared("dynamic_update_slice", self, start_indices);
        let inputs: Vec<&Tensor> = [self, update].into_iter().chain(&starts).collect();
        record_one(DynamicUpdateSlice {}, &inputs)
    }

    /// The tensor with `update` written over it from `start_index` of one axis on;
    /// `lax.dynamic_update_slice_in_dim`.
    ///
    /// Fails as [`dynamic_update_slice`](Tensor::dynamic_update_slice) does.
    #[track_caller]
    pub fn dynamic_update_slice_in_dim(
        &self,
        update: &Tensor,
        start_index: &Tensor,
        axis: isize,
    ) -> Tensor {
        match resolve_axis("dynamic_update_slice_in_dim", axis, self.rank()) {
            Ok(axis) => self.dynamic_update_slice(update, &starts_in_dim(self, start_index, axis)),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The tensor with `update` written over the element at `index` of one axis, which `update`
    /// has not, or has with size one; `lax.dynamic_update_index_in_dim`.
    ///
    /// An index that is out of range means the first or the last element. Fails if the index is not
    /// an integer scalar, or if the update does not fit.
    #[track_caller]
    pub fn dynamic_update_index_in_dim(
        &self,
        update: &Tensor,
        index: &Tensor,
        axis: isize,
    ) -> Tensor {
        let axis = match resolve_axis("dynamic_update_index_in_dim", axis, self.rank()) {
            Ok(axis) => axis,
            Err(error) => return poison(error, &[self]),
        };
        let starts = starts_in_dim(self, index, axis);
        let one = self.rank() == update.rank() + 1;
        if !one && update.shape().get(axis) != Some(&1) {
            let message = format!(
                "dynamic_update_index_in_dim: the update must be one element of axis {axis} of {}, \
                 without that axis or with size 1 there, but it is {}",
                self.aval(),
                update.aval(),
            );
            return poison(Error::shape(message), &[self, update]);
        }
        let mut shape = update.shape().to_vec();
        if one {
            shape.insert(axis, 1);
        }
        self.dynamic_update_slice(&record_one(Reshape { shape }, &[update]), &starts)
    }
}

/// The start indices, as the operation takes them.
#[track_caller]
fn prepared<T: Borrow<Tensor>>(what: &str, x: &Tensor, starts: &[T]) -> Vec<Tensor> {
    let widest = x.shape().iter().copied().max().unwrap_or(0);
    library_scope(what, || {
        let sizes = x.shape().iter().copied().chain(std::iter::repeat(1));
        starts.iter().zip(sizes).map(|(i, size)| start_index(i.borrow(), size, widest)).collect()
    })
}
