//! Axes added, removed and moved, by reshape and transpose.

use super::broadcast::{Reshape, Transpose};
use super::reduce::Axes;
use super::resolve_axis;
use crate::Tensor;
use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::trace::{poison, record_one};

/// Axes.
impl Tensor {
    /// The tensor without `axes`, each of size one: one axis, several, or `..` for all that have
    /// size one; `jnp.squeeze`.
    ///
    /// Fails if an axis is out of range, named twice, or of another size. Negative axes count from
    /// the back.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::zeros([1, 2, 1], DType::F32);
    /// assert_eq!(x.squeeze(0).shape(), [2, 1]);
    /// assert_eq!(x.squeeze(..).shape(), [2]);
    /// ```
    #[track_caller]
    pub fn squeeze(&self, axes: impl Into<Axes>) -> Tensor {
        match squeezed(self.aval(), &axes.into()) {
            Ok(shape) => record_one(Reshape { shape }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The tensor with new axes of size one, at the places `axes` of the result: one or several;
    /// `jnp.expand_dims`.
    ///
    /// Fails if a place is out of range or named twice. Negative ones count from the back.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::zeros([2, 3], DType::F32);
    /// assert_eq!(x.expand_dims(0).shape(), [1, 2, 3]);
    /// assert_eq!(x.expand_dims([1, -1]).shape(), [2, 1, 3, 1]);
    /// ```
    #[track_caller]
    pub fn expand_dims(&self, axes: impl Into<Axes>) -> Tensor {
        match expanded(self.aval(), &axes.into()) {
            Ok(shape) => record_one(Reshape { shape }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The tensor with two axes exchanged; `jnp.swapaxes`.
    ///
    /// Fails if one is out of range. Negative axes count from the back.
    #[track_caller]
    pub fn swapaxes(&self, axis1: isize, axis2: isize) -> Tensor {
        let rank = self.rank();
        let resolve = |axis| resolve_axis("swapaxes", axis, rank);
        match resolve(axis1).and_then(|i| Ok((i, resolve(axis2)?))) {
            Ok((i, j)) => {
                let mut permutation: Vec<usize> = (0..rank).collect();
                permutation.swap(i, j);
                record_one(Transpose { permutation }, &[self])
            }
            Err(error) => poison(error, &[self]),
        }
    }

    /// The tensor with the axes `source` at the places `destination`, and the other ones in their
    /// order; `jnp.moveaxis`.
    ///
    /// Fails if one is out of range or named twice, or if there are not as many places as axes.
    /// Negative axes count from the back.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::zeros([2, 3, 4], DType::F32);
    /// assert_eq!(x.moveaxis(0, -1).shape(), [3, 4, 2]);
    /// assert_eq!(x.moveaxis([0, 1], [-1, 0]).shape(), [3, 4, 2]);
    /// ```
    #[track_caller]
    pub fn moveaxis(&self, source: impl Into<Axes>, destination: impl Into<Axes>) -> Tensor {
        match moved(self.aval(), &source.into(), &destination.into()) {
            Ok(permutation) => record_one(Transpose { permutation }, &[self]),
            Err(error) => poison(error, &[self]),
        }
    }

    /// The elements in row-major order along one axis; `jnp.ravel`, `x.flatten()` of NumPy.
    #[doc(alias = "flatten")]
    #[track_caller]
    pub fn ravel(&self) -> Tensor {
        if self.rank() == 1 {
            return self.clone();
        }
        record_one(Reshape { shape: vec![self.size()] }, &[self])
    }
}

/// The axes of a tensor of this type that are meant, ascending, where nothing is reduced.
pub(super) fn resolve_axes(what: &str, axes: &Axes, aval: &Aval) -> Result<Vec<usize>> {
    check_plain(what, axes)?;
    axes.resolve(what, aval)
}

fn check_plain(what: &str, axes: &Axes) -> Result<()> {
    if axes.keepdims {
        return Err(Error::argument(format!(
            "{what}: only reductions take `keepdims`: name the axes alone"
        )));
    }
    Ok(())
}

fn squeezed(x: &Aval, axes: &Axes) -> Result<Vec<usize>> {
    let all = axes.named.is_none();
    let axes = resolve_axes("squeeze", axes, x)?;
    let dropped = |axis: usize| axes.contains(&axis) && (x.shape[axis] == 1 || !all);
    if let Some(axis) = (0..x.rank()).find(|&axis| dropped(axis) && x.shape[axis] != 1) {
        return Err(Error::shape(format!(
            "squeeze: only axes of size 1 can be dropped, but axis {axis} of {x} has size {}",
            x.shape[axis],
        )));
    }
    Ok((0..x.rank()).filter(|&axis| !dropped(axis)).map(|axis| x.shape[axis]).collect())
}

fn expanded(x: &Aval, axes: &Axes) -> Result<Vec<usize>> {
    let Some(named) = &axes.named else {
        return Err(Error::argument(
            "expand_dims: `..` does not say which places the new axes have: name them",
        ));
    };
    // The places are those of the result, so that is what they are resolved in.
    let result = x.with_shape(vec![1; x.rank() + named.len()]);
    let places = resolve_axes("expand_dims", axes, &result)?;
    let mut sizes = x.shape.iter();
    let mut shape = result.shape;
    for (axis, size) in shape.iter_mut().enumerate() {
        if !places.contains(&axis) {
            *size = *sizes.next().expect("the other axes are those of the tensor");
        }
    }
    Ok(shape)
}

fn moved(x: &Aval, source: &Axes, destination: &Axes) -> Result<Vec<usize>> {
    // Unlike the axes of a reduction, these come in the order in which they were named.
    let in_order = |axes: &Axes| -> Result<Vec<usize>> {
        let ascending = resolve_axes("moveaxis", axes, x)?;
        match &axes.named {
            Some(named) => {
                named.iter().map(|&axis| resolve_axis("moveaxis", axis, x.rank())).collect()
            }
            None => Ok(ascending),
        }
    };
    let (from, to) = (in_order(source)?, in_order(destination)?);
    if from.len() != to.len() {
        return Err(Error::argument(format!(
            "moveaxis: there must be one destination for each source, but the sources are axes \
             {from:?} of {x} and the destinations {to:?}"
        )));
    }
    let mut others = (0..x.rank()).filter(|axis| !from.contains(axis));
    let axis_at = |place| match to.iter().position(|&t| t == place) {
        Some(i) => from[i],
        None => others.next().expect("as many axes stay as there are places left"),
    };
    Ok((0..x.rank()).map(axis_at).collect())
}
