//! Reductions: folding the elements along axes into one.

use xla::{XlaBuilder, XlaComputation, XlaOp};

use super::broadcast::{Broadcast, Reshape};
use super::domain::{Domain, require};
use super::select::select;
use super::stop_gradient::stop_gradient;
use super::{Operation, composed, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::lower::{Lowering, dims, element_type};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};

/// An associative and commutative function of two numbers, with a neutral element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fold {
    Sum,
    Prod,
    Max,
    Min,
    And,
    Or,
}

impl Fold {
    const ALL: [Fold; 6] = [Fold::Sum, Fold::Prod, Fold::Max, Fold::Min, Fold::And, Fold::Or];

    pub fn name(self) -> &'static str {
        match self {
            Fold::Sum => "sum",
            Fold::Prod => "prod",
            Fold::Max => "max",
            Fold::Min => "min",
            Fold::And => "and",
            Fold::Or => "or",
        }
    }

    pub fn domain(self) -> Domain {
        match self {
            Fold::Sum | Fold::Prod => Domain::Number,
            Fold::Max | Fold::Min => Domain::Any,
            Fold::And | Fold::Or => Domain::BoolOrInt,
        }
    }

    /// The neutral element. The maximum of nothing is minus infinity for floats and the smallest
    /// number for integers.
    pub fn neutral(self, builder: &XlaBuilder, dtype: DType) -> Result<XlaOp> {
        let ty = element_type(dtype);
        Ok(match self {
            Fold::Sum | Fold::Or => builder.zero(ty)?,
            Fold::Prod => builder.one(ty)?,
            Fold::Max => builder.min_value(ty)?,
            Fold::Min => builder.max_value(ty)?,
            Fold::And if dtype == DType::Bool => builder.one(ty)?,
            Fold::And => builder.zero(ty)?.not()?,
        })
    }

    /// The function itself. NaN is both the largest and the smallest number.
    pub fn combine(self, x: &XlaOp, y: &XlaOp) -> Result<XlaOp> {
        Ok(match self {
            Fold::Sum => x.add_(y)?,
            Fold::Prod => x.mul_(y)?,
            Fold::Max => x.max(y)?,
            Fold::Min => x.min(y)?,
            Fold::And => x.and(y)?,
            Fold::Or => x.or(y)?,
        })
    }

    /// The function as a computation of two scalars.
    pub fn computation(self, dtype: DType) -> Result<XlaComputation> {
        let scalar = Aval::scalar(dtype);
        Lowering::computation(self.name(), &[scalar.clone(), scalar], |_, params| {
            self.combine(&params[0], &params[1])
        })
    }
}

impl Attribute for Fold {
    fn print(&self, printer: &mut Printer) {
        printer.push(self.name());
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Fold> {
        let start = parser.start();
        let name = parser.word();
        let found = Fold::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| parser.error_at(start, "sum, prod, max, min, and, or"))
    }
}

operation! {
    /// Folds the elements along `axes`, which ascend and are no axes of the result. HLO's `reduce`.
    struct Reduce = "reduce" { kind: Fold, axes: Vec<usize> }
}

impl Operation for Reduce {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let name = self.kind.name();
        let in_range = self.axes.last().is_none_or(|&axis| axis < x.rank());
        if !self.axes.is_sorted_by(|a, b| a < b) || !in_range {
            return Err(Error::shape(format!(
                "reduce: the axes must ascend and be less than the rank of {x}, but they are {:?}",
                self.axes,
            )));
        }
        if !self.kind.domain().contains(x.dtype) {
            let wanted = self.kind.domain().describe();
            return Err(Error::dtype(format!(
                "reduce: the operand of {name} must have {wanted}, but it is {x}"
            )));
        }
        Ok(vec![x.with_shape(remaining(&x.shape, &self.axes))])
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let dtype = outputs[0].dtype;
        let computation = self.kind.computation(dtype)?;
        let neutral = self.kind.neutral(cx.builder(), dtype)?;
        Ok(vec![inputs[0].reduce(neutral, computation, &dims(&self.axes), false)?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let (x, y) = (&primals[0], rules::apply_one(self, primals));
        let tangent = tangents[0].as_ref().and_then(|t| match self.kind {
            Fold::Sum => Some(fold(t, Fold::Sum, &self.axes, false)),
            Fold::Prod => product_tangent(x, t, &self.axes),
            Fold::Max | Fold::Min => Some(extreme_tangent(x, &y, t, &self.axes)),
            Fold::And | Fold::Or => None,
        });
        Ok(Dual::one(y, tangent))
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        if self.kind != Fold::Sum {
            return Err(not_linear(self.kind.name()));
        }
        let shape = &inputs[0].aval().shape;
        let axes = (0..shape.len()).filter(|axis| !self.axes.contains(axis)).collect();
        let repeat = Broadcast { shape: shape.clone(), axes };
        Ok(vec![cts[0].as_ref().map(|ct| record_one(repeat, &[ct]))])
    }

    fn batch(&self, _: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, place) = rules::only(inputs);
        let axes = rules::shifted(&self.axes, place);
        let axis = place - axes.iter().filter(|&&axis| axis < place).count();
        let tensor = record_one(Reduce { kind: self.kind, axes }, &[x]);
        Ok(vec![Batched { tensor, axis: Some(axis) }])
    }

