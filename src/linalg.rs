//! Linear algebra, written as traced operations: it runs on any device and inside of loops.

use crate::aval::DType;
use crate::error::{Error, Result};
use crate::ops::composed;
use crate::ops::scan::{Scan, scan};
use crate::ops::select::select;
use crate::tensor::Tensor;
use crate::trace::poison;

/// The reduced QR decomposition of a matrix: `q` has orthonormal columns, `r` is upper triangular,
/// and their product is `x`. `jnp.linalg.qr`.
///
/// Shapes `[m, n] -> ([m, k], [k, n])` with `k` the smaller one of `m` and `n`. The dtype is `f32`,
/// for which the inner arithmetic is that of `f64`, or `f64`. The columns have LAPACK's signs.
///
/// Fails if `x` is not a matrix of such a dtype.
///
/// ```
/// # use onetrace::{linalg, prelude::*};
/// let x = Tensor::new(&[3.0f32, 1.0, 4.0, 2.0], [2, 2]);
/// let (q, r) = linalg::qr(&x);
/// assert_eq!(r.to_vec::<f32>()?, [-5.0, -2.2, 0.0, 0.4]);
/// assert_eq!(q.to_vec::<f32>()?, [-0.6, -0.8, -0.8, 0.6]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn qr(x: &Tensor) -> (Tensor, Tensor) {
    if let Err(error) = check(x) {
        let bad = poison(error, &[x]);
        return (bad.clone(), bad);
    }
    composed("qr", x.clone(), |x| {
        let dtype = x.dtype();
        let x = x.astype(DType::F64);
        let scale = scale_of(&x);
        let (q, r) = householder(&(x / &scale));
        (q.astype(dtype), (r * scale).astype(dtype))
    })
}

fn check(x: &Tensor) -> Result<()> {
    x.check()?;
    if x.rank() != 2 {
        return Err(Error::shape(format!("qr: the operand must be a matrix, but it is {}", x.aval())));
    }
    if !matches!(x.dtype(), DType::F32 | DType::F64) {
        return Err(Error::dtype(format!(
            "qr: the dtype must be f32 or f64, but the operand is {}; convert it with `astype`",
            x.aval(),
        )));
    }
    Ok(())
}

/// A number near the largest element, so that the squares of the elements divided by it neither
/// overflow nor vanish.
#[track_caller]
fn scale_of(x: &Tensor) -> Tensor {
    if x.size() == 0 {
        return Tensor::ones([], x.dtype());
    }
    let largest = x.abs().max(..);
    select(&(largest.is_finite() & largest.gt(0.0)), largest, 1.0)
}

/// How many columns are reduced one by one before the reflections are applied to the others.
const PANEL: usize = 32;

/// QR by Householder reflections, as LAPACK's `geqrf` and `orgqr` do it.
///
/// Panels of columns are reduced one after the other. The reflections of a panel have the product
/// `I - W Yᵀ` (Bischof and Van Loan, "The WY representation for products of Householder matrices",
/// 1987), so that most of the work is that of matrix products. Every loop is a scan: the program is
/// the same for all sizes. All matrices are kept transposed, a column in a row, which is contiguous.
#[track_caller]
fn householder(x: &Tensor) -> (Tensor, Tensor) {
    let (m, n) = (x.shape()[0], x.shape()[1]);
    let k = m.min(n);
    if k == 0 {
        return (Tensor::zeros([m, 0], x.dtype()), Tensor::zeros([0, n], x.dtype()));
    }
    let width = if k <= 2 * PANEL { k } else { PANEL };
    let panels = k.div_ceil(width);
    // The last panel may reach beyond the last column. A column of zeros takes no reflection.
    let missing = (panels * width).saturating_sub(n);
    let a = x.t().pad(0, &[(0, missing as isize, 0), (0, 0, 0)]);
    let starts = Tensor::arange(panels, DType::I32) * width as i64;
    let (a, reflections) = scan(
        |a: Tensor, start: Tensor| {
            let (w, y) = panel_reflections(a.dynamic_slice_in_dim(&start, width, 0), &start);
            let a = &a - times_transposed(&a, &w).dot(&y);
            (a, (w, y))
        },
        a,
        starts,
    );
    let identity = Tensor::broadcasted_iota([k, m], 0, DType::I32)
        .eq(Tensor::broadcasted_iota([k, m], 1, DType::I32))
        .astype(x.dtype());
    let (q, ()) = Scan::new().reverse(true).run(
        |q: Tensor, (w, y): (Tensor, Tensor)| (&q - times_transposed(&q, &y).dot(&w), ()),
        identity,
        reflections,
    );
    let r = a.slice(&[0, 0], &[n, k], &[1, 1]).t().triu(0);
    (q.t(), r)
}

/// `x yᵀ`.
#[track_caller]
fn times_transposed(x: &Tensor, y: &Tensor) -> Tensor {
    x.dot_general(y, (&[1], &[1]), (&[], &[]))
}

/// The transposes of `W` and `Y` for the reflections that reduce a panel, whose first column is
/// the column `start` of the matrix.
#[track_caller]
fn panel_reflections(panel: Tensor, start: &Tensor) -> (Tensor, Tensor) {
    let (width, m) = (panel.shape()[0], panel.shape()[1]);
    let rows = Tensor::arange(m, DType::I32);
    let zeros = Tensor::zeros([width, m], panel.dtype());
    let ((_, w, y), ()) = scan(
        |(panel, w, y): (Tensor, Tensor, Tensor), column: Tensor| {
            let row = start + &column;
            let x = panel.dynamic_index_in_dim(&column, 0, false);
            let (v, tau) = reflection(&x, &rows.eq(&row), &rows.gt(&row));
            // The product of the reflections so far, I - W Yᵀ, times the new one, I - v tau vᵀ.
            let w_column = (&v - y.dot(&v).dot(&w)) * &tau;
            let panel = &panel - (panel.dot(&v) * tau).expand_dims([1]) * &v;
            let w = w.dynamic_update_index_in_dim(&w_column, &column, 0);
            let y = y.dynamic_update_index_in_dim(&v, &column, 0);
            ((panel, w, y), ())
        },
        (panel, zeros.clone(), zeros),
        Tensor::arange(width, DType::I32),
    );
    (w, y)
}

/// The vector `v` and the number `tau` of the reflection `I - v tau vᵀ` that takes all of `x` below
/// the pivot to zero and leaves what is above it. `tau` is zero if there is nothing to do.
#[track_caller]
fn reflection(x: &Tensor, pivot: &Tensor, below: &Tensor) -> (Tensor, Tensor) {
    let tail = select(below, x, 0.0);
    let head = select(pivot, x, 0.0).sum(..);
    let squares = (&tail * &tail).sum(..);
    let norm = (&head * &head + &squares).sqrt();
    // Of the two ends of the reflected vector, the one away from the head: no cancellation.
    let distance = select(&head.lt(0.0), &head - &norm, &head + &norm);
    let tau = select(&squares.eq(0.0), 0.0, 1.0 / (norm * distance.abs()));
    (select(pivot, distance, tail), tau)
}
