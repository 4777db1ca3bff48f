//! What loops and branches share: checks of the trees that their functions take and return.

use crate::aval::Aval;
use crate::error::{Error, ErrorKind, Location, Result};
use crate::ops::Op;
use crate::tensor::{Poison, Repr, Tensor};
use crate::trace::{self, Captures, Kind, Outcome, poison, record};
use crate::tree::{self, Path, Tree};

/// A function that does not assign to variables outside of it: one that can be cloned.
///
/// The step of a loop is run once, when it is traced: what it assigned to a variable outside would
/// be a value of every step and of none. A closure that assigns holds a unique borrow and so cannot
/// be cloned. One that owns something that cannot be cloned is refused with it: let it borrow that.
/// What goes through a `Cell` or a lock is not seen here; a tensor that leaves a trace in that way
/// is reported when it is used.
#[diagnostic::on_unimplemented(
    message = "a traced function cannot assign to a variable outside of it",
    label = "this closure assigns to a captured variable",
    note = "return the value instead: from a scan, in the carry to keep the last one, as a `y` to \
            keep all of them",
    note = "a closure is refused, too, if it owns something that cannot be cloned: let it borrow that"
)]
pub trait Pure: Clone {}

// A closure that holds a unique borrow is not `Clone`; every other one that captures tensors is.
#[diagnostic::do_not_recommend]
impl<F: Clone> Pure for F {}

/// Traces `f` on tensors with the structure of `template` and the types and names `params`. A
/// mistake in it says that it was made in the `call` of a function of the library.
pub(crate) fn trace_region<A: Tree, R: Tree>(
    call: (&str, Location),
    name: &str,
    kind: Kind,
    params: Vec<(Aval, String)>,
    template: &A,
    f: impl FnOnce(A) -> R,
) -> Outcome<R> {
    // A loop that runs at once is a program of its own: weights it captures are its arguments, so
    // that the same loop with other weights is the same program.
    let captures = if trace::is_tracing() { Captures::Constants } else { Captures::Params };
    let (what, location) = call;
    let outcome = trace::trace(name, location, kind, captures, params, |tensors| {
        f(tree::unflatten(template, tensors).expect("one tensor for each leaf"))
    });
    let result = outcome.result.map_err(|error| match error.location() {
        Some(place) if place != location => error.note(format!("in the {what} at {location}")),
        _ => error,
    });
    Outcome { result, ..outcome }
}

/// Records an operation whose outputs have the structure of `template`, or poisons them all.
#[track_caller]
pub(crate) fn record_tree<R: Tree>(prepared: Result<(Op, Vec<Tensor>)>, template: &R) -> R {
    let outputs = tree::leaves(template).len();
    let results = match prepared {
        Ok((op, inputs)) => Ok(record(op, &inputs, outputs)),
        Err(error) => Err(error),
    };
    result_tree(results, template)
}

/// The results in the structure of `template`. Those that are poisoned have its types too.
#[track_caller]
pub(crate) fn result_tree<R: Tree>(results: Result<Vec<Tensor>>, template: &R) -> R {
    let results = match results {
        Ok(results) => results,
        Err(error) => vec![poison(error, &[]); tree::leaves(template).len()],
    };
    let mut results = results.into_iter();
    tree::map(template, |leaf| match results.next() {
        Some(result) => retyped(&result, leaf.aval().clone()),
        None => leaf.clone(),
    })
}

/// The types of the leaves of `tree`, with their paths below `name`.
pub(crate) fn prefixed<T: Tree>(name: &str, tree: &T) -> Vec<(Aval, String)> {
    let leaves = tree::leaves_with_paths(tree).into_iter();
    leaves.map(|(path, leaf)| (leaf.aval().clone(), leaf_name(name, &path))).collect()
}

pub(crate) fn leaf_name(name: &str, path: &Path) -> String {
    match path.keys() {
        [] => name.to_owned(),
        _ => format!("{name}.{path}"),
    }
}