    fn is_linear(&self) -> bool {
        self.kind == Fold::Sum
    }
}

/// The tangent of the product over `axes`: that of products of halves with one another, until one
/// element is left. It takes time linear in the size and divides by nothing, so that zeros may be
/// among the elements. None if there are no elements.
fn product_tangent(x: &Tensor, t: &Tensor, axes: &[usize]) -> Option<Tensor> {
    if x.size() == 0 {
        return None;
    }
    let shape = remaining(x.shape(), axes);
    let (mut x, mut t) = (x.clone(), t.clone());
    for &axis in axes {
        while x.shape()[axis] > 1 {
            let ((x1, x2), (t1, t2)) = (halves(&x, axis, 1), halves(&t, axis, 0));
            (t, x) = (t1 * &x2 + &x1 * t2, x1 * x2);
        }
    }
    Some(if t.shape() == shape { t } else { record_one(Reshape { shape }, &[&t]) })
}

/// The first and the second half along `axis`, the latter filled up with `fill`.
fn halves(x: &Tensor, axis: usize, fill: i32) -> (Tensor, Tensor) {
    let (size, along) = (x.shape()[axis], axis as isize);
    let half = size.div_ceil(2);
    let (first, second) = (x.slice_in_dim(..half, along), x.slice_in_dim(half.., along));
    let mut config = vec![(0, 0, 0); x.rank()];
    config[axis].1 = (2 * half - size) as isize;
    (first, if 2 * half == size { second } else { second.pad(fill, &config) })
}

/// The tangent of the largest or smallest elements `y` over `axes`: the mean of the tangents at the
/// places where they stand, as in JAX.
fn extreme_tangent(x: &Tensor, y: &Tensor, t: &Tensor, axes: &[usize]) -> Tensor {
    let y = record_one(Reshape { shape: kept(x.shape(), axes) }, &[y]);
    let dtype = accumulator(x.dtype());
    let stands = x.eq(y).astype(dtype);
    let sum = fold(&(t.astype(dtype) * &stands), Fold::Sum, axes, false);
    (sum / fold(&stands, Fold::Sum, axes, false)).astype(x.dtype())
}

/// The axes that a reduction folds, and whether the result keeps them with size one.
///
/// Every reduction takes `impl Into<Axes>`, which is
///
/// - one axis: `x.sum(0)`, `x.max(-1)` (negative ones count from the back);
/// - several: `x.sum([0, 2])`;
/// - all of them: `x.sum(..)`;
/// - any of these inside of [`keepdims`]: `x.sum(keepdims(-1))`.
///
/// # Examples
/// ```
/// use onetrace::{keepdims, prelude::*};
/// let x = Tensor::ones([2, 3, 4], DType::F32);
/// assert_eq!(x.sum(0).shape(), [3, 4]);
/// assert_eq!(x.sum([0, -1]).shape(), [3]);
/// assert_eq!(x.sum(..).item::<f32>()?, 24.0);
/// assert_eq!(x.sum(keepdims(1)).shape(), [2, 1, 4]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axes {
    /// None stands for all axes.
    pub(super) named: Option<Vec<isize>>,
    pub(super) keepdims: bool,
}

/// These axes, kept in the result of a reduction with size one, so that it broadcasts against the
/// operand; `keepdims=True` of `jnp`.
pub fn keepdims(axes: impl Into<Axes>) -> Axes {
    Axes { keepdims: true, ..axes.into() }
}

impl From<isize> for Axes {
    fn from(axis: isize) -> Axes {
        vec![axis].into()
    }
}

