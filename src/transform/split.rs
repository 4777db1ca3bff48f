//! Partial evaluation: a function is split into what can be computed from the parameters that are
//! known, and what is left for when the others are known too.
//!
//! What the second part needs of the first are the *residuals*. What depends on no parameter at all
//! is in both parts where it is needed, so that constants are not residuals; and so is what is the
//! same at each step of a loop, and what is not to be [saved](Save).

use std::collections::{BTreeSet, HashMap};

use super::{Env, count, flagged, positions};
use crate::aval::Aval;
use crate::error::Result;
use crate::ir::{Equation, Func, FuncBuilder, Param, Value};
use crate::ops::Op;

/// A function in two parts.
pub(crate) struct Split {
    /// The known parameters -> the known results, and then the residuals.
    pub known: Func,
    /// The residuals, and then the unknown parameters -> the unknown results.
    pub unknown: Func,
    /// Which results are unknown.
    pub unknown_results: Vec<bool>,
    /// The number of residuals.
    pub residuals: usize,
}

impl Split {
    /// For each residual the position of the known parameter that it is, if it is one.
    pub fn residual_params(&self) -> Vec<Option<usize>> {
        let params: HashMap<Value, usize> =
            self.known.params().enumerate().map(|(i, (value, _))| (value, i)).collect();
        let results = self.known.results();
        let residuals = &results[results.len() - self.residuals..];
        residuals.iter().map(|value| params.get(value).copied()).collect()
    }
}

/// An operation in two parts.
pub(crate) struct SplitOp {
    /// Takes some of the known inputs; gives the known outputs, and then residuals of these types.
    pub known: Op,
    pub known_inputs: Vec<bool>,
    pub known_outputs: Vec<bool>,
    pub residuals: Vec<Aval>,
    /// What is left, what it takes, and which outputs it gives: all that are not known, at least.
    pub unknown: Op,
    pub unknown_inputs: Vec<From>,
    pub unknown_outputs: Vec<bool>,
}

/// Where the unknown part of an operation has an input from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum From {
    /// From an input of the operation, known or not.
    Input(usize),
    /// From a known output of the operation.
    Output(usize),
    /// From a residual.
    Residual(usize),
}

/// What is kept from the known part for the unknown one. The rest is computed again there, from
/// what is kept and the known parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Save {
    Everything,
    /// The results of products of matrices.
    Dots,
    Nothing,
}

impl Save {
    fn keeps(self, equation: &Equation) -> bool {
        match self {
            Save::Everything => true,
            Save::Dots => equation.op.rules().is_dot(),
            Save::Nothing => false,
        }
    }
}

/// Splits `func` by which of its parameters are unknown. Results that `instantiate` names are
/// unknown in any case.
pub(crate) fn split(func: &Func, unknown: &[bool], instantiate: &[bool]) -> Result<Split> {
    split_saving(Save::Everything, func, unknown, instantiate)
}

/// As [`split`], for the body of a loop of which some parameters are the same at every step, those
/// that are `invariant`: what depends on them alone is computed again in the unknown part, which
/// [simplification](mod@super::simplify) does before the loop, and is not a residual of each step.
pub(crate) fn split_body(
    func: &Func,
    invariant: &[bool],
    unknown: &[bool],
    instantiate: &[bool],
) -> Result<Split> {
    split_with(Save::Everything, invariant, func, unknown, instantiate)
}

/// As [`split`], and the residuals are only what is to be saved.
pub(crate) fn split_saving(
    save: Save,
    func: &Func,
    unknown: &[bool],
    instantiate: &[bool],
) -> Result<Split> {
    split_with(save, &[], func, unknown, instantiate)
}

/// Splits an operation that calls `function`. `known` and `unknown` make the operations that call
/// its two parts. A residual that is an argument is there already.
pub(crate) fn split_call(
    save: Save,
    function: &Func,
    unknown: &[bool],
    known_op: impl FnOnce(Func) -> Op,
    unknown_op: impl FnOnce(Func) -> Op,
) -> Result<SplitOp> {
    let results = vec![false; function.results().len()];
    let parts = split_saving(save, function, unknown, &results)?;
    let known_inputs: Vec<bool> = unknown.iter().map(|unknown| !unknown).collect();
    let known_outputs: Vec<bool> = parts.unknown_results.iter().map(|u| !u).collect();
    let first = count(&known_outputs);
    let given = positions(&known_inputs);
    let (mut kept, mut residuals, mut unknown_inputs) =
        ((0..first).collect::<Vec<_>>(), Vec::new(), Vec::new());
    for (j, param) in parts.residual_params().into_iter().enumerate() {
        match param {
            Some(i) => unknown_inputs.push(From::Input(given[i])),
            None => {
                unknown_inputs.push(From::Residual(residuals.len()));
                residuals.push(parts.known.aval(parts.known.results()[first + j]).clone());
                kept.push(first + j);
            }
        }
    }
    unknown_inputs.extend(positions(unknown).into_iter().map(From::Input));
    Ok(SplitOp {
        known: known_op(parts.known.with_results(&kept)),
        known_inputs,
        known_outputs,
        residuals,
        unknown: unknown_op(parts.unknown),
        unknown_inputs,
        unknown_outputs: parts.unknown_results,
    })
}

