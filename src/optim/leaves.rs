//! Functions of the parameters of a tree, which pass its other leaves by.

use crate::aval::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use crate::tree::{self, Path, Tree, is_parameter};

/// Trees of the leaves that `f` makes of each parameter and of what stands in its place in `trees`.
/// Where `params` has a leaf that is no parameter, they have the leaves of `trees`.
pub(super) fn map<P: Tree, const N: usize>(
    params: &P,
    trees: [&P; N],
    mut f: impl FnMut(&Tensor, [&Tensor; N]) -> [Tensor; N],
) -> Result<[P; N]> {
    let mut columns = trees.map(tree::leaves);
    let params = tree::leaves_with_paths(params);
    // A transformation of the user's own may hand on a tree of another structure.
    if let Some(column) = columns.iter().find(|column| column.len() != params.len()) {
        return Err(Error::new(
            ErrorKind::Tree,
            format!(
                "optim: the updates must be a tree as the parameters are, which has {} leaves, but \
                 they have {}: a transformation must return updates of the structure that it takes",
                params.len(),
                column.len(),
            ),
        ));
    }
    for (i, (path, param)) in params.iter().enumerate() {
        if is_parameter(path, param) {
            let made = f(param, columns.each_ref().map(|column| &column[i]));
            for (column, leaf) in columns.iter_mut().zip(made) {
                column[i] = leaf;
            }
        }
    }
    let mut made = Vec::with_capacity(N);
    for (template, column) in trees.into_iter().zip(columns) {
        made.push(tree::unflatten(template, column)?);
    }
    Ok(made.try_into().unwrap_or_else(|_| unreachable!("one tree is made for each of N")))
}

/// A tree with `value` everywhere in place of each parameter, in its dtype or in `dtype`. In place
/// of other leaves it has arrays without elements. A `dtype` that is not floating is refused by the
/// update.
pub(super) fn full_like<P: Tree>(params: &P, value: f64, dtype: Option<DType>) -> P {
    let dtype = dtype.filter(|dtype| dtype.is_float());
    params.map(&mut Path::default(), &mut |path, leaf| match is_parameter(path, leaf) {
        true => Tensor::full(leaf.shape(), value, dtype.unwrap_or(leaf.dtype())),
        false => Tensor::zeros([0], leaf.dtype()),
    })
}

/// The dtype in which numbers that belong to all parameters are computed: `f32`, or `f64` if one of
/// them is of that dtype. In optax it is the one that JAX gives to floats.
pub(super) fn common_dtype<P: Tree>(params: &P) -> DType {
    let leaves = tree::leaves_with_paths(params);
    let is_wide =
        |(path, leaf): &(Path, Tensor)| is_parameter(path, leaf) && leaf.dtype() == DType::F64;
    if leaves.iter().any(is_wide) { DType::F64 } else { DType::F32 }
}

/// The dtype that holds the numbers of both floating ones; `jnp.promote_types`.
pub(super) fn promoted(a: DType, b: DType) -> DType {
    match (a, b) {
        _ if a == b => a,
        (DType::F64, _) | (_, DType::F64) => DType::F64,
        _ => DType::F32,
    }
}

/// A counter, one larger; it stops at the largest number. `optax.safe_increment`.
pub(super) fn safe_increment(count: &Tensor) -> Tensor {
    count.minimum(i32::MAX - 1) + 1
}
