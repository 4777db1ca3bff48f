//! What is the same at every step of a loop: it is computed once, before the loop.
//!
//! A loop is a function, its body, together with what each parameter stands for. A parameter that
//! stands for one value of the function around is a constant of the loop. What depends on constants
//! alone is invariant; it moves out of the body, to which it comes back as a constant, if that is
//! [worth it](is_worth_moving).

use std::collections::HashMap;

use super::simplify::Simplifier;
use super::{Env, flagged};
use crate::ir::{Equation, Func, FuncBuilder, Param, Value};

/// What a parameter of the body of a loop stands for. The parameters come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Role {
    /// For this value of the function around, at every step.
    Constant(Value),
    /// For what the step before left.
    Carried,
    /// For one slice of this value at each step.
    Slice(Value),
}

impl Role {
    fn order(&self) -> u8 {
        match self {
            Role::Constant(_) => 0,
            Role::Carried => 1,
            Role::Slice(_) => 2,
        }
    }
}

/// A function that a loop applies at each step. If it is its body, its first results are carried to
/// the parameters that are.
pub(crate) struct Body {
    pub func: Func,
    pub roles: Vec<Role>,
}

impl Body {
    /// Which of the carried parameters are carried on as they are.
    fn passed(&self) -> Vec<bool> {
        let params = self.func.params().zip(&self.roles);
        let carried = params.filter(|(_, role)| **role == Role::Carried);
        carried.zip(self.func.results()).map(|(((param, _), _), result)| param == *result).collect()
    }

    /// The values that the constants stand for.
    pub fn constants(&self) -> Vec<Value> {
        let constant =
            |role: &Role| if let Role::Constant(value) = *role { Some(value) } else { None };
        self.roles.iter().filter_map(constant).collect()
    }

    /// The parameters that stand for slices, each with the value that is sliced.
    pub fn sliced(&self) -> impl Iterator<Item = (Value, Value)> {
        let params = self.func.params().zip(&self.roles);
        params.filter_map(|((param, _), role)| match *role {
            Role::Slice(value) => Some((param, value)),
            _ => None,
        })
    }

    /// The values that are sliced.
    pub fn slices(&self) -> Vec<Value> {
        self.sliced().map(|(_, value)| value).collect()
    }

    /// The function simplified, with one parameter for what is the same. A carried parameter for
    /// which there is a value is a constant that stands for it.
    pub fn merged(&self, passed: &[Option<Value>]) -> Body {
        let mut at = Simplifier::new();
        let mut values = passed.iter();
        let mut found = HashMap::new();
        let mut params: Vec<(Role, Param)> = Vec::new();
        let mut inputs = Vec::new();
        for ((value, name), role) in self.func.params().zip(&self.roles) {
            let role = match role {
                Role::Carried => values.next().copied().flatten().map_or(*role, Role::Constant),
                _ => *role,
            };
            if let Some(&same) = found.get(&role) {
                inputs.push(same);
                continue;
            }
            let param = at.param(self.func.aval(value), name);
            inputs.push(param.value);
            if role != Role::Carried {
                found.insert(role, param.value);
            }
            params.push((role, param));
        }
        let results = at.inline(&self.func, &inputs);
        params.sort_by_key(|(role, _)| role.order());
        let (roles, params) = params.into_iter().unzip();
        Body { func: at.finish(self.func.name(), params, results), roles }
    }

    /// The body of a loop that begins with `init`, merged: a carry that every step passes on is a
    /// constant and is not carried any more. Gives the value of each carry that is one, too.
    pub fn with_carry_settled(mut self, init: &[Value]) -> (Body, Vec<Option<Value>>) {
        let mut settled = vec![None; init.len()];
        loop {
            let carry: Vec<usize> = (0..init.len()).filter(|&i| settled[i].is_none()).collect();
            let passed: Vec<Option<Value>> =
                carry.iter().zip(self.passed()).map(|(&i, is)| is.then_some(init[i])).collect();
            let Body { func, roles } = self.merged(&passed);
            let is_passed = |i: &usize| passed.get(*i).is_some_and(Option::is_some);
            let results: Vec<usize> = (0..func.results().len()).filter(|i| !is_passed(i)).collect();
            self = Body { func: func.with_results(&results), roles };
            carry.into_iter().zip(passed).for_each(|(i, value)| settled[i] = value);
            if !self.passed().contains(&true) {
                return (self, settled);
            }
        }
    }

