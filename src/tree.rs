//! Trees of tensors: what a traced function takes and returns.
//!
//! A tree is a value that is built of tensors: a [`Tensor`], a tuple, array, `Vec`, `Option` or
//! `BTreeMap` of trees, `()`, or a struct with `#[derive(Tree)]`. They stand where JAX has pytrees.
//! Leaves have an order (that of the fields) and a path such as `dense_i.kernel` or `0.hidden`,
//! which also says what [kind](Kind) of leaf it is: whether it is state or may be a parameter.

use std::collections::BTreeMap;
use std::fmt;

use crate::Tensor;
use crate::error::{Error, ErrorKind, Result};
use crate::nn::Mode;
use crate::tuples::each_tuple;

/// One step from a tree to a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A field of a struct.
    Field(&'static str),
    /// A position in a tuple, array or vector.
    Index(usize),
    /// A key of a map.
    Name(String),
}

/// What a leaf is to the tree it belongs to: Flax's types of variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Anything that nothing else is said of. A floating tensor of this kind is a
    /// [parameter](is_parameter).
    #[default]
    Param,
    /// State, such as batch statistics: below a field with `#[tree(state)]`.
    State,
    /// The key of a stream of random keys, which is state.
    RngKey,
    /// The number of keys drawn from such a stream, which is state.
    RngCount,
}

/// The way from the root of a tree to a part of it; prints as `layers.0.kernel`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path {
    keys: Vec<Key>,
    kind: Kind,
}

impl Path {
    /// Runs `f` with `key` appended, and takes it off again.
    pub fn with<R>(&mut self, key: Key, f: impl FnOnce(&mut Path) -> R) -> R {
        self.with_kind(key, self.kind, f)
    }

    /// The same for a part whose leaves are of this kind.
    pub fn with_kind<R>(&mut self, key: Key, kind: Kind, f: impl FnOnce(&mut Path) -> R) -> R {
        let outer = std::mem::replace(&mut self.kind, kind);
        self.keys.push(key);
        let result = f(self);
        self.keys.pop();
        self.kind = outer;
        result
    }

    /// The steps from the root.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// What the leaf is to the tree.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the leaf is state, which training does not change by a gradient: it is below a field
    /// with `#[tree(state)]`.
    pub fn is_state(&self) -> bool {
        self.kind != Kind::Param
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, key) in self.keys.iter().enumerate() {
            if i > 0 {
                f.write_str(".")?;
            }
            match key {
                Key::Field(name) => f.write_str(name)?,
                Key::Index(index) => write!(f, "{index}")?,
                Key::Name(name) => f.write_str(name)?,
            }
        }
        Ok(())
    }
}

/// What a walk over a tree meets.
pub enum Node<'a> {
    /// A tensor.
    Leaf(&'a Tensor),
    /// Data that is not traced (a size, a flag, an empty option). It is part of the tree's
    /// structure: trees that differ in it are of different types to a compiled function. Values are
    /// told apart by what `Debug` prints.
    Static(&'a dyn fmt::Debug),
    /// The number of parts of a tuple, an array, a vector or a map.
    Parts(usize),
}

/// A value built of tensors. Derive it for structs; see the [module](self).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
///
/// #[derive(Clone, Tree)]
/// struct Carry {
///     h: Tensor,
///     #[tree(static)]
///     hidden: usize,
/// }
/// let carry = Carry { h: Tensor::zeros([8], DType::F32), hidden: 8 };
/// assert_eq!(onetrace::tree::paths(&carry), ["h"]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tree of tensors",
    label = "not a tree of tensors",
    note = "a traced function takes and returns tensors, or tuples, arrays, `Vec`s, `Option`s and \
            structs (`#[derive(Tree)]`) of them",
    note = "a plain number is not traced: make it a tensor with `Tensor::scalar(x, DType::F32)`, \
            or mark the field that holds it `#[tree(static)]`"
)]
pub trait Tree: Clone {
    /// Whether a function that takes such a tree takes several arguments: a tuple.
    #[doc(hidden)]
    const IS_TUPLE: bool = false;

    /// Calls `f` on every node, in order, with the node's path.
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>));

    /// The same tree with every leaf replaced by what `f` makes of it.
    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self;

    /// Puts every layer below that works otherwise when it is trained into this mode; see
    /// [`nn::train`](crate::nn::train). Trees written by hand hand it on to their parts.
    fn set_modes(&mut self, mode: Mode) {
        let _ = mode;
    }
}

impl Tree for Tensor {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Leaf(self));
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        f(path, self)
    }
}

impl<T: Tree> Tree for Option<T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        match self {
            Some(tree) => tree.visit(path, f),
            None => f(path, Node::Static(&"None")),
        }
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        self.as_ref().map(|tree| tree.map(path, f))
    }

    fn set_modes(&mut self, mode: Mode) {
        self.iter_mut().for_each(|tree| tree.set_modes(mode));
    }
}

impl<T: Tree> Tree for Vec<T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Parts(self.len()));
        for (i, tree) in self.iter().enumerate() {
            path.with(Key::Index(i), |path| tree.visit(path, f));
        }
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        let items = self.iter().enumerate();
        items.map(|(i, tree)| path.with(Key::Index(i), |path| tree.map(path, f))).collect()
    }

    fn set_modes(&mut self, mode: Mode) {
        self.iter_mut().for_each(|tree| tree.set_modes(mode));
    }
}

