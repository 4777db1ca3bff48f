//! Bodies made of parts of other ones.

use std::collections::BTreeSet;

use crate::aval::Aval;
use crate::ir::{Equation, Func, FuncBuilder, Param, Value};
use crate::transform::Env;

/// A body that is made of parts of another one.
pub(super) struct Part<'a> {
    func: &'a Func,
    pub builder: FuncBuilder,
    pub env: Env<Value>,
    params: Vec<Param>,
}

impl<'a> Part<'a> {
    pub fn of(func: &'a Func) -> Part<'a> {
        Part { func, builder: FuncBuilder::new(), env: Env::new(func), params: Vec::new() }
    }

    /// Makes values of the body parameters: its own under their names.
    pub fn take(&mut self, values: impl IntoIterator<Item = Value>) {
        for value in values {
            let name = self.func.params().find(|(param, _)| *param == value);
            let name = name.map_or("", |(_, name)| name);
            let param = self.param(self.func.aval(value), name);
            self.env.set(value, param);
        }
    }

    /// A further parameter.
    pub fn param(&mut self, aval: &Aval, name: &str) -> Value {
        let param = self.builder.named_param(aval, name);
        let value = param.value;
        self.params.push(param);
        value
    }

    /// Copies an equation, unless its outputs are there.
    pub fn copy(&mut self, equation: &Equation) {
        if equation.outputs().iter().any(|&output| self.env.find(output).is_none())
            || equation.outputs().is_empty()
        {
            self.env.copy(self.func, equation, &mut self.builder);
        }
    }

    /// Copies these equations, and those that they and these values need and that are not there.
    pub fn copy_for<'b>(
        &mut self,
        values: &[Value],
        equations: impl IntoIterator<Item = &'b Equation>,
    ) {
        let mut wanted: BTreeSet<Value> = values.iter().copied().collect();
        let mut kept = Vec::new();
        for equation in equations {
            wanted.extend(equation.inputs());
            kept.push(std::ptr::from_ref(equation));
        }
        let mut needed = Vec::new();
        for equation in self.func.equations().iter().rev() {
            let is_wanted = |output| wanted.contains(output) && self.env.find(*output).is_none();
            if kept.contains(&std::ptr::from_ref(equation))
                || equation.outputs().iter().any(is_wanted)
            {
                wanted.extend(equation.inputs());
                needed.push(equation);
            }
        }
        needed.into_iter().rev().for_each(|equation| self.copy(equation));
    }

    pub fn finish(self, results: &[Value]) -> Func {
        let results = self.env.get_all(results);
        self.builder.finish(self.func.name(), self.params, results)
    }
}