    /// The function without what is invariant and worth moving, which is recorded in `at`. Gives
    /// for each result that is invariant its value there; of these, the ones that may `leave` are
    /// no results any more. If the loop `may_not_run`, nothing moves that might not end.
    pub fn hoisted(
        self,
        may_not_run: bool,
        leave: &[bool],
        at: &mut Simplifier,
    ) -> (Body, Vec<Option<Value>>) {
        let func = &self.func;
        let mut outside = Env::new(func);
        for ((param, _), role) in func.params().zip(&self.roles) {
            if let Role::Constant(value) = role {
                outside.set(param, *value);
            }
        }
        let mut known_to_xla = vec![false; func.value_count()];
        let mut moved = vec![false; func.value_count()];
        for equation in func.equations() {
            let inputs = equation.inputs();
            if inputs.iter().any(|&input| outside.find(input).is_none())
                || (may_not_run && !equation.regions().is_empty())
                || equation.op.rules().has_effect()
            {
                continue;
            }
            let outputs = at.again(func, equation, outside.get_all(inputs));
            outside.set_all(equation.outputs(), outputs);
            let known = inputs.iter().all(|input| known_to_xla[input.index()]);
            let is_moved = is_worth_moving(func, equation, known);
            for output in equation.outputs() {
                known_to_xla[output.index()] = known && !is_moved;
                moved[output.index()] = is_moved;
            }
        }
        let results: Vec<Option<Value>> =
            func.results().iter().map(|&result| outside.find(result).copied()).collect();
        let stay = results.iter().zip(leave).map(|(result, leave)| !(result.is_some() && *leave));
        let stay: Vec<bool> = stay.collect();
        let is_whole = !moved.contains(&true) && !stay.contains(&false);
        (if is_whole { self } else { self.without(&moved, &outside, &stay) }, results)
    }

    /// The function whose values `moved` are constants that stand for their values outside, with
    /// only the results that `stay`.
    fn without(&self, moved: &[bool], outside: &Env<Value>, stay: &[bool]) -> Body {
        let func = &self.func;
        let mut builder = FuncBuilder::new();
        let mut env = Env::new(func);
        let mut params: Vec<(Role, Param)> = Vec::new();
        for ((value, name), &role) in func.params().zip(&self.roles) {
            let param = builder.named_param(func.aval(value), name);
            env.set(value, param.value);
            params.push((role, param));
        }
        let results = flagged(func.results(), stay);
        let is_moved = |equation: &&Equation| equation.outputs().iter().any(|o| moved[o.index()]);
        let staying: Vec<&Equation> = func.equations().iter().filter(|e| !is_moved(e)).collect();
        for &value in staying.iter().flat_map(|e| e.inputs()).chain(&results) {
            if moved[value.index()] && env.find(value).is_none() {
                let param = builder.named_param(func.aval(value), "");
                env.set(value, param.value);
                params.push((Role::Constant(*outside.get(value)), param));
            }
        }
        staying.into_iter().for_each(|equation| env.copy(func, equation, &mut builder));
        params.sort_by_key(|(role, _)| role.order());
        let (roles, params) = params.into_iter().unzip();
        Body { func: builder.finish(func.name(), params, env.get_all(&results)), roles }
    }
}

/// Whether an invariant equation is better made once, before the loop, than at each step. What only
/// moves elements is not, if these are known when XLA compiles (weights stay constants of the loop
/// that uses them), or if the result is larger than what it is made of (a scalar that is broadcast
/// costs nothing where it is used, and memory where it is kept).
fn is_worth_moving(func: &Func, equation: &Equation, inputs_are_known: bool) -> bool {
    let bytes = |values: &[Value]| -> usize {
        let bytes = values.iter().map(|&value| func.aval(value).saturating_bytes());
        bytes.fold(0, usize::saturating_add)
    };
    !equation.op.rules().only_moves()
        || !(inputs_are_known || bytes(equation.outputs()) > bytes(equation.inputs()))
}
