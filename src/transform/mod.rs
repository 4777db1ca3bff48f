//! Transformations: functions of the IR become other functions of the IR.
//!
//! | | |
//! |---|---|
//! | [`mod@jvp`] | forward mode: values and their tangents |
//! | [`mod@split`] | partial evaluation: what is known before, what is only known then |
//! | [`mod@transpose`] | a linear function becomes its transpose |
//! | [`mod@batch`] | one value becomes many, along a new axis |
//! | [`mod@prune`] | what nobody uses goes |
//! | [`mod@simplify`], [`mod@invariant`] | the same with less to do, before it is lowered |
//! | [`mod@cut`] | what to keep so that the rest can be computed again |
//! | [`mod@varying`] | what differs between devices that run a function together |
//!
//! Reverse mode is jvp, then split by "depends on a tangent", then transpose of the second part.
//! All of them walk over equations and ask the operation of each for its rule; none tells
//! operations apart. The rules compute with [`Tensor`]s in an open trace, so that they read as
//! formulas do, and what they record says that it comes from where the equation came from.

pub(crate) mod batch;
pub(crate) mod cut;
pub(crate) mod invariant;
pub(crate) mod jvp;
pub(crate) mod prune;
pub(crate) mod simplify;
pub(crate) mod split;
pub(crate) mod transpose;
pub(crate) mod varying;

use crate::aval::Aval;
use crate::error::{Error, Result};
use crate::ir::{Equation, Func, FuncBuilder, Value};
use crate::tensor::Tensor;
use crate::trace::{self, Captures, Kind, scope};

/// What stands for each value of a function while its equations are walked over.
pub(crate) struct Env<T>(Vec<Option<T>>);

impl<T: Clone> Env<T> {
    pub fn new(func: &Func) -> Env<T> {
        Env(vec![None; func.value_count()])
    }

    /// With what stands for the parameters, in order.
    pub fn with_params(func: &Func, params: impl IntoIterator<Item = T>) -> Env<T> {
        let mut env = Env::new(func);
        for ((value, _), param) in func.params().zip(params) {
            env.set(value, param);
        }
        env
    }

    pub fn set(&mut self, value: Value, meaning: T) {
        self.0[value.index()] = Some(meaning);
    }

    pub fn set_all(&mut self, values: &[Value], meanings: impl IntoIterator<Item = T>) {
        for (&value, meaning) in values.iter().zip(meanings) {
            self.set(value, meaning);
        }
    }

    pub fn get(&self, value: Value) -> &T {
        self.0[value.index()].as_ref().expect("a function that was checked defines before it uses")
    }

    pub fn find(&self, value: Value) -> Option<&T> {
        self.0[value.index()].as_ref()
    }

    pub fn take(&mut self, value: Value) -> Option<T> {
        self.0[value.index()].take()
    }

    pub fn get_all(&self, values: &[Value]) -> Vec<T> {
        values.iter().map(|&value| self.get(value).clone()).collect()
    }
}

impl Env<Value> {
    /// Copies an equation, whose outputs have the types that they have in `func`, to what is built.
    pub fn copy(&mut self, func: &Func, equation: &Equation, builder: &mut FuncBuilder) {
        let inputs = self.get_all(equation.inputs());
        let avals = equation.outputs().iter().map(|&output| func.aval(output).clone());
        let source = equation.source().clone();
        let outputs = builder.equation(equation.op.clone(), inputs, avals, source);
        self.set_all(equation.outputs(), outputs.iter().copied());
    }
}

/// The function of parameters of these types that `f` records.
pub(crate) fn build(
    name: &str,
    params: Vec<Aval>,
    f: impl FnOnce(Vec<Tensor>) -> Result<Vec<Tensor>>,
) -> Result<Func> {
    let params = params.into_iter().map(|aval| (aval, String::new())).collect();
    let mut failed = None;
    let (place, kind) = (std::panic::Location::caller(), Kind::Function);
    let outcome = trace::trace(name, place, kind, Captures::Constants, params, |tensors| {
        f(tensors).unwrap_or_else(|error| {
            failed = Some(error);
            Vec::new()
        })
    });
    let traced = outcome.into_traced();
    match failed {
        Some(error) => Err(error),
        None => Ok(traced?.func),
    }
}

/// What a rule makes of an equation: what it records, and what is wrong, comes from where the
/// equation does.
pub(crate) fn in_place_of<R>(equation: &Equation, rule: impl FnOnce() -> Result<R>) -> Result<R> {
    scope::on_behalf_of(equation.source(), rule).map_err(|error| at_equation(error, equation))
}

/// The error with the place of the equation, if it has none of its own.
pub(crate) fn at_equation(error: Error, equation: &Equation) -> Error {
    match equation.source().location {
        Some(location) => error.at(location),
        None => error,
    }
}

/// Records the equation again, applied to other tensors.
pub(crate) fn replay(equation: &Equation, inputs: &[Tensor]) -> Vec<Tensor> {
    scope::on_behalf_of(equation.source(), || {
        trace::record(equation.op.clone(), inputs, equation.outputs().len())
    })
}

/// Records what the function does, applied to these tensors, in the open trace.
pub(crate) fn inline(func: &Func, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut env = Env::with_params(func, inputs.iter().cloned());
    for equation in func.equations() {
        let outputs = replay(equation, &env.get_all(equation.inputs()));
        env.set_all(equation.outputs(), outputs);
    }
    env.get_all(func.results())
}

/// The items at which the flag is set.
pub(crate) fn flagged<T: Clone>(items: &[T], flags: &[bool]) -> Vec<T> {
    items.iter().zip(flags).filter(|(_, flag)| **flag).map(|(item, _)| item.clone()).collect()
}

/// The positions at which the flag is set.
pub(crate) fn positions(flags: &[bool]) -> Vec<usize> {
    (0..flags.len()).filter(|&i| flags[i]).collect()
}

/// Makes something of flags that say what holds of the values a loop carries, until it holds of
/// them before and after a step alike: `make` gives what it made and the flags after a step, among
/// which are those before.
pub(crate) fn fixpoint<T>(
    start: Vec<bool>,
    mut make: impl FnMut(&[bool]) -> Result<(T, Vec<bool>)>,
) -> Result<(T, Vec<bool>)> {
    let mut flags = start;
    loop {
        let (made, after) = make(&flags)?;
        if after == flags {
            return Ok((made, flags));
        }
        flags = after;
    }
}

/// Sets the flags that are set in `others`.
pub(crate) fn join(flags: &mut [bool], others: &[bool]) {
    flags.iter_mut().zip(others).for_each(|(flag, other)| *flag |= other);
}

/// How many flags are set.
pub(crate) fn count(flags: &[bool]) -> usize {
    flags.iter().filter(|flag| **flag).count()
}
