//! Scatter: changes at many places at once.

use xla::XlaOp;

use super::binary::Operand;
use super::broadcast::{Broadcast, Reshape, broadcast_shapes};
use super::dynamic_slice::{from_front, wide_index_dtype};
use super::gather::{Gather, check_axes, check_indices, require_ints, with_front, with_member};
use super::iota::index_dtype;
use super::select::select;
use super::{Operation, Text, check_size, composed, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, Shape};
use crate::error::{Error, Result};
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::lower::{Lowering, dims};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::{Dual, or_zeros};
use crate::transform::transpose::{Input, not_linear};

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

    /// Where several updates fall on one place it is not said which one stays. So that the value
    /// and the tangent are of the same one, the updates are numbered and the numbers scattered, as
    /// JAX does it; of what the others would have put there, zeros are added.
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

/// Changes at many places at once. Indices are integers.
impl Tensor {
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
    /// let places = Tensor::new(&[0i32, 2, 2], [3]);
    /// let counts = Tensor::zeros([3], DType::I32).scatter_add(&places, 1);
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
