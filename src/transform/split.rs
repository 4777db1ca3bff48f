//! Partial evaluation: a function is split into what can be computed from the parameters that are
//! known, and what is left for when the others are known too.
//!
//! What the second part needs of the first are the *residuals*. What depends on no parameter at all
//! is in both parts where it is needed, so that constants are not residuals.

use super::{Env, flagged};
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

/// Splits `func` by which of its parameters are unknown. Results that `instantiate` names are
/// unknown in any case.
pub(crate) fn split(func: &Func, unknown: &[bool], instantiate: &[bool]) -> Result<Split> {
    let mut splitter = Splitter {
        func,
        definitions: definitions(func),
        known: FuncBuilder::new(),
        unknown: FuncBuilder::new(),
        in_known: Env::new(func),
        in_unknown: Env::new(func),
        residuals: Vec::new(),
    };
    let (mut known_params, mut unknown_params) = (Vec::new(), Vec::new());
    for ((value, name), &is_unknown) in func.params().zip(unknown) {
        let aval = func.aval(value).clone();
        let name = name.to_owned();
        if is_unknown {
            let param = splitter.unknown.param(aval);
            splitter.in_unknown.set(value, param);
            unknown_params.push(Param { value: param, name });
        } else {
            let param = splitter.known.param(aval);
            splitter.in_known.set(value, param);
            known_params.push(Param { value: param, name });
        }
    }
    for equation in func.equations() {
        splitter.equation(equation)?;
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

/// For each value that depends on no parameter, the position of the equation that defines it.
fn definitions(func: &Func) -> Env<usize> {
    let mut definitions = Env::new(func);
    for (i, equation) in func.equations().iter().enumerate() {
        if equation.inputs().iter().all(|&input| definitions.find(input).is_some()) {
            definitions.set_all(equation.outputs(), vec![i; equation.outputs().len()]);
        }
    }
    definitions
}

struct Splitter<'a> {
    func: &'a Func,
    /// The equations of values that depend on no parameter.
    definitions: Env<usize>,
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
    fn equation(&mut self, equation: &Equation) -> Result<()> {
        let unknown: Vec<bool> =
            equation.inputs().iter().map(|&v| self.in_known.find(v).is_none()).collect();
        if !unknown.contains(&true) {
            let op = equation.op.clone();
            let outputs = self.emit_known(op, equation.inputs(), equation, self.avals(equation));
            self.in_known.set_all(equation.outputs(), outputs);
            return Ok(());
        }
        match equation.op.rules().split(&unknown)? {
            Some(split) => self.emit_split(equation, split),
            None => self.emit_unknown(equation),
        }
        Ok(())
    }

    fn avals(&self, equation: &Equation) -> Vec<Aval> {
        equation.outputs().iter().map(|&value| self.func.aval(value).clone()).collect()
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
        self.known.equation(op, inputs, outputs, equation.source().clone())
    }

    /// The whole equation, in the unknown part.
    fn emit_unknown(&mut self, equation: &Equation) {
        let inputs = equation.inputs().iter().map(|&v| self.value_in_unknown(v)).collect();
        let avals = self.avals(equation);
        let source = equation.source().clone();
        let outputs = self.unknown.equation(equation.op.clone(), inputs, avals, source);
        self.in_unknown.set_all(equation.outputs(), outputs);
    }

    fn emit_split(&mut self, equation: &Equation, split: SplitOp) {
        let known_outputs = flagged(equation.outputs(), &split.known_outputs);
        let mut avals: Vec<Aval> =
            known_outputs.iter().map(|&value| self.func.aval(value).clone()).collect();
        avals.extend(split.residuals.iter().cloned());
        let inputs = flagged(equation.inputs(), &split.known_inputs);
        let made = self.emit_known(split.known, &inputs, equation, avals);
        let (outputs, residuals) = made.split_at(known_outputs.len());
        self.in_known.set_all(&known_outputs, outputs.iter().copied());
        let residuals = residuals.iter().zip(split.residuals);
        let residuals: Vec<Value> =
            residuals.map(|(&known, aval)| self.residual(known, aval)).collect();

        let inputs = split.unknown_inputs.iter().map(|from| match *from {
            From::Input(i) => self.value_in_unknown(equation.inputs()[i]),
            From::Output(i) => self.value_in_unknown(equation.outputs()[i]),
            From::Residual(i) => residuals[i],
        });
        let inputs = inputs.collect();
        let outputs = flagged(equation.outputs(), &split.unknown_outputs);
        let avals = outputs.iter().map(|&value| self.func.aval(value).clone()).collect();
        let source = equation.source().clone();
        let made = self.unknown.equation(split.unknown, inputs, avals, source);
        self.in_unknown.set_all(&outputs, made);
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
        if let Some(&definition) = self.definitions.find(value) {
            self.emit_unknown(&self.func.equations()[definition]);
            return *self.in_unknown.get(value);
        }
        let param = self.residual(*self.in_known.get(value), self.func.aval(value).clone());
        self.in_unknown.set(value, param);
        param
    }
}