fn split_with(
    save: Save,
    invariant: &[bool],
    func: &Func,
    unknown: &[bool],
    instantiate: &[bool],
) -> Result<Split> {
    let mut splitter = Splitter {
        func,
        save,
        invariant: vec![false; func.value_count()],
        again: Env::new(func),
        known: FuncBuilder::new(),
        unknown: FuncBuilder::new(),
        in_known: Env::new(func),
        in_unknown: Env::new(func),
        residuals: Vec::new(),
    };
    let (mut known_params, mut unknown_params) = (Vec::new(), Vec::new());
    let params = func.params().zip(invariant);
    params.for_each(|((value, _), &same)| splitter.invariant[value.index()] = same);
    for ((value, name), &is_unknown) in func.params().zip(unknown) {
        let (part, env, params) = match is_unknown {
            true => (&mut splitter.unknown, &mut splitter.in_unknown, &mut unknown_params),
            false => (&mut splitter.known, &mut splitter.in_known, &mut known_params),
        };
        let param = part.named_param(func.aval(value), name);
        env.set(value, param.value);
        params.push(param);
    }
    for (i, equation) in func.equations().iter().enumerate() {
        splitter.equation(i, equation)?;
    }
    let results = func.results().iter().zip(instantiate);
    let unknown_results: Vec<bool> =
        results.map(|(&v, &wanted)| wanted || splitter.in_known.find(v).is_none()).collect();
    let unknown: Vec<Value> = flagged(func.results(), &unknown_results)
        .into_iter()
        .map(|value| splitter.value_in_unknown(value))
        .collect();
    let is_known: Vec<bool> = unknown_results.iter().map(|u| !u).collect();
    let known = flagged(func.results(), &is_known);
    let known: Vec<Value> = known.iter().map(|&value| *splitter.in_known.get(value)).collect();

    let residuals = splitter.residuals;
    let known = known.into_iter().chain(residuals.iter().map(|r| r.known)).collect();
    let residual_params = residuals.iter().map(|r| Param { value: r.param, name: String::new() });
    let unknown_params = residual_params.chain(unknown_params).collect();
    Ok(Split {
        known: splitter.known.finish(func.name(), known_params, known),
        unknown: splitter.unknown.finish(func.name(), unknown_params, unknown),
        unknown_results,
        residuals: residuals.len(),
    })
}

struct Splitter<'a> {
    func: &'a Func,
    save: Save,
    /// Which values depend on no parameter but constants of a loop.
    invariant: Vec<bool>,
    /// For the values that the unknown part computes again where it needs them, the position of the
    /// equation that defines them.
    again: Env<usize>,
    known: FuncBuilder,
    unknown: FuncBuilder,
    in_known: Env<Value>,
    in_unknown: Env<Value>,
    residuals: Vec<Residual>,
}

struct Residual {
    /// The value of the known part.
    known: Value,
    /// The parameter of the unknown part.
    param: Value,
}