impl<T: Tree, const N: usize> Tree for [T; N] {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Parts(N));
        for (i, tree) in self.iter().enumerate() {
            path.with(Key::Index(i), |path| tree.visit(path, f));
        }
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        std::array::from_fn(|i| path.with(Key::Index(i), |path| self[i].map(path, f)))
    }

    fn set_modes(&mut self, mode: Mode) {
        self.iter_mut().for_each(|tree| tree.set_modes(mode));
    }
}

impl<T: Tree> Tree for BTreeMap<String, T> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Parts(self.len()));
        for (name, tree) in self {
            path.with(Key::Name(name.clone()), |path| {
                f(path, Node::Parts(1));
                tree.visit(path, f);
            });
        }
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        let mut mapped = |(name, tree): (&String, &T)| {
            let tree = path.with(Key::Name(name.clone()), |path| tree.map(path, f));
            (name.clone(), tree)
        };
        self.iter().map(&mut mapped).collect()
    }

    fn set_modes(&mut self, mode: Mode) {
        self.values_mut().for_each(|tree| tree.set_modes(mode));
    }
}

macro_rules! tuple_trees {
    ($(($($T:ident $i:tt),*))*) => {$(
        impl<$($T: Tree),*> Tree for ($($T,)*) {
            const IS_TUPLE: bool = true;

            #[allow(unused_variables, reason = "the empty tuple has no leaf to visit")]
            fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
                const PARTS: &[usize] = &[$($i),*];
                f(path, Node::Parts(PARTS.len()));
                $(path.with(Key::Index($i), |path| self.$i.visit(path, f));)*
            }

            #[allow(unused_variables, clippy::unused_unit, reason = "as above")]
            fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
                ($(path.with(Key::Index($i), |path| self.$i.map(path, f)),)*)
            }

            #[allow(unused_variables, reason = "as above")]
            fn set_modes(&mut self, mode: Mode) {
                $(self.$i.set_modes(mode);)*
            }
        }
    )*};
}

tuple_trees! { () }
each_tuple!(tuple_trees);

/// The leaves of a tree, in order.
pub fn leaves<T: Tree>(tree: &T) -> Vec<Tensor> {
    leaves_with_paths(tree).into_iter().map(|(_, leaf)| leaf).collect()
}

/// The paths of the leaves of a tree, in order.
pub fn paths<T: Tree>(tree: &T) -> Vec<String> {
    leaves_with_paths(tree).into_iter().map(|(path, _)| path.to_string()).collect()
}

/// The leaves of a tree with their paths, in order.
pub fn leaves_with_paths<T: Tree>(tree: &T) -> Vec<(Path, Tensor)> {
    let mut out = Vec::new();
    tree.visit(&mut Path::default(), &mut |path, node| {
        if let Node::Leaf(tensor) = node {
            out.push((path.clone(), tensor.clone()));
        }
    });
    out
}

/// Whether the leaf at `path` is a parameter, which gradients and optimisers are about: it is a
/// floating tensor, and no [state](Path::is_state).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let layer = nn::BatchNorm::new(&mut nn::Rngs::new(0), 2);
/// let leaves = tree::leaves_with_paths(&layer).into_iter();
/// let parameters = leaves.filter(|(path, leaf)| tree::is_parameter(path, leaf));
/// let names: Vec<String> = parameters.map(|(path, _)| path.to_string()).collect();
/// assert_eq!(names, ["scale", "bias"]); // and not the running mean and variance
/// ```
pub fn is_parameter(path: &Path, leaf: &Tensor) -> bool {
    !path.is_state() && leaf.dtype().is_float()
}

/// The same tree with every leaf replaced by what `f` makes of it; `jax.tree.map`.
pub fn map<T: Tree>(tree: &T, mut f: impl FnMut(&Tensor) -> Tensor) -> T {
    tree.map(&mut Path::default(), &mut |_, leaf| f(leaf))
}

/// The tree of the structure of `template` with these leaves.
///
/// # Errors
/// If the number of leaves is not that of the template.
pub fn unflatten<T: Tree>(template: &T, leaves: Vec<Tensor>) -> Result<T> {
    let given = leaves.len();
    let mut leaves = leaves.into_iter();
    let mut wanted = 0;
    let tree = map(template, |leaf| {
        wanted += 1;
        leaves.next().unwrap_or_else(|| leaf.clone())
    });
    if given == wanted {
        return Ok(tree);
    }
    let message = format!("unflatten: the tree has {wanted} leaves, but {given} were given");
    Err(Error::new(ErrorKind::Tree, message))
}

/// The structure of a tree: the paths of its leaves, the sizes of its containers and its static
/// data, without the tensors.
///
/// Two trees of one Rust type can still differ in it, by the length of a `Vec` or a `None`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Structure(Vec<(Path, Option<String>)>);

/// The [`Structure`] of a tree.
pub fn structure<T: Tree>(tree: &T) -> Structure {
    let mut out = Vec::new();
    tree.visit(&mut Path::default(), &mut |path, node| {
        let data = match node {
            Node::Leaf(_) => None,
            Node::Static(data) => Some(format!("{data:?}")),
            Node::Parts(parts) => Some(parts.to_string()),
        };
        out.push((path.clone(), data));
    });
    Structure(out)
}

/// Checks every leaf for an error that was made while it was computed.
///
/// Operations do not return a `Result`: the first mistake travels with the values computed from
/// it, and this is one of the places where it comes out.
///
/// # Errors
/// The error of the first leaf that has one.
pub fn check<T: Tree>(tree: &T) -> Result<()> {
    leaves(tree).iter().try_for_each(Tensor::check)
}
