//! Products of the same rows with several matrices, at a step of a loop, are one product with the
//! matrices side by side, whose columns are taken apart again: an LSTM with a product for each gate
//! computes what one with a product for all of them does.
//!
//! That is so where [the kernel](super::panel_dot) takes the one product: its threads share the
//! columns, and there is one call instead of several. XLA:CPU gains nothing by it.

use std::collections::{BTreeMap, HashMap};

use super::Op;
use super::concatenate::Concatenate;
use super::dot::Dot;
use super::panel_dot::{Factors, is_worth_it};
use super::slice::Slice;
use crate::aval::Aval;
use crate::ir::{Equation, Func, Value};
use crate::transform::Env;
use crate::transform::simplify::{Cpu, Simplifier};

/// The body of a loop in the form that a CPU computes, with such products joined where kernels
/// multiply. Its first `constants` parameters are the same at every step.
pub(super) fn body_for_cpu(cpu: Cpu, body: &Func, constants: usize, at: &Simplifier) -> Func {
    let joined = if cpu.packs { joined(body, constants) } else { None };
    at.rewritten_body(joined.as_ref().unwrap_or(body), constants)
}

/// The body with such products joined, if there are any.
fn joined(body: &Func, constants: usize) -> Option<Func> {
    let is_invariant = invariant(body, constants);
    let groups = groups(body, &is_invariant);
    let of_groups = groups.iter().flat_map(|group| group.iter().map(move |p| (p.result, group)));
    let group_of: HashMap<Value, &Vec<Product>> = of_groups.collect();
    if group_of.is_empty() {
        return None;
    }
    let mut at = Simplifier::new();
    let params = at.params_of(body);
    let mut env = Env::with_params(body, params.iter().map(|param| param.value));
    // What is the same at every step comes first: all matrices are there for the first product.
    let is_early = |e: &&Equation| e.outputs().iter().any(|output| is_invariant[output.index()]);
    let (early, late): (Vec<_>, Vec<_>) = body.equations().iter().partition(is_early);
    for equation in early.into_iter().chain(late) {
        at.stand_for(equation);
        match equation.outputs().first().and_then(|output| group_of.get(output)) {
            Some(group) if env.find(group[0].result).is_none() => record(group, &mut env, &mut at),
            Some(_) => {}
            None => {
                let outputs = at.again(body, equation, env.get_all(equation.inputs()));
                env.set_all(equation.outputs(), outputs);
            }
        }
    }
    let results = env.get_all(body.results());
    Some(at.finish(body.name(), params, results))
}

/// Which values are the same at every step.
fn invariant(body: &Func, constants: usize) -> Vec<bool> {
    let mut is_invariant = vec![false; body.value_count()];
    body.params().take(constants).for_each(|(param, _)| is_invariant[param.index()] = true);
    for equation in body.equations() {
        let is = !equation.op.rules().has_effect()
            && equation.inputs().iter().all(|input| is_invariant[input.index()]);
        equation.outputs().iter().for_each(|output| is_invariant[output.index()] = is);
    }
    is_invariant
}

/// A product of the body.
struct Product {
    factors: Factors,
    result: Value,
}

/// The products that are worth joining: those of the same rows with matrices of which the same axis
/// is contracted, if the kernel takes the joined one.
fn groups(body: &Func, is_invariant: &[bool]) -> Vec<Vec<Product>> {
    let mut groups: BTreeMap<(Value, usize), Vec<Product>> = BTreeMap::new();
    for equation in body.equations() {
        let (Op::Dot(dot), &[x, y]) = (&equation.op, equation.inputs()) else { continue };
        let avals = [x, y].map(|value| body.aval(value));
        let is_invariant = [x, y].map(|value| is_invariant[value.index()]);
        if let Some(factors) = Factors::of(dot, &[x, y], avals, is_invariant) {
            let product = Product { factors, result: equation.outputs()[0] };
            groups.entry((product.factors.x, product.factors.axis)).or_default().push(product);
        }
    }
    let is_worth_joining = |group: &Vec<Product>| {
        let x = body.aval(group[0].factors.x);
        let last = |aval: &Aval| aval.shape[aval.rank() - 1];
        let columns = group.iter().map(|product| last(body.aval(product.result)));
        group.len() > 1 && is_worth_it(x, columns.fold(0, usize::saturating_add))
    };
    groups.into_values().filter(is_worth_joining).collect()
}

/// Records the product with all matrices, and its columns for each product.
fn record(group: &[Product], env: &mut Env<Value>, at: &mut Simplifier) {
    let Factors { x, axis, .. } = group[0].factors;
    let x = *env.get(x);
    let matrices = group.iter().map(|product| *env.get(product.factors.matrix)).collect();
    let matrix = at.record(Concatenate { axis: 1 - axis }, matrices)[0];
    let rank = at.aval(x).rank();
    let dot = Dot {
        lhs_contract: vec![rank - 1],
        rhs_contract: vec![axis],
        lhs_batch: Vec::new(),
        rhs_batch: Vec::new(),
    };
    let joined = at.record(dot, vec![x, matrix])[0];
    let mut start = 0;
    for product in group {
        let end = start + at.aval(*env.get(product.factors.matrix)).shape[1 - axis];
        let slice = Slice::along(rank - 1, start..end, at.aval(joined));
        env.set(product.result, at.record(slice, vec![joined])[0]);
        start = end;
    }
}
