//! Along which axes of arguments and results the members of a batch stand, or the parts of several
//! devices.

use crate::Aval;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::control::leaf_name;
use crate::ops::resolve_axis;
use crate::tree::{self, Key, Node, Path, Tree};
use crate::tuples::each_tuple;

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
    ($(($($Part:ident $i:tt),+))*) => {$(
        impl<$($Part: Into<BatchAxes>),+> From<($($Part,)+)> for BatchAxes {
            fn from(parts: ($($Part,)+)) -> BatchAxes {
                BatchAxes(Kinds::Parts(vec![$(parts.$i.into()),+]))
            }
        }
    )*};
}

each_tuple!(tuples_of_axes);

impl BatchAxes {
    /// The axis of each leaf of the arguments of `what`, if it has one.
    pub(crate) fn of_arguments<T: Tree>(
        &self,
        what: &str,
        arguments: &T,
    ) -> Result<Vec<Option<usize>>> {
        self.check_parts((what, "in_axes"), "arg", arguments)?;
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
        let leaf = leaf_name(name, path);
        match self.of_leaf(path.keys()) {
            None => {
                let (what, axes) = call;
                let message = format!("{what}: {axes} is for parts of {leaf}, which has none");
                Err(Error::new(ErrorKind::Tree, message))
            }
            Some(None) => Ok(None),
            Some(Some(axis)) => resolve_axis(&format!("{}: {leaf}", call.0), axis, rank).map(Some),
        }
    }

    /// Checks that where there are axes for parts, `tree` has as many parts.
    pub(crate) fn check_parts<T: Tree>(
        &self,
        (what, axes): (&str, &str),
        name: &str,
        tree: &T,
    ) -> Result<()> {
        let mut found = Ok(());
        tree.visit(&mut Path::default(), &mut |path, node| {
            if let (Node::Parts(parts), Some(wanted)) = (node, self.parts_at(path.keys()))
                && parts != wanted
            {
                let leaf = leaf_name(name, path);
                let message =
                    format!("{what}: {axes} is for {wanted} parts, but {leaf} has {parts}");
                found = Err(Error::new(ErrorKind::Tree, message));
            }
        });
        found
    }

    /// For how many parts there are axes at this place, if for parts at all.
    fn parts_at(&self, path: &[Key]) -> Option<usize> {
        match (&self.0, path) {
            (Kinds::Parts(parts), []) => Some(parts.len()),
            (Kinds::Parts(parts), [Key::Index(i), rest @ ..]) => parts.get(*i)?.parts_at(rest),
            _ => None,
        }
    }

    /// The axis at a leaf, if it has one; nothing where there are axes for parts of it.
    fn of_leaf(&self, path: &[Key]) -> Option<Option<isize>> {
        match (&self.0, path) {
            (Kinds::Same, _) => Some(None),
            (Kinds::Axis(axis), _) => Some(Some(*axis)),
            (Kinds::Parts(parts), [Key::Index(i), rest @ ..]) => parts.get(*i)?.of_leaf(rest),
            (Kinds::Parts(_), _) => None,
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
