//! After the loop: what only the ys need, and sums of products that are carried and not looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::{Depends, bytes_of_matrix, params};
use crate::ir::{Equation, Func, Value};
use crate::ops::Op;
use crate::ops::constant::is_zero;
use crate::ops::dot::Dot;
use crate::ops::reduce::{Fold, Reduce};
use crate::ops::scan::ScanOp;
use crate::ops::scan::part::Part;
use crate::transform::cut::{Node, cheapest};
use crate::transform::simplify::Simplifier;

/// What it costs to stack a value beside its bytes, in bytes: it is one operation more in the loop.
const STACKING: usize = 128;

/// What happens after a loop.
pub(super) struct Plan {
    /// What is added at each step, by the place of the sum in the carry.
    sums: BTreeMap<usize, Value>,
    /// The values that are needed of all steps for the sums.
    needed: BTreeSet<Value>,
    /// The values that the loop stacks.
    stacked: BTreeSet<Value>,
    /// The bytes that it takes more than the loop did, for each step.
    pub bytes: usize,
}

/// What can be done after a loop.
pub(super) struct After<'a> {
    op: &'a ScanOp,
    depends: Vec<Depends>,
    made_by: Vec<Option<&'a Equation>>,
    /// How often each value is used.
    uses: Vec<usize>,
    /// Which values are products of two that differ from step to step, or linear in some.
    is_product: Vec<bool>,
}

/// What is needed of all steps for a sum.
#[derive(Default)]
struct Needs {
    values: BTreeSet<Value>,
    is_product: bool,
}

