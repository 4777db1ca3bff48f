//! Derivatives of functions of trees: forward mode, reverse mode, and what is made of them.
//!
//! The function is traced (once; by `jacfwd` once for each leaf of its argument), and the
//! derivative is made of the trace by the transformations of the IR. What the function captures is
//! held fixed.

mod forward;
mod jacobian;
mod linearize;
mod reverse;

pub use forward::jvp;
pub use jacobian::{hessian, hvp, jacfwd, jacrev};
pub use linearize::linearize;
pub(crate) use reverse::differentiate;
pub use reverse::{grad, grad_with_aux, value_and_grad, value_and_grad_with_aux, vjp};

use crate::error::{Error, Location, Result};
use crate::ir::Func;
use crate::ops::control::{check_same_type, leaf_name, prefixed, trace_region};
use crate::tensor::Tensor;
use crate::trace::Kind;
use crate::tree::{self, Tree};

/// A function that was traced to be differentiated.
struct Traced {
    func: Func,
    /// The values of its first parameters.
    captures: Vec<Tensor>,
}

impl Traced {
    /// Which parameters the function is differentiated by: all that it did not capture.
    fn active(&self) -> Vec<bool> {
        (0..self.func.params().len()).map(|i| i >= self.captures.len()).collect()
    }
}

/// Traces `f` for a `call` of a function of the library, to be differentiated by all of `primals`.
/// Gives what `f` returned, too: its structure is of use even where a mistake was made.
fn trace_for<A: Tree, R: Tree>(
    call: (&str, Location),
    primals: &A,
    f: impl FnOnce(A) -> R,
) -> (R, Result<Traced>) {
    let params = prefixed("arg", primals);
    let outcome = trace_region(call, "differentiated", Kind::Function, params, primals, f);
    let result = check_floats(call.0, "arg", primals).and(outcome.result);
    (outcome.output, result.map(|(func, captures)| Traced { func, captures }))
}

/// Checks that there is a tangent of its own type for each leaf of `primals`.
fn check_tangents<A: Tree>(what: &str, primals: &A, tangents: &A) -> Result<()> {
    let rule = "the tangents must have the type of the primals, but they do not";
    let primals = ("arg", "in the primals", primals);
    check_same_type(what, rule, primals, ("arg", "in the tangents", tangents))
}

/// Checks that every leaf has a floating dtype: nothing else has a tangent.
fn check_floats<T: Tree>(what: &str, name: &str, tree: &T) -> Result<()> {
    let leaves = tree::leaves_with_paths(tree);
    let bad = leaves.iter().filter(|(_, leaf)| leaf.check().is_ok() && !leaf.dtype().is_float());
    let lines: Vec<String> =
        bad.map(|(path, leaf)| format!("\n  {}: {}", leaf_name(name, path), leaf.aval())).collect();
    match lines.is_empty() {
        true => Ok(()),
        false => Err(Error::dtype(format!(
            "{what}: only floating tensors have derivatives, but there are others:{}\n  let the \
             function capture what is held fixed, or convert it with `astype`",
            lines.concat(),
        ))),
    }
}
