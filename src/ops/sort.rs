//! Sorting, and the largest elements.

use xla::{XlaComputation, XlaOp};

use super::dynamic_slice::wide_index_dtype;
use super::gather::{along_axis, widest};
use super::iota::index_dtype;
use super::reduce::i32_size;
use super::{Operation, Text, composed, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::{Lowering, untuple};
use crate::trace::{poison, record, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

operation! {
    /// Reorders the operands, which have one shape, along `axis` so that the first `num_keys` of
    /// them ascend, compared in that order. The sort is stable. HLO's `sort`, `lax.sort`.
    struct Sort = "sort" { axis: usize, num_keys: usize }
}

impl Operation for Sort {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        if !(1..=avals.len()).contains(&self.num_keys) {
            return Err(Error::argument(format!(
                "sort: num_keys must be at least 1 and at most the number of operands, {}, but it \
                 is {}",
                avals.len(),
                self.num_keys,
            )));
        }
        if let Some(other) = avals.iter().find(|aval| aval.shape != avals[0].shape) {
            return Err(Error::shape(format!(
                "sort: the operands must have the same shape, but they have {} and {other}",
                avals[0],
            )));
        }
        if self.axis >= avals[0].rank() {
            return Err(Error::shape(format!(
                "sort: axis {} is out of range for {}",
                self.axis, avals[0],
            )));
        }
        Ok(avals.iter().map(|&aval| aval.clone()).collect())
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let comparator = self.comparator(outputs)?;
        let sorted = xla_ext::sort(inputs, &comparator, self.axis, true)?;
        if inputs.len() == 1 { Ok(vec![sorted]) } else { untuple(&sorted, inputs.len()) }
    }

    /// The positions are carried along, and the tangents are taken from there.
    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let x = &primals[0];
        let dtype = index_dtype(widest(x.aval()));
        let positions = Tensor::broadcasted_iota(x.shape(), self.axis as isize, dtype);
        let mut sorted = rules::apply(self, &[primals, &[positions]].concat());
        let positions = sorted.split_off(primals.len()).swap_remove(0);
        let moved = |t: &Tensor| along_axis(t, &positions, self.axis);
        let tangents = tangents.iter().map(|t| t.as_ref().map(moved)).collect();
        Ok(Dual { primals: sorted, tangents })
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear(self.name()))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (operands, place) = rules::aligned(size, inputs);
        let axis = self.axis + usize::from(self.axis >= place);
        let sorted = rules::apply(&Sort { axis, ..self.clone() }, &operands).into_iter();
        Ok(sorted.map(|tensor| Batched { tensor, axis: Some(place) }).collect())
    }
}

impl Sort {
    /// Whether one row of scalars comes before another one, by the keys. It takes the two scalars
    /// of each operand in turn.
    fn comparator(&self, operands: &[Aval]) -> Result<XlaComputation> {
        let scalars: Vec<Aval> =
            operands.iter().flat_map(|aval| vec![Aval::scalar(aval.dtype); 2]).collect();
        Lowering::computation("comparator", &scalars, |_, params| {
            let mut keys = params.chunks(2).zip(operands).take(self.num_keys).rev();
            let (last, aval) = keys.next().expect("there is at least one key");
            let mut before = less(&last[0], &last[1], aval.dtype)?;
            for (pair, aval) in keys {
                let (x, y) = (&pair[0], &pair[1]);
                before = less(x, y, aval.dtype)?.or(&equal(x, y, aval.dtype)?.and(&before)?)?;
            }
            Ok(before)
        })
    }
}

/// Whether `x` comes before `y` in a total order: every NaN is equal to every other one and comes
/// last, and the two zeros are equal.
fn less(x: &XlaOp, y: &XlaOp, dtype: DType) -> Result<XlaOp> {
    let less = x.lt(y)?;
    if !dtype.is_float() {
        return Ok(less);
    }
    Ok(less.or(&x.eq(x)?.and(&y.ne(y)?)?)?)
}

/// Whether neither of them comes before the other one.
fn equal(x: &XlaOp, y: &XlaOp, dtype: DType) -> Result<XlaOp> {
    let equal = x.eq(y)?;
    if !dtype.is_float() {
        return Ok(equal);
    }
    Ok(equal.or(&x.ne(x)?.and(&y.ne(y)?)?)?)
}

operation! {
    /// The `k` largest elements along the last axis in descending order, and their positions.
    /// HLO's `topk`.
    struct TopK = "top_k" { k: usize }
}

impl Operation for TopK {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let Some(&size) = x.shape.last() else {
            return Err(Error::shape(format!(
                "top_k: the operand must have an axis, but it is {x}"
            )));
        };
        if self.k > size {
            return Err(Error::argument(format!(
                "top_k: k must be at most the size of the last axis, {size}, but it is {} for {x}",
                self.k,
            )));
        }
        if i32::try_from(size).is_err() {
            return Err(Error::shape(format!(
                "top_k: the last axis must have fewer than 2^31 elements, but the operand is {x}"
            )));
        }
        if x.dtype == DType::Bool {
            return Err(Error::dtype(format!(
                "top_k: the operand must have a floating or integer dtype, but it is {x}; convert \
                 it with `astype`"
            )));
        }
        let mut shape = x.shape.clone();
        shape[x.rank() - 1] = self.k;
        let values = x.with_shape(shape);
        let indices = values.with_dtype(DType::I32);
        Ok(vec![values, indices])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        untuple(&inputs[0].top_k(self.k as i64, true)?, 2)
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let x = primals[0].aval();
        let found = rules::apply(self, primals);
        let positions = found[1].astype(wide_index_dtype(DType::I32, widest(x)));
        let taken = |t: &Tensor| along_axis(t, &positions, x.rank() - 1);
        let tangent = tangents[0].as_ref().map(taken);
        Ok(Dual { primals: found, tangents: vec![tangent, None] })
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear(self.name()))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, place) = rules::only(inputs);
        // The last axis is that of the elements to choose among.
        let (x, place) =
            if place + 1 == x.rank() { (inputs[0].to_front(size), 0) } else { (x.clone(), place) };
        let found = rules::apply(self, &[x]).into_iter();
        Ok(found.map(|tensor| Batched { tensor, axis: Some(place) }).collect())
    }
}