/// How a value is summed up over the steps.
enum Sum<'a> {
    /// It is zero at each step.
    Zero,
    /// By adding up its values.
    Itself,
    /// By a product of all the values of these.
    Product(&'a Dot, [Value; 2]),
    /// By what makes it, of the sums of its inputs.
    Linear(&'a Equation),
}

impl<'a> After<'a> {
    pub fn new(op: &ScanOp) -> After<'_> {
        let func = &op.body;
        let (depends, made_by) = (op.depends(), definitions(func));
        let is_product = vec![false; func.value_count()];
        let mut after = After { op, depends, made_by, uses: func.uses(), is_product };
        for equation in func.equations() {
            let is_product = match equation.op {
                Op::Dot(_) if after.varying(equation).count() == 2 => true,
                _ => {
                    let mut varying = after.varying(equation);
                    varying.any(|v| after.is_product[v.index()]) && after.is_linear(equation)
                }
            };
            equation.outputs().iter().for_each(|v| after.is_product[v.index()] = is_product);
        }
        after
    }

    /// What is worth doing, if something is.
    pub fn plan(&self) -> Option<Plan> {
        let ys: BTreeSet<Value> = self.op.body.results()[self.op.carry..].iter().copied().collect();
        let found = (0..self.op.carry).filter_map(|i| Some((i, self.summand(i)?)));
        let found: BTreeMap<usize, (Value, Needs)> =
            found.map(|(i, summand)| (i, (summand, self.needs(summand)))).collect();
        let stacked_for = |sums: &BTreeSet<usize>| {
            let needs = sums.iter().flat_map(|i| &found[i].1.values);
            let wanted: BTreeSet<Value> = ys.iter().chain(needs).copied().collect();
            self.stacked(&wanted, sums)
        };

        // Sums of products first: what is stacked for them may be all that the others need.
        let none = BTreeSet::new();
        let mut stacked = stacked_for(&none);
        let mut sums: BTreeSet<usize> =
            found.iter().filter(|(_, (_, needs))| needs.is_product).map(|(&i, _)| i).collect();
        let with_sums = stacked_for(&sums);
        let saved = sums.iter().map(|i| self.op.body.aval(found[i].0).saturating_bytes());
        let saved: usize = saved.fold(0, usize::saturating_add);
        if self.cost(&with_sums) <= self.cost(&stacked).saturating_add(saved) {
            stacked = with_sums;
        } else {
            sums = none;
        }
        // A loop that only adds up stays what it is.
        for &i in found.keys().filter(|_| !sums.is_empty()).collect::<Vec<_>>() {
            let mut more = sums.clone();
            if more.insert(i) {
                let with_sum = stacked_for(&more);
                if self.cost(&with_sum) <= self.cost(&stacked) {
                    (sums, stacked) = (more, with_sum);
                }
            }
        }

        let needed: BTreeSet<Value> =
            sums.iter().flat_map(|i| found[i].1.values.iter().copied()).collect();
        if sums.is_empty() && stacked == ys {
            return None;
        }
        let wanted: Vec<Value> = ys.iter().chain(&needed).copied().collect();
        // What is cheap is computed where it is used.
        let is_stored = |value: &&Value| {
            self.made_by[value.index()].is_none_or(|equation| !equation.op.rules().is_cheap())
        };
        let made = self.made_of(&wanted, &stacked);
        let stored: BTreeSet<&Value> =
            made.iter().filter(is_stored).chain(&stacked).chain(&needed).collect();
        let is_x = |value: Value| {
            let index = value.index();
            self.depends[index] == Depends::Step && self.made_by[index].is_none()
        };
        let further = stored.into_iter().filter(|&&value| !ys.contains(&value) && !is_x(value));
        let further = further.map(|&value| self.op.body.aval(value).saturating_bytes());
        let bytes = further.fold(0, usize::saturating_add);
        let sums = sums.into_iter().map(|i| (i, found[&i].0)).collect();
        Some(Plan { sums, needed, stacked, bytes })
    }

    /// The outputs of the scan, recorded in `at`, as planned.
    pub fn done(&self, plan: Plan, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        let (op, func) = (self.op, &self.op.body);
        let (constants, carry, xs) = params(op);
        let (carried, ys) = func.results().split_at(op.carry);
        let stays: Vec<usize> = (0..op.carry).filter(|i| !plan.sums.contains_key(i)).collect();
        let kept = |values: &[Value]| -> Vec<Value> { stays.iter().map(|&i| values[i]).collect() };
        let stacked: Vec<Value> = plan.stacked.iter().copied().collect();

        let results = [kept(carried), stacked.clone()].concat();
        let effects = func.equations().iter().filter(|equation| equation.op.rules().has_effect());
        let mut body = Part::of(func);
        body.take([constants.clone(), kept(&carry), xs.clone()].concat());
        body.copy_for(&results, effects);
        let body = body.finish(&results);
        let new_op = ScanOp { carry: stays.len(), body, ..*op };
        let (of_constants, init, of_xs) = op.split_inputs(inputs);
        let made = at.record(new_op, [of_constants, &kept(init), of_xs].concat());
        let (last, all_stacked) = made.split_at(stays.len());

        let wanted: BTreeSet<Value> = ys.iter().chain(&plan.needed).copied().collect();
        let wanted: Vec<Value> = wanted.into_iter().collect();
        let mut step = Part::of(func);
        step.take([constants, xs, stacked].concat());
        step.copy_for(&wanted, []);
        let step = step.finish(&wanted);
        let Some(all) = op.for_all_steps(&step, inputs, all_stacked, at) else {
            return at.record(op.clone(), inputs.to_vec());
        };
        let all: BTreeMap<Value, Value> = wanted.into_iter().zip(all).collect();

        let mut outputs: BTreeMap<usize, Value> =
            stays.into_iter().zip(last.iter().copied()).collect();
        for (i, summand) in plan.sums {
            let sum = self.sum(summand, &all, inputs, at);
            let addition = &self.made_by[carried[i].index()].expect("a sum was found").op;
            outputs.insert(i, at.record(addition.clone(), vec![init[i], sum])[0]);
        }
        outputs.into_values().chain(ys.iter().map(|y| all[y])).collect()
    }

    /// The cheapest values to stack so that those `wanted` of all steps can be computed, in a loop
    /// that does not carry `sums`.
    fn stacked(&self, wanted: &BTreeSet<Value>, sums: &BTreeSet<usize>) -> BTreeSet<Value> {
        let func = &self.op.body;
        let mut stays = vec![false; func.value_count()];
        let carried = func.results()[..self.op.carry].iter().enumerate();
        let carried = carried.filter(|(i, _)| !sums.contains(i)).map(|(_, &result)| result);
        carried.for_each(|result| stays[result.index()] = true);
        for equation in func.equations().iter().rev() {
            if equation.op.rules().has_effect()
                || equation.outputs().iter().any(|output| stays[output.index()])
            {
                equation.inputs().iter().for_each(|input| stays[input.index()] = true);
                equation.outputs().iter().for_each(|output| stays[output.index()] = true);
            }
        }
        // To stack what comes of a product means to make the product in the loop.
        let mut product = vec![0; func.value_count()];
        for equation in func.equations() {
            let inputs = equation.inputs().iter().map(|input| product[input.index()]);
            let own = bytes_of_matrix(func, equation, &self.depends).unwrap_or(0);
            let cost = inputs.max().unwrap_or(0).max(own);
            for output in equation.outputs().iter().filter(|output| !stays[output.index()]) {
                product[output.index()] = cost;
            }
        }
        let wanted: Vec<Value> = wanted.iter().copied().collect();
        cheapest(&wanted, |value| {
            let equation = self.made_by[value.index()];
            let cost = (self.cost_of(value).saturating_add(product[value.index()])) as u64;
            match (self.depends[value.index()], equation) {
                (Depends::Invariant, _) | (Depends::Step, None) => Node::Free,
                (_, Some(equation)) if self.can_move(equation, stays[value.index()]) => {
                    Node::Computed(cost, equation.inputs().to_vec())
                }
                _ => Node::Kept(cost),
            }
        })
    }

    /// The values of which all are computed after the loop, to get those `wanted` of those stacked.
    fn made_of(&self, wanted: &[Value], stacked: &BTreeSet<Value>) -> BTreeSet<Value> {
        let mut made = BTreeSet::new();
        let mut to_see = wanted.to_vec();
        while let Some(value) = to_see.pop() {
            if self.depends[value.index()] != Depends::Invariant
                && !stacked.contains(&value)
                && let Some(equation) = self.made_by[value.index()]
                && made.insert(value)
            {
                to_see.extend(equation.inputs());
            }
        }
        made
    }

    /// Whether the equation can be computed for all steps, although it may `stay` in the loop.
    fn can_move(&self, equation: &Equation, stays: bool) -> bool {
        let rules = equation.op.rules();
        !rules.has_effect() && equation.regions().is_empty() && (!stays || rules.is_cheap())
    }

    fn cost_of(&self, value: Value) -> usize {
        self.op.body.aval(value).saturating_bytes().saturating_add(STACKING)
    }

    fn cost(&self, values: &BTreeSet<Value>) -> usize {
        values.iter().map(|&value| self.cost_of(value)).fold(0, usize::saturating_add)
    }

    /// What is added to the carry `i` at each step, if that is all that is done with it.
    fn summand(&self, i: usize) -> Option<Value> {
        let func = &self.op.body;
        let (carried, _) = func.params().nth(self.op.constants + i)?;
        let result = func.results()[i];
        let equation = self.made_by[result.index()]?;
        let is_sum = equation.name() == "add" && func.aval(result).dtype.is_float();
        if !is_sum || self.uses[carried.index()] != 1 || self.uses[result.index()] != 1 {
            return None;
        }
        match equation.inputs() {
            [a, b] if *a == carried => Some(*b),
            [a, b] if *b == carried => Some(*a),
            _ => None,
        }
    }

    /// What is needed of all steps to sum up a value over them.
    fn needs(&self, value: Value) -> Needs {
        match self.sum_of(value) {
            Sum::Zero => Needs::default(),
            Sum::Itself => Needs { values: BTreeSet::from([value]), is_product: false },
            Sum::Product(_, operands) => Needs { values: operands.into(), is_product: true },
            Sum::Linear(equation) => {
                let mut needs = Needs::default();
                for input in self.varying(equation) {
                    let of_input = self.needs(input);
                    needs.values.extend(of_input.values);
                    needs.is_product |= of_input.is_product;
                }
                needs
            }
        }
    }

    /// How a value is summed up over the steps.
    fn sum_of(&self, value: Value) -> Sum<'a> {
        let Some(equation) = self.made_by[value.index()] else { return Sum::Itself };
        if self.depends[value.index()] == Depends::Invariant {
            return if self.is_zero(value) { Sum::Zero } else { Sum::Itself };
        }
        match (&equation.op, equation.inputs()) {
            (Op::Dot(dot), &[x, y]) if self.varying(equation).count() == 2 => {
                Sum::Product(dot, [x, y])
            }
            _ if self.is_product[value.index()] => Sum::Linear(equation),
            // What is not made larger is as well summed up before, each part of it.
            _ if self.is_linear(equation) && self.only_joins(equation) => Sum::Linear(equation),
            _ => Sum::Itself,
        }
    }

    /// Whether the equation has no more elements as inputs than as output, or one input only.
    fn only_joins(&self, equation: &Equation) -> bool {
        let size = |values: &[Value]| {
            let sizes = values.iter().map(|&value| self.op.body.aval(value).size());
            sizes.fold(0, usize::saturating_add)
        };
        equation.inputs().len() == 1 || size(equation.inputs()) <= size(equation.outputs())
    }

    /// Whether a sum of what the equation gives is the equation of a sum: it is linear in what
    /// differs from step to step.
    fn is_linear(&self, equation: &Equation) -> bool {
        let others = equation
            .inputs()
            .iter()
            .filter(|input| self.depends[input.index()] == Depends::Invariant);
        match equation.op {
            Op::Dot(_) => self.varying(equation).count() == 1,
            _ => equation.op.rules().is_linear() && others.copied().all(|v| self.is_zero(v)),
        }
    }

    /// The sum of a value over all steps, as planned. `all` has the values of all steps.
    fn sum(
        &self,
        value: Value,
        all: &BTreeMap<Value, Value>,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> Value {
        match self.sum_of(value) {
            Sum::Zero => self.outside(value, inputs, at),
            Sum::Itself => sum_over_steps(all[&value], at),
            Sum::Product(dot, operands) => product_over_steps(dot, operands.map(|v| all[&v]), at),
            Sum::Linear(equation) => {
                let summed =
                    equation.inputs().iter().map(|&input| match self.depends[input.index()] {
                        Depends::Invariant => self.outside(input, inputs, at),
                        _ => self.sum(input, all, inputs, at),
                    });
                let summed = summed.collect();
                at.again(&self.op.body, equation, summed)[0]
            }
        }
    }

    /// An invariant value, outside of the loop.
    fn outside(&self, value: Value, inputs: &[Value], at: &mut Simplifier) -> Value {
        let (constants, _, _) = params(self.op);
        let mut of_value = Part::of(&self.op.body);
        of_value.take(constants);
        of_value.copy_for(&[value], []);
        at.inline(&of_value.finish(&[value]), &inputs[..self.op.constants])[0]
    }

    fn varying(&self, equation: &Equation) -> impl Iterator<Item = Value> {
        let inputs = equation.inputs().iter().copied();
        inputs.filter(|input| self.depends[input.index()] != Depends::Invariant)
    }

    fn is_zero(&self, value: Value) -> bool {
        is_zero(value, &|value| self.made_by[value.index()])
    }
}

