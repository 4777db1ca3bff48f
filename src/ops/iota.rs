//! Counting: ranges, and the tensors that are told by their indices alone.

use xla::XlaOp;

use super::{Operation, check_size, composed, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::lower::{Lowering, dims, element_type};
use crate::ops::concatenate::concatenate;
use crate::ops::select::select;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};

operation! {
    /// Each element is its index along `axis`. HLO's `iota`.
    struct Iota = "iota" { dtype: DType, shape: Vec<usize>, axis: usize }
}

impl Operation for Iota {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [] = inputs(self, avals)?;
        let aval = Aval::new(self.dtype, self.shape.clone());
        if self.dtype == DType::Bool {
            return Err(Error::dtype(format!(
                "iota: indices are numbers, so they cannot have the dtype of {aval}"
            )));
        }
        if self.axis >= aval.rank() {
            return Err(Error::shape(format!(
                "iota: axis {} is out of range for {aval} of rank {}",
                self.axis,
                aval.rank(),
            )));
        }
        Ok(vec![aval])
    }

    fn lower(&self, cx: &Lowering, _: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let (ty, axis) = (element_type(self.dtype), self.axis as i64);
        Ok(vec![cx.builder().iota(ty, &dims(&self.shape), axis)?])
    }

    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("iota"))
    }

    fn batch(&self, _: usize, _: &[Batched]) -> Result<Vec<Batched>> {
        Ok(rules::apply(self, &[]).into_iter().map(Batched::same).collect())
    }

    fn only_moves(&self) -> bool {
        true
    }
}

/// The dtype that indices up to `limit` are counted in.
pub(super) fn index_dtype(limit: usize) -> DType {
    if i32::try_from(limit).is_ok() { DType::I32 } else { DType::I64 }
}