/// Sorts tensors of one shape together along `axis`, so that the first `num_keys` of them ascend,
/// compared in that order; the others are carried along. `lax.sort` of several operands.
///
/// The sort is stable. NaN comes last, and -0 is equal to 0. There are as many results as operands.
///
/// Fails if the shapes differ, if `axis` is out of range, or if `num_keys` is zero or larger than
/// the number of operands.
///
/// ```
/// # use onetrace::prelude::*;
/// let (keys, values) = (Tensor::new(&[2, 1, 3, 1], [4]), Tensor::new(&[0.0, 1.0, 2.0, 3.0], [4]));
/// let sorted = onetrace::sort(&[&keys, &values], 0, 1);
/// assert_eq!(sorted[0].to_vec::<i32>()?, [1, 1, 2, 3]);
/// assert_eq!(sorted[1].to_vec::<f64>()?, [1.0, 3.0, 0.0, 2.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn sort(operands: &[&Tensor], axis: isize, num_keys: usize) -> Vec<Tensor> {
    let rank = operands.first().map_or(0, |x| x.rank());
    match resolve_axis("sort", axis, rank) {
        Ok(axis) => record(Sort { axis, num_keys }, operands, operands.len()),
        Err(error) => vec![poison(error, operands); operands.len().max(1)],
    }
}

/// The axis, along which positions must be numbers of dtype `i32`.
fn position_axis(name: &str, x: &Aval, axis: isize) -> Result<usize> {
    let axis = resolve_axis(name, axis, x.rank())?;
    i32_size(name, x, axis).map(|_| axis)
}

/// Sorting.
impl Tensor {
    /// The elements along `axis` in ascending order; `jnp.sort`.
    ///
    /// NaN comes last, and -0 is equal to 0. Fails if `axis` is out of range.
    #[track_caller]
    pub fn sort(&self, axis: isize) -> Tensor {
        let axis = or_poison!(resolve_axis("sort", axis, self.rank()), self);
        record_one(Sort { axis, num_keys: 1 }, &[self])
    }

    /// The elements along `axis` in descending order; `jnp.sort` with `descending=True`.
    ///
    /// NaN comes first. Fails if `axis` is out of range.
    #[track_caller]
    pub fn sort_descending(&self, axis: isize) -> Tensor {
        let axis = or_poison!(resolve_axis("sort_descending", axis, self.rank()), self) as isize;
        composed("sort_descending", self.clone(), |x| x.sort(axis).flip(axis))
    }

    /// The positions along `axis`, as `i32`, at which the elements stand that
    /// [`sort`](Tensor::sort) gives; those of equal elements ascend. `jnp.argsort`.
    ///
    /// Fails if `axis` is out of range.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[3.0f32, 1.0, 2.0], [3]);
    /// assert_eq!(x.argsort(0).to_vec::<i32>()?, [1, 2, 0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn argsort(&self, axis: isize) -> Tensor {
        let axis = or_poison!(position_axis("argsort", self.aval(), axis), self);
        composed("argsort", self.clone(), |x| {
            let positions = Tensor::broadcasted_iota(x.shape(), axis as isize, DType::I32);
            record(Sort { axis, num_keys: 1 }, &[&x, &positions], 2).swap_remove(1)
        })
    }

    /// The positions along `axis`, as `i32`, in descending order of the elements there; those of
    /// equal elements ascend. `jnp.argsort` with `descending=True`.
    ///
    /// NaN comes first. Fails if `axis` is out of range.
    #[track_caller]
    pub fn argsort_descending(&self, axis: isize) -> Tensor {
        let axis = or_poison!(position_axis("argsort_descending", self.aval(), axis), self);
        // Both the elements and what is found among them are flipped, so that the order of equal
        // ones stays.
        composed("argsort_descending", self.clone(), |x| {
            let axes = [axis as isize];
            let positions = Tensor::broadcasted_iota(x.shape(), axes[0], DType::I32);
            let (keys, positions) = (x.flip(axes), positions.flip(axes));
            record(Sort { axis, num_keys: 1 }, &[&keys, &positions], 2).swap_remove(1).flip(axes)
        })
    }

    /// The `k` largest elements along the last axis in descending order, and their positions as
    /// `i32`: `[.., n] -> [.., k]`, twice. `lax.top_k`.
    ///
    /// Of equal elements those with lower positions come first. NaN counts as the largest. Fails if
    /// there is no axis, if `k` is larger than the last one, or if the dtype is `bool`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let (values, indices) = Tensor::new(&[1.0f32, 5.0, 3.0], [3]).top_k(2);
    /// assert_eq!(values.to_vec::<f32>()?, [5.0, 3.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [1, 2]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn top_k(&self, k: usize) -> (Tensor, Tensor) {
        let [values, indices] = record(TopK { k }, &[self], 2)
            .try_into()
            .expect("an operation recorded with two outputs has two");
        (values, indices)
    }
}
