//! `map` and `associative_scan`, made of other operations.

use super::control::Pure;
use super::scan::Scan;
use super::{concatenate, resolve_axis};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::{self, Tree};

/// Applies `f` to each slice of `xs` along the leading axis, one after the other, and stacks the
/// results; `jax.lax.map`. A [`scan`](crate::scan) without a carry.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0], [3]);
/// assert_eq!(map(|x: Tensor| x * 2.0, x).to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn map<X: Tree, Y: Tree>(f: impl FnOnce(X) -> Y + Pure, xs: X) -> Y {
    Scan::new().run(|(), x| ((), f(x)), (), xs).1
}

/// All partial results of an associative operation along the leading axis, in a logarithmic number
/// of parallel steps; `jax.lax.associative_scan`. More can be said with [`AssociativeScan`].
///
/// `f` combines two trees of slices, any number of them at once: their leading axes have the same
/// size. It is traced a logarithmic number of times.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [4]);
/// let products = associative_scan(|a: Tensor, b| a * b, x);
/// assert_eq!(products.to_vec::<f32>()?, [1.0, 2.0, 6.0, 24.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn associative_scan<T: Tree>(f: impl Fn(T, T) -> T, elems: T) -> T {
    AssociativeScan::new().run(f, elems)
}

/// An [`associative_scan`] with an axis or a direction.
#[derive(Clone, Debug, Default)]
#[must_use = "a scan does nothing until it is run"]
pub struct AssociativeScan {
    axis: isize,
    reverse: bool,
}

impl AssociativeScan {
    /// A scan forwards along axis 0.
    pub fn new() -> AssociativeScan {
        AssociativeScan::default()
    }

    /// The axis to go along; negative ones count from the back.
    pub fn axis(mut self, axis: isize) -> AssociativeScan {
        self.axis = axis;
        self
    }

    /// Whether to combine from the last element to the first.
    pub fn reverse(mut self, reverse: bool) -> AssociativeScan {
        self.reverse = reverse;
        self
    }

    /// Runs the scan; see [`associative_scan`].
    ///
    /// Fails if the sizes of the leaves along the axis differ.
    #[track_caller]
    pub fn run<T: Tree>(self, f: impl Fn(T, T) -> T, elems: T) -> T {
        let axis = match self.common_axis(&elems) {
            Ok(axis) => axis,
            Err(error) => {
                let bad = poison(error, &[]);
                return tree::map(&elems, |_| bad.clone());
            }
        };
        let flip = |elems: T| match self.reverse {
            true => tree::map(&elems, |leaf| leaf.flip([axis as isize])),
            false => elems,
        };
        let combine = |a: T, b: T| if self.reverse { f(b, a) } else { f(a, b) };
        flip(recurse(&combine, flip(elems), axis))
    }

    /// The axis, counted from the front, if all leaves have the same size along it.
    fn common_axis<T: Tree>(&self, elems: &T) -> Result<usize> {
        let leaves = tree::leaves(elems);
        let Some(first) = leaves.first() else { return Ok(0) };
        let mut axis = 0;
        for leaf in &leaves {
            leaf.check()?;
            axis = resolve_axis("associative_scan", self.axis, leaf.rank())?;
            let first_axis = resolve_axis("associative_scan", self.axis, first.rank())?;
            if leaf.shape()[axis] != first.shape()[first_axis] || axis != first_axis {
                return Err(Error::shape(format!(
                    "associative_scan: the leaves must have the same size along axis {}, but they \
                     are {} and {}",
                    self.axis,
                    first.aval(),
                    leaf.aval(),
                )));
            }
        }
        Ok(axis)
    }
}

/// Combines neighbours, scans the half as many results, and fills in what lies between them.
fn recurse<T: Tree>(f: &impl Fn(T, T) -> T, elems: T, axis: usize) -> T {
    let size = tree::leaves(&elems).first().map_or(0, |leaf| leaf.shape()[axis]);
    if size < 2 {
        return elems;
    }
    let part = |tree: &T, start: usize, end: usize, stride: usize| {
        tree::map(tree, |leaf| leaf.slice_in_dim(axis as isize, start, end, stride))
    };
    let pairs = f(part(&elems, 0, size - 1, 2), part(&elems, 1, size, 2));
    let odd = recurse(f, pairs, axis);
    let between = f(part(&odd, 0, (size - 1) / 2, 1), part(&elems, 2, size.max(2), 2));
    let even = zip(&part(&elems, 0, 1, 1), &between, |a, b| {
        concatenate::concatenate(&[a.clone(), b.clone()], axis as isize)
    });
    zip(&even, &odd, |even, odd| interleave(even, odd, axis))
}

fn zip<T: Tree>(a: &T, b: &T, mut f: impl FnMut(&Tensor, &Tensor) -> Tensor) -> T {
    let mut others = tree::leaves(b).into_iter();
    tree::map(a, |leaf| match others.next() {
        Some(other) => f(leaf, &other),
        None => leaf.clone(),
    })
}

/// The elements of both, in turns, beginning with `even`, which has as many as `odd` or one more.
fn interleave(even: &Tensor, odd: &Tensor, axis: usize) -> Tensor {
    let (m, n) = (even.shape()[axis], odd.shape()[axis]);
    let whole = even.slice_in_dim(axis as isize, 0, n, 1);
    let mut shape = odd.shape().to_vec();
    shape[axis] = 2 * n;
    let sizes: Vec<isize> = shape.iter().map(|&d| d as isize).collect();
    let pairs = concatenate::stack(&[whole, odd.clone()], axis as isize + 1).reshape(sizes);
    if m == n {
        return pairs;
    }
    let last = even.slice_in_dim(axis as isize, n, m, 1);
    concatenate::concatenate(&[pairs, last], axis as isize)
}
