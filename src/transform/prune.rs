//! Dead code: equations and parameters that no result needs go.

use std::borrow::Cow;

use super::{Env, flagged};
use crate::ir::{Equation, Func, FuncBuilder, Value};
use crate::ops::Op;

/// A function without what nobody uses.
pub(crate) struct Pruned {
    /// Its parameters are those needed or kept, and its results the used ones.
    pub func: Func,
    /// Which parameters it has.
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

/// What becomes of operations with an effect on the host when nobody uses their outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effects {
    Keep,
    /// They go: the function is computed for a second time, and should not print for a second time.
    Drop,
}

/// What of `func` is needed for the results that are `used`: the function itself if all of it is.
/// The parameters that `keep` names stay in any case.
pub(crate) fn prune(func: &Func, used: &[bool], keep: &[bool], effects: Effects) -> Pruned {
    let mut live = vec![false; func.value_count()];
    func.params().zip(keep).for_each(|((value, _), &keep)| live[value.index()] = keep);
    let mark = |live: &mut Vec<bool>, values: &[Value]| {
        values.iter().for_each(|value| live[value.index()] = true);
    };
    let results = flagged(func.results(), used);
    mark(&mut live, &results);
    let mut kept = Vec::with_capacity(func.equations().len());
    for equation in func.equations().iter().rev() {
        let used: Vec<bool> = equation.outputs().iter().map(|v| live[v.index()]).collect();
        let runs = effects == Effects::Keep && equation.op.rules().has_effect();
        if !runs && !used.contains(&true) {
            continue;
        }
        let equation = match equation.op.rules().prune(&used, effects) {
            Some(pruned) if pruned.op != equation.op => Cow::Owned(Equation {
                op: pruned.op,
                inputs: flagged(equation.inputs(), &pruned.inputs),
                outputs: flagged(equation.outputs(), &pruned.outputs),
                source: equation.source().clone(),
            }),
            _ => Cow::Borrowed(equation),
        };
        mark(&mut live, equation.inputs());
        kept.push(equation);
    }
    kept.reverse();

    let params: Vec<bool> = func.params().map(|(value, _)| live[value.index()]).collect();
    let is_whole = kept.len() == func.equations().len()
        && kept.iter().all(|equation| matches!(equation, Cow::Borrowed(_)));
    if is_whole && !params.contains(&false) && !used.contains(&false) {
        return Pruned { func: func.clone(), params };
    }
    let mut builder = FuncBuilder::new();
    let mut env = Env::new(func);
    let mut new_params = Vec::new();
    for (value, name) in func.params().filter(|(value, _)| live[value.index()]) {
        let param = builder.named_param(func.aval(value), name);
        env.set(value, param.value);
        new_params.push(param);
    }
    kept.iter().for_each(|equation| env.copy(func, equation, &mut builder));
    Pruned { func: builder.finish(func.name(), new_params, env.get_all(&results)), params }
}

impl Op {
    /// The operation without effects on the host, if it has some that it can do without: it gives
    /// the same `outputs` outputs, of the inputs that it still takes.
    pub fn silent(&self, outputs: usize) -> Option<(Op, Vec<bool>)> {
        let rules = self.rules();
        let pruned = rules.has_effect().then(|| rules.prune(&vec![true; outputs], Effects::Drop));
        pruned.flatten().map(|pruned| (pruned.op, pruned.inputs))
    }
}

/// What is left of the body of a loop whose first `carried` results are carried to its parameters
/// behind the first `constants` ones, if the results `used` are needed: what is only carried goes.
/// Gives the results that stay, too.
pub(crate) fn prune_loop(
    body: &Func,
    constants: usize,
    carried: usize,
    used: &[bool],
    effects: Effects,
) -> (Pruned, Vec<bool>) {
    let mut stay = used.to_vec();
    loop {
        let keep = [&vec![false; constants], &stay[..carried]].concat();
        let pruned = prune(body, &stay, &keep, effects);
        let carry = &pruned.params[constants..constants + carried];
        if carry == &stay[..carried] {
            return (pruned, stay);
        }
        stay[..carried].copy_from_slice(carry);
    }
}