/// The equation that defines each value, by the index of the value.
fn definitions(func: &Func) -> Vec<Option<&Equation>> {
    let mut definitions = vec![None; func.value_count()];
    for equation in func.equations() {
        equation.outputs().iter().for_each(|output| definitions[output.index()] = Some(equation));
    }
    definitions
}

/// The sum over all steps. It is that of the rows of a matrix, which XLA:CPU computes at the speed
/// of memory; values with more axes it would take element by element.
fn sum_over_steps(values: Value, at: &mut Simplifier) -> Value {
    let (steps, shape) = at.aval(values).shape.split_at(1);
    let (shape, matrix) = (shape.to_vec(), [steps[0], shape.iter().product()]);
    let matrix = at.reshaped(values, &matrix);
    let sum = at.record(Reduce { kind: Fold::Sum, axes: vec![0] }, vec![matrix])[0];
    at.reshaped(sum, &shape)
}

/// The sum of products over all steps, of which `operands` have all operands.
fn product_over_steps(dot: &Dot, operands: [Value; 2], at: &mut Simplifier) -> Value {
    let mut dot = dot.over_first_axis();
    let mut operands = operands;
    // Steps and rows that are contracted together are one axis: XLA would copy the operands to
    // bring them there.
    let leading: Vec<usize> = (0..dot.lhs_contract.len()).collect();
    let are_leading = dot.lhs_contract == leading && dot.rhs_contract == leading;
    if leading.len() > 1 && are_leading && dot.lhs_batch.is_empty() {
        operands = operands.map(|operand| {
            let (rows, rest) = at.aval(operand).shape.split_at(leading.len());
            let shape = [&[rows.iter().product()], rest].concat();
            at.reshaped(operand, &shape)
        });
        (dot.lhs_contract, dot.rhs_contract) = (vec![0], vec![0]);
    }
    at.record(dot, operands.to_vec())[0]
}
