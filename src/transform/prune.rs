//! Dead code: equations and parameters that no result needs go.

use super::{flagged, positions};
use crate::ir::{Equation, Func, FuncBuilder, Param, Value};
use crate::ops::Op;

/// A function without what nobody uses.
pub(crate) struct Pruned {
    /// Its parameters are the needed ones, and its results the used ones.
    pub func: Func,
    /// Which parameters are needed.
    pub params: Vec<bool>,
}

/// An operation without what nobody uses.
pub(crate) struct PrunedOp {
    pub op: Op,
    /// Which inputs it still takes.
    pub inputs: Vec<bool>,
    /// Which outputs it still gives: those that are used, and perhaps others.
    pub outputs: Vec<bool>,
}

/// What of `func` is needed for the results that are `used`.
pub(crate) fn prune(func: &Func, used: &[bool]) -> Pruned {
    let mut live = vec![false; func.value_count()];
    let mark = |live: &mut Vec<bool>, values: &[Value]| {
        values.iter().for_each(|value| live[value.index()] = true);
    };
    let results = flagged(func.results(), used);
    mark(&mut live, &results);
    let mut kept = Vec::new();
    for equation in func.equations().iter().rev() {
        let used: Vec<bool> = equation.outputs().iter().map(|v| live[v.index()]).collect();
        if !used.contains(&true) {
            continue;
        }
        let equation = match equation.op.rules().prune(&used) {
            Some(pruned) => Equation {
                op: pruned.op,
                inputs: flagged(equation.inputs(), &pruned.inputs),
                outputs: flagged(equation.outputs(), &pruned.outputs),
                source: equation.source().clone(),
            },
            None => equation.clone(),
        };
        mark(&mut live, equation.inputs());
        kept.push(equation);
    }
    kept.reverse();

    let params: Vec<bool> = func.params().map(|(value, _)| live[value.index()]).collect();
    let mut builder = FuncBuilder::new();
    let mut map = vec![None; func.value_count()];
    let mut new_params = Vec::new();
    for (value, name) in func.params() {
        if live[value.index()] {
            let new = builder.param(func.aval(value).clone());
            map[value.index()] = Some(new);
            new_params.push(Param { value: new, name: name.to_owned() });
        }
    }
    let get = |map: &[Option<Value>], value: &Value| {
        map[value.index()].expect("what a kept equation takes is kept")
    };
    for equation in kept {
        let inputs = equation.inputs.iter().map(|value| get(&map, value)).collect();
        let avals = equation.outputs.iter().map(|&value| func.aval(value).clone()).collect();
        let outputs = builder.equation(equation.op, inputs, avals, equation.source);
        for (old, new) in equation.outputs.iter().zip(outputs) {
            map[old.index()] = Some(new);
        }
    }
    let results = results.iter().map(|value| get(&map, value)).collect();
    Pruned { func: builder.finish(func.name(), new_params, results), params }
}

/// What is left of a region whose first `carried` results are carried to its parameters behind the
/// first `constants` ones, if the results `used` are needed: a carry that is only carried goes.
/// Gives the results to keep and the pruned region.
pub(crate) fn prune_loop(
    body: &Func,
    constants: usize,
    carried: usize,
    used: &[bool],
) -> (Vec<bool>, Pruned) {
    let mut keep = used.to_vec();
    loop {
        let pruned = prune(body, &keep);
        let grown: Vec<usize> = positions(&pruned.params[constants..constants + carried])
            .into_iter()
            .filter(|&i| !keep[i])
            .collect();
        if grown.is_empty() {
            return (keep, pruned);
        }
        grown.into_iter().for_each(|i| keep[i] = true);
    }
}