/// A tensor that is poisoned with another type, which code that asks for it then sees; any other
/// tensor as it is.
pub(crate) fn retyped(tensor: &Tensor, aval: Aval) -> Tensor {
    match &tensor.0 {
        Repr::Poisoned(poison) => {
            let error = poison.error.clone();
            Tensor(Repr::Poisoned(std::sync::Arc::new(Poison { error, aval })))
        }
        _ => tensor.clone(),
    }
}

/// Checks that a carry is of the same type `before` and `after` what a loop repeats.
pub(crate) fn check_carry<C: Tree>(what: &str, unit: &str, before: &C, after: &C) -> Result<()> {
    let rule = format!("the carry must have the same type before and after {unit}, but it changes");
    check_same_type(what, &rule, ("carry", "before", before), ("carry", "after", after))
}

/// The carry `after` a step of `call`; poisoned if it is not of the type of the one `before`.
pub(crate) fn next_carry<C: Tree>(call: (&str, Location), before: &C, after: C) -> C {
    let (what, location) = call;
    match check_carry(what, "a step", before, &after) {
        Ok(()) => after,
        Err(error) => {
            let bad = poison(error.at(location), &[]);
            tree::map(before, |leaf| retyped(&bad, leaf.aval().clone()))
        }
    }
}

/// Checks that two trees have the same leaves with the same types. Each comes with its name and
/// with what tells it from the other one; all differences are reported.
pub(crate) fn check_same_type<T: Tree>(
    what: &str,
    rule: &str,
    (name, first, a): (&str, &str, &T),
    (_, second, b): (&str, &str, &T),
) -> Result<()> {
    tree::check(a)?;
    tree::check(b)?;
    let mut lines = Vec::new();
    let (leaves_a, leaves_b) = (tree::leaves_with_paths(a), tree::leaves_with_paths(b));
    let find = |leaves: &[(Path, Tensor)], path: &Path| {
        leaves.iter().find(|(p, _)| p == path).map(|(_, leaf)| leaf.clone())
    };
    for (path, x) in &leaves_a {
        let leaf = leaf_name(name, path);
        match find(&leaves_b, path) {
            None => lines.push(format!("{leaf}: {} {first}, missing {second}", x.aval())),
            Some(y) if x.aval() != y.aval() => {
                let advice = advice(x.aval(), y.aval(), second);
                lines.push(format!(
                    "{leaf}: {} {first}, {} {second} — {advice}{}",
                    x.aval(),
                    y.aval(),
                    made_at(second, &y),
                ));
            }
            Some(_) => {}
        }
    }
    for (path, y) in &leaves_b {
        if find(&leaves_a, path).is_none() {
            let leaf = leaf_name(name, path);
            lines.push(format!("{leaf}: missing {first}, {} {second}", y.aval()));
        }
    }
    if lines.is_empty() && tree::structure(a) != tree::structure(b) {
        lines.push(format!("{name}: the static fields differ"));
    }
    if lines.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Tree, format!("{what}: {rule}:\n  {}", lines.join("\n  "))))
}

fn made_at(second: &str, tensor: &Tensor) -> String {
    match &tensor.0 {
        Repr::Traced(traced) => format!("\n    (value {second} made at {})", traced.made_at),
        _ => String::new(),
    }
}

/// How the value that `second` names, of type `after`, can be brought to type `before`.
fn advice(before: &Aval, after: &Aval, second: &str) -> String {
    if before.dtype != after.dtype {
        return format!(
            "different dtype; convert the value {second} with `.astype(DType::{:?})`",
            before.dtype,
        );
    }
    if after.rank() == before.rank() + 1 {
        return match after.shape.iter().rposition(|&d| d == 1) {
            Some(axis) if axis + 1 == after.rank() => "different rank; drop the last axis".into(),
            Some(axis) => format!("different rank; drop axis {axis}"),
            None => "different rank".into(),
        };
    }
    if after.rank() != before.rank() {
        return "different rank".into();
    }
    "different shape".into()
}
