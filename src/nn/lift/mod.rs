//! Transformations of functions that take a module and change it: `nn::scan`, `nn::vmap`,
//! `nn::grad`, `nn::jit`. Flax takes the graph of a module apart and puts it together again around
//! JAX's own transformations; here the module is taken apart leaf by leaf, and what the function
//! did to it is written back to its owner.

mod axes;
mod grad;
mod jit;
mod scan;
mod vmap;

pub use axes::{Filter, StateAxes, StateAxis};
pub use grad::{grad, grad_with_aux, value_and_grad, value_and_grad_with_aux};
pub use jit::{Jit, LoweredStep, jit};
pub use scan::{Scan, scan};
pub use vmap::{Vmap, vmap};

use crate::error::{Location, Result};
use crate::ops::control::check_same_type;
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::{self, Node, Path, Tree};

/// A module of which only the chosen leaves are seen: the others are there, and nobody looks at
/// them.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Part<M> {
    module: M,
    chosen: Vec<bool>,
}

impl<M: Tree> Part<M> {
    /// The leaves of `module` that `choose` says.
    fn of(module: &M, choose: impl Fn(&Path, &Tensor) -> bool) -> Part<M> {
        let leaves = tree::leaves_with_paths(module);
        let chosen = leaves.iter().map(|(path, leaf)| choose(path, leaf)).collect();
        Part { module: module.clone(), chosen }
    }

    /// The leaves that were chosen, at their positions in the module.
    fn leaves(&self) -> Vec<Option<Tensor>> {
        let leaves = tree::leaves(&self.module).into_iter().zip(&self.chosen);
        leaves.map(|(leaf, &chosen)| chosen.then_some(leaf)).collect()
    }
}

impl<M: Tree> Tree for Part<M> {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        let mut chosen = self.chosen.iter();
        self.module.visit(path, &mut |path, node| {
            if !matches!(node, Node::Leaf(_)) || chosen.next() == Some(&true) {
                f(path, node);
            }
        });
    }

    fn map(&self, path: &mut Path, f: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        let mut chosen = self.chosen.iter();
        let module = self.module.map(path, &mut |path, leaf| match chosen.next() {
            Some(true) => f(path, leaf),
            _ => leaf.clone(),
        });
        Part { module, chosen: self.chosen.clone() }
    }
}

/// The module with these leaves in the place of its own, where there are some.
fn with_leaves<M: Tree>(module: &M, leaves: Vec<Option<Tensor>>) -> M {
    let mut leaves = leaves.into_iter();
    tree::map(module, |leaf| leaves.next().flatten().unwrap_or_else(|| leaf.clone()))
}

/// Writes these leaves into the module, unless there is a mistake in one: then it is left as it
/// was.
fn write_back<M: Tree>(module: &mut M, leaves: Vec<Option<Tensor>>) {
    if leaves.iter().flatten().all(|leaf| leaf.check().is_ok()) {
        *module = with_leaves(module, leaves);
    }
}

/// What a function made of a module.
struct Applied<M, R> {
    /// The module after it.
    module: M,
    /// Which leaves are other ones than before.
    changed: Vec<bool>,
    result: R,
}

impl<M: Tree, R> Applied<M, R> {
    /// What `f` makes of `module` in the open trace. `rule` is what may not happen to the module:
    /// if it does, the trace has an error, and the module counts as unchanged.
    fn of(call: (&str, Location), rule: &str, module: M, f: impl FnOnce(&mut M) -> R) -> Self {
        let mut after = module.clone();
        let result = f(&mut after);
        let (what, location) = call;
        match check_module(what, rule, &module, &after) {
            Ok(()) => {
                let leaves = tree::leaves(&module).into_iter().zip(tree::leaves(&after));
                let changed = leaves.map(|(old, new)| !old.is_same(&new)).collect();
                Applied { module: after, changed, result }
            }
            Err(error) => {
                poison(error.at(location), &[]);
                let changed = vec![false; tree::leaves(&module).len()];
                Applied { module, changed, result }
            }
        }
    }
}

fn check_module<M: Tree>(what: &str, rule: &str, before: &M, after: &M) -> Result<()> {
    check_same_type(what, rule, ("module", "before", before), ("module", "after", after))
}