impl From<Vec<isize>> for Axes {
    fn from(axes: Vec<isize>) -> Axes {
        Axes { named: Some(axes), keepdims: false }
    }
}

impl From<&[isize]> for Axes {
    fn from(axes: &[isize]) -> Axes {
        axes.to_vec().into()
    }
}

impl<const N: usize> From<[isize; N]> for Axes {
    fn from(axes: [isize; N]) -> Axes {
        axes.to_vec().into()
    }
}

impl From<std::ops::RangeFull> for Axes {
    fn from(_: std::ops::RangeFull) -> Axes {
        Axes { named: None, keepdims: false }
    }
}

impl Axes {
    /// The axes of a tensor of this type that are meant, ascending.
    pub(super) fn resolve(&self, name: &str, aval: &Aval) -> Result<Vec<usize>> {
        let Some(named) = &self.named else { return Ok((0..aval.rank()).collect()) };
        let mut axes = Vec::new();
        for &axis in named {
            let resolved = resolve_axis(name, axis, aval.rank())?;
            if axes.contains(&resolved) {
                return Err(Error::shape(format!(
                    "{name}: axis {resolved} of {aval} is named twice in {named:?}: name each axis \
                     once"
                )));
            }
            axes.push(resolved);
        }
        axes.sort_unstable();
        Ok(axes)
    }
}

/// Records the reduction over `axes`, which ascend; with `keepdims` they stay, with size one.
#[track_caller]
pub(super) fn fold(x: &Tensor, kind: Fold, axes: &[usize], keepdims: bool) -> Tensor {
    if axes.is_empty() {
        return x.clone();
    }
    let folded = record_one(Reduce { kind, axes: axes.to_vec() }, &[x]);
    if keepdims { record_one(Reshape { shape: kept(x.shape(), axes) }, &[&folded]) } else { folded }
}

/// The shape with these axes of size one.
fn kept(shape: &[usize], axes: &[usize]) -> Shape {
    shape.iter().enumerate().map(|(i, &size)| if axes.contains(&i) { 1 } else { size }).collect()
}

/// The shape without these axes.
fn remaining(shape: &[usize], axes: &[usize]) -> Shape {
    (0..shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect()
}

/// The dtype in which `jnp` sums numbers of `dtype`, so that small integers do not overflow.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::Bool => DType::I32,
        DType::U8 => DType::U32,
        other => other,
    }
}

/// The dtype in which `jnp` takes means of numbers of `dtype`.
fn float(dtype: DType) -> DType {
    match dtype {
        DType::Bool | DType::U8 | DType::U32 | DType::I32 => DType::F32,
        DType::I64 => DType::F64,
        float => float,
    }
}