/// Tensors made by counting.
impl Tensor {
    /// The numbers 0, 1, …, `n - 1`, shape `[n]`; `jnp.arange`.
    ///
    /// Integers too large for the dtype wrap around. Fails for `bool`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!((Tensor::arange(4, DType::I32) * 10 + 5).to_vec::<i32>()?, [5, 15, 25, 35]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn arange(n: usize, dtype: DType) -> Tensor {
        record_one(Iota { dtype, shape: vec![n], axis: 0 }, &[])
    }

    /// The tensor whose elements are their indices along `axis`; `lax.broadcasted_iota`.
    ///
    /// Fails for `bool`, and if `shape` has no such axis.
    #[track_caller]
    pub fn broadcasted_iota(shape: impl Into<Shape>, axis: isize, dtype: DType) -> Tensor {
        let shape = shape.into();
        match resolve_axis("broadcasted_iota", axis, shape.len()) {
            Ok(axis) => record_one(Iota { dtype, shape, axis }, &[]),
            Err(error) => poison(error, &[]),
        }
    }

    /// `num` evenly spaced numbers from `start` to `stop`, both included, shape `[num]`;
    /// `jnp.linspace`. One number alone is `start`.
    ///
    /// Fails if the dtype is not a floating one.
    #[track_caller]
    pub fn linspace(start: f64, stop: f64, num: usize, dtype: DType) -> Tensor {
        if !dtype.is_float() {
            let message = format!("linspace: the dtype must be a floating one, but it is {dtype}");
            return poison(Error::dtype(message), &[]);
        }
        if num < 2 {
            return Tensor::full([num], start, dtype);
        }
        if let Err(error) = check_size("linspace", &Aval::new(dtype, [num])) {
            return poison(error, &[]);
        }
        // The last one is `stop` exactly, whatever the rounding of the others.
        composed("linspace", (), |()| {
            let weight = Tensor::arange(num - 1, dtype) / (num - 1) as f64;
            let inner = start * (1.0 - &weight) + stop * weight;
            concatenate(&[inner, Tensor::full([1], stop, dtype)], 0)
        })
    }

    /// The `n` by `n` matrix with ones on the diagonal and zeros elsewhere; `jnp.eye`.
    #[track_caller]
    pub fn eye(n: usize, dtype: DType) -> Tensor {
        if let Err(error) = check_size("eye", &Aval::new(dtype, [n, n])) {
            return poison(error, &[]);
        }
        composed("eye", (), |()| {
            let [rows, columns] = indices(n, n);
            rows.eq(columns).astype(dtype)
        })
    }

    /// The `n` by `m` matrix with ones on and below the `k`-th diagonal and zeros above;
    /// `jnp.tri`. Diagonal 0 is the main one, 1 the one above it.
    #[track_caller]
    pub fn tri(n: usize, m: usize, k: isize, dtype: DType) -> Tensor {
        if let Err(error) = check_size("tri", &Aval::new(dtype, [n, m])) {
            return poison(error, &[]);
        }
        composed("tri", (), |()| lower_triangle(n, m, k).astype(dtype))
    }

    /// The matrix with zeros above the `k`-th diagonal; `jnp.tril`. Axes before the last two are
    /// batch axes. Fails for fewer than two axes.
    #[track_caller]
    pub fn tril(&self, k: isize) -> Tensor {
        let [.., n, m] = *self.shape() else {
            return poison(not_a_matrix("tril", self), &[self]);
        };
        composed("tril", self.clone(), |x| {
            select(&lower_triangle(n, m, k), &x, Tensor::zeros([], x.dtype()))
        })
    }

    /// The matrix with zeros below the `k`-th diagonal; `jnp.triu`. Axes before the last two are
    /// batch axes. Fails for fewer than two axes.
    #[track_caller]
    pub fn triu(&self, k: isize) -> Tensor {
        let [.., n, m] = *self.shape() else {
            return poison(not_a_matrix("triu", self), &[self]);
        };
        composed("triu", self.clone(), |x| {
            let below = lower_triangle(n, m, k.saturating_sub(1));
            select(&below, Tensor::zeros([], x.dtype()), &x)
        })
    }

    /// For each class index, a vector of `num_classes` elements along a new last axis: 1 at the
    /// index, 0 elsewhere; `jax.nn.one_hot`. All are 0 for an index out of range.
    ///
    /// Fails if the indices are not integers.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let classes = Tensor::new(&[2i32, 0], [2]).one_hot(3, DType::F32);
    /// assert_eq!(classes.to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn one_hot(&self, num_classes: usize, dtype: DType) -> Tensor {
        if !self.dtype().is_int() {
            let message =
                format!("one_hot: the indices must be integers, but they are {}", self.aval());
            return poison(Error::dtype(message), &[self]);
        }
        if let Err(error) =
            check_size("one_hot", &Aval::new(dtype, [self.shape(), &[num_classes]].concat()))
        {
            return poison(error, &[self]);
        }
        composed("one_hot", self.clone(), |classes| {
            // The class numbers must not wrap around, so that only one of them is the index.
            let narrow = classes.dtype() == DType::U8;
            let classes = if narrow { classes.astype(DType::I32) } else { classes };
            let numbers = Tensor::arange(num_classes, classes.dtype());
            classes.expand_dims(-1).eq(numbers).astype(dtype)
        })
    }
}

/// The row and the column number of each element of a matrix, as a column and a row.
fn indices(n: usize, m: usize) -> [Tensor; 2] {
    let dtype = index_dtype(n.saturating_add(m));
    [Tensor::broadcasted_iota([n, 1], 0, dtype), Tensor::broadcasted_iota([1, m], 1, dtype)]
}

/// Whether each element of an `n` by `m` matrix is on or below the `k`-th diagonal.
fn lower_triangle(n: usize, m: usize, k: isize) -> Tensor {
    let [rows, columns] = indices(n, m);
    // Beyond the corners, all diagonals are alike; there the sum would leave the dtype.
    let limit = |size: usize| isize::try_from(size).unwrap_or(isize::MAX);
    let k = k.clamp(-limit(n), limit(m));
    (rows + k as i64).ge(columns)
}

fn not_a_matrix(what: &str, x: &Tensor) -> Error {
    Error::shape(format!("{what}: a matrix has at least two axes, but the operand is {}", x.aval()))
}
