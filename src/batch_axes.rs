//! Along which axes of arguments and results the members of a batch stand, or the parts of several
//! devices.

use crate::Aval;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::control::leaf_name;
use crate::ops::resolve_axis;
use crate::tree::{self, Key, Path, Tree};

/// Says of an argument or a result that it is the same for all members of a batch, among the [axes
/// of a `Vmap`](crate::Vmap::in_axes), or on all devices, among those of a
/// [`Pmap`](crate::Pmap::in_axes); `None` in the `in_axes` of `jax.vmap`.
pub const SAME: BatchAxes = BatchAxes(Kinds::Same);

/// Along which axis of each tensor the members of a batch stand: one for all leaves, or one for
/// each part of a tuple. See [`Vmap::in_axes`](crate::Vmap::in_axes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchAxes(Kinds);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kinds {
    Same,
    Axis(isize),
    Parts(Vec<BatchAxes>),
}

impl From<isize> for BatchAxes {
    fn from(axis: isize) -> BatchAxes {
        BatchAxes(Kinds::Axis(axis))
    }
}

/// For the parts of a `Vec` or an array.
impl<Part: Into<BatchAxes>> From<Vec<Part>> for BatchAxes {
    fn from(parts: Vec<Part>) -> BatchAxes {
        BatchAxes(Kinds::Parts(parts.into_iter().map(Into::into).collect()))
    }
}

macro_rules! tuples_of_axes {
    ($($($Part:ident)+;)*) => {$(
        impl<$($Part: Into<BatchAxes>),+> From<($($Part,)+)> for BatchAxes {
            #[allow(non_snake_case, reason = "each variable is named as its type")]
            fn from(($($Part,)+): ($($Part,)+)) -> BatchAxes {
                BatchAxes(Kinds::Parts(vec![$($Part.into()),+]))
            }
        }
    )*};
}

tuples_of_axes! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}

impl BatchAxes {
    /// The axis of each leaf of the arguments of `what`, if it has one.
    pub(crate) fn of_arguments<T: Tree>(
        &self,
        what: &str,
        arguments: &T,
    ) -> Result<Vec<Option<usize>>> {
        let leaves = tree::leaves_with_paths(arguments).into_iter();
        let axis = |(path, leaf): (Path, crate::Tensor)| {
            self.resolve((what, "in_axes"), "arg", &path, leaf.rank())
        };
        leaves.map(axis).collect()
    }

    /// The axis of the result at `path`, of `rank` axes with this one, if it is to have one.
    pub(crate) fn of_result(&self, what: &str, path: &Path, rank: usize) -> Result<Option<usize>> {
        self.resolve((what, "out_axes"), "result", path, rank)
    }

    fn resolve(
        &self,
        call: (&str, &str),
        name: &str,
        path: &Path,
        rank: usize,
    ) -> Result<Option<usize>> {
        match self.of_leaf(call, path.keys())? {
            None => Ok(None),
            Some(axis) => {
                let what = format!("{}: {}", call.0, leaf_name(name, path));
                resolve_axis(&what, axis, rank).map(Some)
            }
        }
    }

    fn of_leaf(&self, call: (&str, &str), path: &[Key]) -> Result<Option<isize>> {
        match (&self.0, path) {
            (Kinds::Same, _) => Ok(None),
            (Kinds::Axis(axis), _) => Ok(Some(*axis)),
            (Kinds::Parts(parts), [Key::Index(i), rest @ ..]) if *i < parts.len() => {
                parts[*i].of_leaf(call, rest)
            }
            (Kinds::Parts(parts), _) => {
                let (what, axes) = call;
                Err(Error::new(
                    ErrorKind::Tree,
                    format!(
                        "{what}: {axes} names the axes of a tuple of {}, but there is none",
                        parts.len(),
                    ),
                ))
            }
        }
    }
}

/// How many members stand along the axes of arguments: their names, types and axes.
pub(crate) struct Sizes(Vec<(String, Aval, usize)>);

impl Sizes {
    pub fn of<T: Tree>(arguments: &T, axes: &[Option<usize>]) -> Sizes {
        let leaves = tree::leaves_with_paths(arguments).into_iter().zip(axes);
        let size = |((path, leaf), axis): ((Path, crate::Tensor), &Option<usize>)| {
            axis.map(|axis| (leaf_name("arg", &path), leaf.aval().clone(), axis))
        };
        Sizes(leaves.filter_map(size).collect())
    }

    /// The number of members along the first axis that there is.
    pub fn first(&self) -> Option<usize> {
        self.0.first().map(|(_, aval, axis)| aval.shape[*axis])
    }

    /// Checks that there are `size` members along every axis, as the `rule` says.
    pub fn check(&self, size: usize, rule: &str) -> Result<()> {
        if self.0.iter().all(|(_, aval, axis)| aval.shape[*axis] == size) {
            return Ok(());
        }
        let lines = self.0.iter().map(|(name, aval, axis)| {
            format!("\n  {name}: {aval} has {} along axis {axis}", aval.shape[*axis])
        });
        Err(Error::shape(format!("{rule}, but:{}", lines.collect::<String>())))
    }
}