/// The dtype in which sums of `dtype` are accumulated: half precision would lose too much.
fn accumulator(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// The sum or product over `axes`, accumulated in single precision at least.
#[track_caller]
pub(super) fn total(x: &Tensor, kind: Fold, axes: &[usize], keepdims: bool) -> Tensor {
    let dtype = wide(x.dtype());
    fold(&x.astype(accumulator(dtype)), kind, axes, keepdims).astype(dtype)
}

/// An error if the tensor has no elements along one of the axes.
fn require_elements(name: &str, x: &Aval, axes: &[usize]) -> Result<()> {
    match axes.iter().find(|&&axis| x.shape[axis] == 0) {
        None => Ok(()),
        Some(axis) => Err(Error::shape(format!(
            "{name}: {x} has no elements along axis {axis}, so there is no result: reduce only \
             axes of size one or more"
        ))),
    }
}

/// Reductions. Each takes [`Axes`]: one axis, several, or `..` for all, and [`keepdims`] of these.
/// Without axes (`[]`) nothing is folded. All fail if an axis is out of range or named twice.
impl Tensor {
    /// The sum; `jnp.sum`. Half precision is accumulated in `f32`; `bool` is summed as `i32` and
    /// `u8` as `u32`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
    /// assert_eq!(x.sum(0).to_vec::<f32>()?, [4.0, 6.0]);
    /// assert_eq!(x.sum(..).item::<f32>()?, 10.0);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn sum(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("sum", self.aval()), self);
        composed("sum", self.clone(), |x| total(&x, Fold::Sum, &resolved, axes.keepdims))
    }

    /// The product; `jnp.prod`, with the dtypes of [`sum`](Tensor::sum).
    #[track_caller]
    pub fn prod(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("prod", self.aval()), self);
        composed("prod", self.clone(), |x| total(&x, Fold::Prod, &resolved, axes.keepdims))
    }

    /// The largest element, NaN if there is one; `jnp.max`.
    ///
    /// Fails if there are no elements along an axis.
    #[track_caller]
    pub fn max(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("max", self.aval()), self);
        or_poison!(require_elements("max", self.aval(), &resolved), self);
        composed("max", self.clone(), |x| fold(&x, Fold::Max, &resolved, axes.keepdims))
    }

    /// The smallest element, NaN if there is one; `jnp.min`.
    ///
    /// Fails if there are no elements along an axis.
    #[track_caller]
    pub fn min(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("min", self.aval()), self);
        or_poison!(require_elements("min", self.aval(), &resolved), self);
        composed("min", self.clone(), |x| fold(&x, Fold::Min, &resolved, axes.keepdims))
    }

    /// Whether any element is true (not zero, for numbers); `jnp.any`. The result is `bool`.
    #[track_caller]
    pub fn any(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("any", self.aval()), self);
        composed("any", self.clone(), |x| {
            fold(&x.astype(DType::Bool), Fold::Or, &resolved, axes.keepdims)
        })
    }

    /// Whether every element is true (not zero, for numbers); `jnp.all`. The result is `bool`.
    #[track_caller]
    pub fn all(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("all", self.aval()), self);
        composed("all", self.clone(), |x| {
            fold(&x.astype(DType::Bool), Fold::And, &resolved, axes.keepdims)
        })
    }

    /// The arithmetic mean; `jnp.mean`. The mean of `i64` is `f64`, that of other integers and of
    /// `bool` is `f32`; half precision is accumulated in `f32`. The mean of nothing is NaN.
    #[track_caller]
    pub fn mean(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("mean", self.aval()), self);
        composed("mean", self.clone(), |x| {
            let dtype = float(x.dtype());
            let sum = fold(&x.astype(accumulator(dtype)), Fold::Sum, &resolved, axes.keepdims);
            (sum / count(&x, &resolved)).astype(dtype)
        })
    }

    /// The variance, the mean of the squared distances from the mean; `jnp.var`. The sum of squares
    /// is divided by the number of elements less `ddof`: 0 for the variance of these elements, 1
    /// for an estimate from a sample. NaN where that is not positive. Dtypes as in
    /// [`mean`](Tensor::mean).
    #[track_caller]
    pub fn var(&self, axes: impl Into<Axes>, ddof: usize) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("var", self.aval()), self);
        composed("var", self.clone(), |x| {
            variance(&x, &resolved, axes.keepdims, ddof).astype(float(x.dtype()))
        })
    }

    /// The standard deviation, the square root of [`var`](Tensor::var); `jnp.std`.
    #[track_caller]
    pub fn std(&self, axes: impl Into<Axes>, ddof: usize) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("std", self.aval()), self);
        composed("std", self.clone(), |x| {
            variance(&x, &resolved, axes.keepdims, ddof).sqrt().astype(float(x.dtype()))
        })
    }

    /// The position of the largest element along an axis, as `i32`: that of the first one, if there
    /// are several, and that of the first NaN, if there is one. With `..`, the position in the
    /// flattened tensor. `jnp.argmax`.
    ///
    /// Fails if several axes are named, or if there are no elements along the axis.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[1.0f32, 3.0, 2.0, 3.0, 0.0, 1.0], [2, 3]);
    /// assert_eq!(x.argmax(1).to_vec::<i32>()?, [1, 0]);
    /// assert_eq!(x.argmax(..).item::<i32>()?, 1);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn argmax(&self, axis: impl Into<Axes>) -> Tensor {
        position_of("argmax", self, Fold::Max, &axis.into())
    }

    /// The position of the smallest element; `jnp.argmin`. As [`argmax`](Tensor::argmax).
    #[track_caller]
    pub fn argmin(&self, axis: impl Into<Axes>) -> Tensor {
        position_of("argmin", self, Fold::Min, &axis.into())
    }

    /// The logarithm of the sum of `exp(x)`, computed without overflow; `jax.nn.logsumexp`. Floats.
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Into<Axes>) -> Tensor {
        let axes = axes.into();
        let resolved = or_poison!(axes.resolve("logsumexp", self.aval()), self);
        or_poison!(require("logsumexp", self, Domain::Float), self);
        composed("logsumexp", self.clone(), |x| {
            // What is subtracted comes back, so it has no part in the derivative.
            let largest = fold(&stop_gradient(x.clone()), Fold::Max, &resolved, true);
            // Infinities must not be subtracted from one another.
            let largest = select(&largest.is_finite(), &largest, 0);
            let sum = total(&(&x - &largest).exp(), Fold::Sum, &resolved, true);
            let result = sum.log() + largest;
            if axes.keepdims {
                result
            } else {
                record_one(Reshape { shape: remaining(x.shape(), &resolved) }, &[&result])
            }
        })
    }

    /// `exp(x)` divided by its sum over `axes`, computed without overflow; `jax.nn.softmax`. The
    /// shape stays. Floats.
    #[track_caller]
    pub fn softmax(&self, axes: impl Into<Axes>) -> Tensor {
        let resolved = or_poison!(axes.into().resolve("softmax", self.aval()), self);
        or_poison!(require("softmax", self, Domain::Float), self);
        composed("softmax", self.clone(), |x| {
            let exp = (&x - fold(&stop_gradient(x.clone()), Fold::Max, &resolved, true)).exp();
            &exp / total(&exp, Fold::Sum, &resolved, true)
        })
    }

    /// The logarithm of [`softmax`](Tensor::softmax), accurate where that is small;
    /// `jax.nn.log_softmax`. Floats.
    #[track_caller]
    pub fn log_softmax(&self, axes: impl Into<Axes>) -> Tensor {
        let resolved = or_poison!(axes.into().resolve("log_softmax", self.aval()), self);
        or_poison!(require("log_softmax", self, Domain::Float), self);
        composed("log_softmax", self.clone(), |x| {
            let shifted = &x - fold(&stop_gradient(x.clone()), Fold::Max, &resolved, true);
            &shifted - total(&shifted.exp(), Fold::Sum, &resolved, true).log()
        })
    }
}

