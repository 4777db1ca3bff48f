//! Linear algebra, written as traced operations.

use crate::aval::DType;
use crate::ops::select::select;
use crate::ops::while_loop::fori_loop;
use crate::tensor::Tensor;

/// The rows of `a`, a matrix `[k, m]` of rank `k`, made orthonormal one after the other: row `i` of
/// the result is in the span of the rows up to `i`, on the side of row `i`. It is the factor `Qᵀ`
/// of the QR decomposition of `aᵀ` whose `R` has a positive diagonal.
///
/// This is Gram and Schmidt's method, applied twice, for once does not make the rows orthogonal to
/// the last digit, and twice does (Giraud et al., "Rounding error analysis of the classical
/// Gram-Schmidt orthogonalization process", 2005). The inner arithmetic is that of `f64`.
/// Householder reflections would serve matrices of any rank, but make a program of three times as
/// many kernels, and to compile them is what takes the time.
#[track_caller]
pub(crate) fn orthonormal_rows(a: &Tensor) -> Tensor {
    let dtype = a.dtype();
    let a = a.astype(DType::F64);
    let q = if a.shape()[0] <= 2 * BLOCK { gram_schmidt(a) } else { block_gram_schmidt(a) };
    q.astype(dtype)
}

/// How many rows are made orthogonal to those before them at once.
const BLOCK: usize = 32;

/// Block by block: so most of the work is that of matrix products.
#[track_caller]
fn block_gram_schmidt(a: Tensor) -> Tensor {
    let k = a.shape()[0];
    let steps = 2 * k.div_ceil(BLOCK);
    let body = |i: Tensor, q: Tensor| {
        let rows = Tensor::arange(k, DType::U32);
        // The last block may begin inside of the one before it; its rows stay what they are.
        let start = (half(&i) * BLOCK as i64).minimum((k - BLOCK) as i64);
        let block = q.dynamic_slice_in_dim(&start, BLOCK, 0);
        let along = block.dot_general(&q, (&[1], &[1]), (&[], &[]));
        let along = select(&rows.lt(&start), along, 0.0);
        let block = gram_schmidt(block - along.dot(&q));
        q.dynamic_update_slice_in_dim(&block, &start, 0)
    };
    fori_loop(0, steps as i64, body, a)
}

/// Row by row.
#[track_caller]
fn gram_schmidt(a: Tensor) -> Tensor {
    let k = a.shape()[0];
    let body = |i: Tensor, q: Tensor| {
        let rows = Tensor::arange(k, DType::U32);
        let row = half(&i);
        let x = q.dynamic_index_in_dim(&row, 0, false);
        let along = q.dot(&x);
        // The square of the norm of x. That of what is left of x is the same the second time, when
        // x is orthogonal to the rows before it already.
        let square = along.dynamic_index_in_dim(&row, 0, false);
        let this = rows.eq(&row).astype(DType::F64);
        let weights = select(&rows.lt(&row), -along, this) / square.sqrt();
        q.dynamic_update_index_in_dim(&weights.dot(&q), &row, 0)
    };
    fori_loop(0, 2 * k as i64, body, a)
}

/// The number of the row or block that step `i` works on, when each is worked on twice.
#[track_caller]
fn half(i: &Tensor) -> Tensor {
    i.astype(DType::U32).shift_right_logical(1)
}
