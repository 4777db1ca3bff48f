//! What can be wrong with the trees and the numbers that an optimiser is given.

use std::collections::HashMap;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use crate::aval::{Aval, DType};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::control::leaf_name;
use crate::tensor::Tensor;
use crate::tree::{self, Path, Tree, is_parameter};

/// Checks that gradients or updates have the type of the parameters.
pub(super) fn gradients<P: Tree>(what: &str, updates: &P, params: &P) -> Result<()> {
    let lines = differences("params", params, updates, |leaf| leaf.aval().clone());
    report(lines, || {
        format!(
            "{what}: the updates must have the type of the parameters, but they differ (parameters \
             before updates)"
        )
    }, "differentiate by the parameters that are updated")
    .and_then(|()| tree::check(updates))
}

/// Checks that `moments`, the part `name` of the state, is that of these parameters.
pub(super) fn state<P: Tree>(
    what: &str,
    name: &str,
    moments: &P,
    params: &P,
    dtype: Option<DType>,
) -> Result<()> {
    let aval = |leaf: &Tensor| Aval::new(dtype.unwrap_or(leaf.dtype()), leaf.shape());
    let lines = differences(name, params, moments, aval);
    report(lines, || {
        format!(
            "{what}: the state must be that of these parameters, but it differs (what it must be \
             before what it is)"
        )
    }, "make it with `init` of these parameters")
    .and_then(|()| tree::check(moments))
}

/// How `given` differs from what it must be: for each parameter, `aval`.
fn differences<P: Tree>(
    name: &str,
    params: &P,
    given: &P,
    aval: impl Fn(&Tensor) -> Aval,
) -> Vec<String> {
    let leaves = tree::leaves_with_paths(given);
    let mut rest: HashMap<&Path, &Tensor> =
        leaves.iter().map(|(path, leaf)| (path, leaf)).collect();
    let mut lines = Vec::new();
    for (path, param) in tree::leaves_with_paths(params) {
        let (leaf, wanted) = (leaf_name(name, &path), aval(&param));
        match rest.remove(&path) {
            None => lines.push(format!("{leaf}: {wanted}, but missing")),
            Some(found) if is_parameter(&path, &param) && *found.aval() != wanted => {
                lines.push(format!("{leaf}: {wanted}, but {}", found.aval()));
            }
            Some(_) => {}
        }
    }
    for (path, leaf) in leaves.iter().filter(|(path, _)| rest.contains_key(path)) {
        lines.push(format!("{}: nothing, but {}", leaf_name(name, path), leaf.aval()));
    }
    if lines.is_empty() && tree::structure(params) != tree::structure(given) {
        lines.push(format!("{name}: the static fields differ"));
    }
    lines
}

fn report(lines: Vec<String>, rule: impl Fn() -> String, fix: &str) -> Result<()> {
    match lines.is_empty() {
        true => Ok(()),
        false => {
            let message = format!("{}:\n  {}\n  {fix}", rule(), lines.join("\n  "));
            Err(Error::new(ErrorKind::Tree, message))
        }
    }
}

/// Checks that the number `name` is finite and not negative.
pub(super) fn not_negative(what: &str, name: &str, value: f64) -> Result<()> {
    number(what, name, value, (Included(0.0), Unbounded), "a finite number of at least 0")
}

/// Checks that the number `name` is finite and positive.
pub(super) fn positive(what: &str, name: &str, value: f64) -> Result<()> {
    number(what, name, value, (Excluded(0.0), Unbounded), "a finite number above 0")
}

/// Checks that a rate of decay is at least 0 and below 1.
pub(super) fn decay(what: &str, name: &str, value: f64) -> Result<()> {
    number(what, name, value, (Included(0.0), Excluded(1.0)), "at least 0 and below 1")
}

/// Checks that the number `name` is finite.
pub(super) fn finite(what: &str, name: &str, value: f64) -> Result<()> {
    number(what, name, value, (Unbounded, Unbounded), "a finite number")
}

fn number(
    what: &str,
    name: &str,
    value: f64,
    range: (Bound<f64>, Bound<f64>),
    limit: &str,
) -> Result<()> {
    use std::ops::RangeBounds;
    if value.is_finite() && range.contains(&value) {
        return Ok(());
    }
    Err(Error::argument(format!("{what}: {name} must be {limit}, but it is {value:?}")))
}

/// Checks that a number of steps is at least `least`, and one that a counter reaches.
pub(super) fn steps(what: &str, name: &str, steps: usize, least: usize) -> Result<()> {
    if steps >= least && i32::try_from(steps).is_ok() {
        return Ok(());
    }
    Err(Error::argument(format!(
        "{what}: {name} must be from {least} to {}, the last step that is counted, but it is {steps}",
        i32::MAX,
    )))
}

/// Checks that what a rate is made of is a floating scalar.
pub(super) fn scalar(name: &str, value: &Tensor) -> Result<()> {
    value.check()?;
    if value.rank() == 0 && value.dtype().is_float() {
        return Ok(());
    }
    let message = format!("optim: {name} must be a floating scalar, but it is {}", value.aval());
    Err(Error::argument(message))
}

/// Checks that accumulators are to have a floating dtype.
pub(super) fn float(what: &str, name: &str, dtype: DType) -> Result<()> {
    if dtype.is_float() {
        return Ok(());
    }
    Err(Error::dtype(format!("{what}: {name} must be a floating dtype, but it is {dtype}")))
}

/// Checks that a part of the state is there if the optimiser has it.
pub(super) fn same_parts(what: &str, name: &str, wanted: bool, given: bool) -> Result<()> {
    if wanted == given {
        return Ok(());
    }
    let (wanted, given) = if wanted { ("has", "none") } else { ("has no", "one") };
    Err(Error::new(
        ErrorKind::Tree,
        format!(
            "{what}: this optimiser {wanted} {name}, but the state has {given}: make it with `init` \
             of the same optimiser"
        ),
    ))
}