/// The first position of the extreme that `kind` finds. Two reductions that XLA vectorizes are
/// faster than one of pairs, which it does not.
#[track_caller]
fn position_of(name: &str, x: &Tensor, kind: Fold, axes: &Axes) -> Tensor {
    let resolved = or_poison!(axes.resolve(name, x.aval()), x);
    if let (Some(named), true) = (&axes.named, resolved.len() != 1) {
        let message = format!(
            "{name}: one axis must be named, or all of them with `..`, but the axes are {named:?}"
        );
        return poison(Error::argument(message), &[x]);
    }
    let flat = x.aval().with_shape([x.size()]);
    let (aval, axis) = if axes.named.is_some() { (x.aval(), resolved[0]) } else { (&flat, 0) };
    or_poison!(require_elements(name, aval, &[axis]), x);
    let size = or_poison!(i32_size(name, aval, axis), x);
    composed(name, x.clone(), |x| {
        let shape = if axes.keepdims {
            kept(x.shape(), &resolved)
        } else {
            remaining(x.shape(), &resolved)
        };
        let x = if axes.named.is_some() { x } else { x.ravel() };
        let extreme = fold(&x, kind, &[axis], true);
        let found = if x.dtype().is_float() { x.eq(&extreme) | x.is_nan() } else { x.eq(&extreme) };
        let positions = Tensor::broadcasted_iota(x.shape(), axis as isize, DType::I32);
        let first = fold(&select(&found, positions, size), Fold::Min, &[axis], false);
        if first.shape() == shape { first } else { record_one(Reshape { shape }, &[&first]) }
    })
}

/// The number of elements along `axis`, if positions along it are numbers of dtype `i32`.
pub(super) fn i32_size(name: &str, x: &Aval, axis: usize) -> Result<i32> {
    i32::try_from(x.shape[axis]).map_err(|_| {
        Error::shape(format!(
            "{name}: positions are i32, so an axis must have fewer than 2^31 elements, but {x} has \
             more along axis {axis}"
        ))
    })
}

/// The number of elements that a reduction folds into one.
fn count(x: &Tensor, axes: &[usize]) -> f64 {
    axes.iter().map(|&axis| x.shape()[axis] as f64).product()
}

/// The variance in single precision at least.
#[track_caller]
fn variance(x: &Tensor, axes: &[usize], keepdims: bool, ddof: usize) -> Tensor {
    let x = x.astype(accumulator(float(x.dtype())));
    let count = count(&x, axes);
    let centered = &x - fold(&x, Fold::Sum, axes, true) / count;
    let freedom = if count > ddof as f64 { count - ddof as f64 } else { f64::NAN };
    fold(&(&centered * &centered), Fold::Sum, axes, keepdims) / freedom
}