impl Splitter<'_> {
    fn equation(&mut self, i: usize, equation: &Equation) -> Result<()> {
        let unknown: Vec<bool> =
            equation.inputs().iter().map(|&v| self.in_known.find(v).is_none()).collect();
        if !unknown.contains(&true) {
            let (op, avals) = (equation.op.clone(), self.func.avals(equation.outputs()));
            let outputs = self.emit_known(op, equation.inputs(), equation, avals);
            self.in_known.set_all(equation.outputs(), outputs);
            let invariant = equation.inputs().iter().all(|input| self.invariant[input.index()]);
            equation.outputs().iter().for_each(|o| self.invariant[o.index()] = invariant);
            if invariant || !self.save.keeps(equation) {
                self.again.set_all(equation.outputs(), vec![i; equation.outputs().len()]);
            }
            return Ok(());
        }
        match equation.op.rules().split(&unknown)? {
            Some(split) => self.emit_split(equation, split),
            None => self.emit_unknown(equation),
        }
        Ok(())
    }

    /// An operation of the known part, on known values, that stands for the equation.
    fn emit_known(
        &mut self,
        op: Op,
        inputs: &[Value],
        equation: &Equation,
        outputs: Vec<Aval>,
    ) -> Vec<Value> {
        let inputs = self.in_known.get_all(inputs);
        self.known.equation(op, inputs, outputs, equation.source().clone()).to_vec()
    }

    /// An operation of the known part, for the second time, in the unknown one.
    fn emit_again(
        &mut self,
        op: Op,
        inputs: &[Value],
        equation: &Equation,
        outputs: Vec<Aval>,
    ) -> Vec<Value> {
        let (op, inputs) = match op.silent(outputs.len()) {
            Some((op, taken)) => (op, flagged(inputs, &taken)),
            None => (op, inputs.to_vec()),
        };
        let inputs = inputs.iter().map(|&value| self.value_in_unknown(value)).collect();
        self.unknown.equation(op, inputs, outputs, equation.source().clone()).to_vec()
    }

    /// The whole equation, in the unknown part.
    fn emit_unknown(&mut self, equation: &Equation) {
        let inputs = equation.inputs().iter().map(|&v| self.value_in_unknown(v)).collect();
        let avals = self.func.avals(equation.outputs());
        let source = equation.source().clone();
        let outputs = self.unknown.equation(equation.op.clone(), inputs, avals, source);
        self.in_unknown.set_all(equation.outputs(), outputs.iter().copied());
    }

    fn emit_split(&mut self, equation: &Equation, split: SplitOp) {
        let known_outputs = flagged(equation.outputs(), &split.known_outputs);
        let mut avals = self.func.avals(&known_outputs);
        avals.extend(split.residuals.iter().cloned());
        let inputs = flagged(equation.inputs(), &split.known_inputs);
        let made = self.emit_known(split.known.clone(), &inputs, equation, avals.clone());
        let (outputs, residuals) = made.split_at(known_outputs.len());
        self.in_known.set_all(&known_outputs, outputs.iter().copied());
        let residuals: Vec<Value> = if self.save == Save::Everything {
            let residuals = residuals.iter().zip(split.residuals);
            residuals.map(|(&known, aval)| self.residual(known, aval)).collect()
        } else {
            let mut made = self.emit_again(split.known, &inputs, equation, avals);
            let residuals = made.split_off(known_outputs.len());
            self.in_unknown.set_all(&known_outputs, made);
            residuals
        };

        let inputs = split.unknown_inputs.iter().map(|from| match *from {
            From::Input(i) => self.value_in_unknown(equation.inputs()[i]),
            From::Output(i) => self.value_in_unknown(equation.outputs()[i]),
            From::Residual(i) => residuals[i],
        });
        let inputs = inputs.collect();
        let outputs = flagged(equation.outputs(), &split.unknown_outputs);
        let avals = self.func.avals(&outputs);
        let source = equation.source().clone();
        let made = self.unknown.equation(split.unknown, inputs, avals, source);
        self.in_unknown.set_all(&outputs, made.iter().copied());
    }

    /// The parameter of the unknown part for a value of the known one.
    fn residual(&mut self, known: Value, aval: Aval) -> Value {
        let param = self.unknown.param(aval);
        self.residuals.push(Residual { known, param });
        param
    }

    /// A value of the function, in the unknown part.
    fn value_in_unknown(&mut self, value: Value) -> Value {
        if let Some(&found) = self.in_unknown.find(value) {
            return found;
        }
        if self.again.find(value).is_some() {
            // In the order of the function, and without recursion: it may be long.
            for i in self.needed_again(value) {
                let equation = &self.func.equations()[i];
                let (op, avals) = (equation.op.clone(), self.func.avals(equation.outputs()));
                let outputs = self.emit_again(op, equation.inputs(), equation, avals);
                self.in_unknown.set_all(equation.outputs(), outputs);
            }
            return *self.in_unknown.get(value);
        }
        let param = self.residual(*self.in_known.get(value), self.func.aval(value).clone());
        self.in_unknown.set(value, param);
        param
    }

    /// The equations that must be computed again for this value, in order.
    fn needed_again(&self, value: Value) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            if self.in_unknown.find(value).is_none()
                && let Some(&i) = self.again.find(value)
                && needed.insert(i)
            {
                open.extend(self.func.equations()[i].inputs());
            }
        }
        needed
    }
}
