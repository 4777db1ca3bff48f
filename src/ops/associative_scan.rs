//! `map` and `associative_scan`, made of other operations.

use super::call::composite;
use super::concatenate::{concatenate, stack};
use super::control::{Pure, check_same_type};
use super::resolve_axis;
use super::scan::Scan;
use crate::error::{Error, Location, Result};
use crate::tensor::Tensor;
use crate::trace::{poison, scope};
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
    Scan::on_behalf_of("map").run(|(), x| ((), f(x)), (), xs).1
}

/// All partial results of an associative operation along the leading axis, in a logarithmic number
/// of parallel steps; `jax.lax.associative_scan`. For options see [`AssociativeScan`].
///
/// `f` combines two trees of slices, any number of them at once: their leading axes have the same
/// size. It is traced a logarithmic number of times.
///
/// # Examples
/// ```
/// use onetrace::{associative_scan, prelude::*};
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

    /// Whether to go from the last slice to the first: the result at a slice is `f` of what comes
    /// behind it and the slice, in this order.
    pub fn reverse(mut self, reverse: bool) -> AssociativeScan {
        self.reverse = reverse;
        self
    }

    /// Runs the scan; see [`associative_scan`].
    ///
    /// Fails if the sizes of the leaves along the axis differ, or if `f` does not return what it is
    /// given: trees of the same leaves, dtypes and shapes.
    #[track_caller]
    pub fn run<T: Tree>(self, f: impl Fn(T, T) -> T, elems: T) -> T {
        let location = std::panic::Location::caller();
        let scan = |elems: T| {
            let scanned = self.common_axis(&elems).and_then(|axis| {
                let flip = |elems: T| match self.reverse {
                    true => tree::map(&elems, |leaf| leaf.flip([axis as isize])),
                    false => elems,
                };
                let library = Library { axis: axis as isize, location };
                let scanned = recurse(&f, library.run(|| flip(elems.clone())), library)?;
                Ok(library.run(|| flip(scanned)))
            });
            scanned.unwrap_or_else(|error| {
                let bad = poison(error.at(location), &[]);
                tree::map(&elems, |_| bad.clone())
            })
        };
        composite("associative_scan", elems, scan)
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

/// What is recorded on behalf of the call at `location`; `f` records in between on its own.
#[derive(Clone, Copy)]
struct Library {
    axis: isize,
    location: Location,
}

impl Library {
    fn run<R>(self, f: impl FnOnce() -> R) -> R {
        scope::enter("associative_scan", Some(self.location), f)
    }

    /// Every `stride`-th slice of each leaf, from `start` up to `end`.
    fn part<T: Tree>(self, tree: &T, start: usize, end: usize, stride: usize) -> T {
        let part = |leaf: &Tensor| leaf.strided_slice_in_dim(start..end, stride, self.axis);
        self.run(|| tree::map(tree, part))
    }

    /// The slices of both, in turns, beginning with `even`, which has as many as `odd` or one more.
    fn interleave(self, even: &Tensor, odd: &Tensor) -> Tensor {
        let (m, n) = (self.size(even), self.size(odd));
        let whole = even.slice_in_dim(0..n, self.axis);
        let mut sizes: Vec<isize> = odd.shape().iter().map(|&d| d as isize).collect();
        sizes[self.axis as usize] = 2 * n as isize;
        let pairs = stack(&[whole, odd.clone()], self.axis + 1).reshape(sizes);
        if m == n {
            return pairs;
        }
        concatenate(&[pairs, even.slice_in_dim(n..m, self.axis)], self.axis)
    }

    fn size(self, leaf: &Tensor) -> usize {
        leaf.shape()[self.axis as usize]
    }
}

/// Combines neighbours, scans the half as many results, and fills in what lies between them.
fn recurse<T: Tree>(f: &impl Fn(T, T) -> T, elems: T, library: Library) -> Result<T> {
    let size = tree::leaves(&elems).first().map_or(0, |leaf| library.size(leaf));
    if size < 2 {
        return Ok(elems);
    }
    let combine = |a: T, b: T| {
        let combined = f(a.clone(), b);
        let rule = "f must return the type that it takes, but it does not";
        let (taken, returned) = (("tree", "taken", &a), ("tree", "returned", &combined));
        check_same_type("associative_scan", rule, taken, returned).map(|()| combined)
    };
    let part = |tree: &T, start, end, stride| library.part(tree, start, end, stride);
    let pairs = combine(part(&elems, 0, size - 1, 2), part(&elems, 1, size, 2))?;
    let odd = recurse(f, pairs, library)?;
    let between = combine(part(&odd, 0, (size - 1) / 2, 1), part(&elems, 2, size, 2))?;
    let first = part(&elems, 0, 1, 1);
    Ok(library.run(|| {
        let even = zip(&first, &between, |a, b| concatenate(&[a, b], library.axis));
        zip(&even, &odd, |even, odd| library.interleave(even, odd))
    }))
}

/// The tree of `a` with each leaf replaced by what `f` makes of it and of the leaf of `b`.
fn zip<T: Tree>(a: &T, b: &T, mut f: impl FnMut(&Tensor, &Tensor) -> Tensor) -> T {
    let mut others = tree::leaves(b).into_iter();
    tree::map(a, |leaf| match others.next() {
        Some(other) => f(leaf, &other),
        None => leaf.clone(),
    })
}
