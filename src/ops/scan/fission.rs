//! Fission: work that a scan does at each step, and that can be done for all steps at once, leaves the
//! loop. Products of a vector and a matrix become one product of matrices, which reads the matrix once
//! and not at each step.
//!
//! - *Before* the loop: products of what depends on the `xs` and not on the carry, and what is
//!   computed of them alone. They come in as further `xs`.
//! - *After* the loop: sums over the steps of products that are carried and not looked at (the gradients
//!   of weights) become a product over time of what was multiplied, which the loop stacks; so do
//!   products that are only a `y`.
//!
//! Sums are associated in another way, and nothing else is computed otherwise. What is stacked may not
//! take more memory than what was carried or stacked for it.

use std::collections::{BTreeMap, BTreeSet};

use super::ScanOp;
use crate::aval::Aval;
use crate::ir::{Equation, Func, FuncBuilder, Param, Value};
use crate::ops::Op;
use crate::ops::reduce::{Fold, Reduce};
use crate::transform::Env;
use crate::transform::batch::batch;
use crate::transform::simplify::Simplifier;

/// Products with at most so many rows at each step leave the loop: they are bound by reading the other
/// matrix.
const FEW_ROWS: usize = 8;

/// What a value of the body depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Depends {
    /// On constants alone.
    Invariant,
    /// On the slices of the xs.
    Step,
    /// On the carry too, or it has an effect and must stay where it is.
    Carry,
}

impl ScanOp {
    /// The outputs of the scan, recorded in `at`, with as much as is worth it outside of the loop.
    pub fn fissioned(&self, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        if self.length < 2 {
            return at.record(self.clone(), inputs.to_vec());
        }
        let (op, inputs) = self.without_products_of_xs(inputs, at);
        op.without_sums(&inputs, at)
    }

    fn depends(&self) -> Vec<Depends> {
        let func = &self.body;
        let mut depends = vec![Depends::Invariant; func.value_count()];
        for (i, (param, _)) in func.params().enumerate() {
            depends[param.index()] = match i {
                _ if i < self.constants => Depends::Invariant,
                _ if i < self.constants + self.carry => Depends::Carry,
                _ => Depends::Step,
            };
        }
        for equation in func.equations() {
            let inputs = equation.inputs().iter().map(|input| depends[input.index()]);
            let mut level = inputs.max().unwrap_or(Depends::Invariant);
            if equation.op.rules().has_effect() {
                level = Depends::Carry;
            }
            equation.outputs().iter().for_each(|output| depends[output.index()] = level);
        }
        depends
    }

    /// The scan, and its inputs, with the products of what comes of the xs computed before.
    fn without_products_of_xs(
        &self,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> (ScanOp, Vec<Value>) {
        let func = &self.body;
        let depends = self.depends();
        let stays = (self.clone(), inputs.to_vec());
        let mut moved = vec![false; func.value_count()];
        for equation in func.equations() {
            let first = equation.outputs().first();
            let level = first.map_or(Depends::Carry, |output| depends[output.index()]);
            let of_moved = equation.inputs().iter().any(|input| moved[input.index()]);
            if level == Depends::Step && (of_moved || is_thin_product(func, equation, &depends)) {
                equation.outputs().iter().for_each(|output| moved[output.index()] = true);
            }
        }
        let is_moved = |equation: &Equation| equation.outputs().iter().any(|o| moved[o.index()]);
        let staying = func.equations().iter().filter(|equation| !is_moved(equation));
        let used = staying.flat_map(|equation| equation.inputs()).chain(func.results());
        let handed: BTreeSet<Value> = used.copied().filter(|v| moved[v.index()]).collect();
        if handed.is_empty() {
            return stays;
        }

        // The function of one step that is computed before. What is not needed for it is pruned later.
        let handed: Vec<Value> = handed.into_iter().collect();
        let mut builder = FuncBuilder::new();
        let mut env = Env::new(func);
        let mut params = Vec::new();
        for (i, (value, name)) in func.params().enumerate() {
            if i < self.constants || i >= self.constants + self.carry {
                let param = builder.param(func.aval(value).clone());
                env.set(value, param);
                params.push(Param { value: param, name: name.to_owned() });
            }
        }
        for equation in func.equations() {
            let known = equation.outputs().iter().all(|o| depends[o.index()] != Depends::Carry);
            if known && !equation.outputs().is_empty() {
                copy(func, equation, &mut env, &mut builder);
            }
        }
        let before = builder.finish("before", params, env.get_all(&handed));
        let (constants, rest) = inputs.split_at(self.constants);
        let xs = &rest[self.carry..];
        let is_x = [vec![false; constants.len()], vec![true; xs.len()]].concat();
        let Ok(all) = batch(&before, self.length, &is_x, &vec![true; handed.len()]) else {
            return stays;
        };
        let made = at.inline(&all.func, &[constants, xs].concat());

        let mut builder = FuncBuilder::new();
        let mut env = Env::new(func);
        let mut params = Vec::new();
        for (value, name) in func.params() {
            let param = builder.param(func.aval(value).clone());
            env.set(value, param);
            params.push(Param { value: param, name: name.to_owned() });
        }
        for &value in &handed {
            let param = builder.param(func.aval(value).clone());
            env.set(value, param);
            params.push(Param { value: param, name: String::new() });
        }
        for equation in func.equations().iter().filter(|equation| !is_moved(equation)) {
            copy(func, equation, &mut env, &mut builder);
        }
        let body = builder.finish(func.name(), params, env.get_all(func.results()));
        (ScanOp { body, ..*self }, [inputs, &made].concat())
    }

    /// The outputs of the scan, with the products that are only summed or stacked computed after it.
    fn without_sums(&self, inputs: &[Value], at: &mut Simplifier) -> Vec<Value> {
        let func = &self.body;
        let mut after = After::new(self);
        let sums: BTreeMap<usize, Value> =
            (0..self.carry).filter_map(|i| Some((i, after.summand(i)?))).collect();
        // Sums of products first: what is stacked for them may be all that others need.
        let mut worth: Vec<usize> = Vec::new();
        let mut saved = 0_usize;
        for of_products in [true, false] {
            for (&i, &summand) in &sums {
                let mut tried = after.stacked.clone();
                let planned = after.plan(summand, &mut tried);
                let is_free = tried.len() == after.stacked.len();
                if !worth.contains(&i)
                    && planned.is_some_and(|has| has == of_products && (has || is_free))
                {
                    after.stacked = tried;
                    saved = saved.saturating_add(bytes(func.aval(summand)));
                    worth.push(i);
                }
            }
        }
        worth.sort_unstable();
        let cost: usize = after.stacked.iter().map(|&value| after.bytes_to_stack(value)).sum();
        if worth.is_empty() || cost > saved {
            return at.record(self.clone(), inputs.to_vec());
        }

        // The loop without these sums, which stacks what they are made of.
        let stays: Vec<usize> = (0..self.carry).filter(|i| !worth.contains(i)).collect();
        let new_ys: Vec<Value> =
            after.stacked.iter().copied().filter(|&v| after.place(v).is_none()).collect();
        let params: Vec<(Value, String)> =
            func.params().map(|(value, name)| (value, name.to_owned())).collect();
        let mut builder = FuncBuilder::new();
        let mut env = Env::new(func);
        let mut new_params = Vec::new();
        for (i, (value, name)) in params.into_iter().enumerate() {
            let is_gone = i.checked_sub(self.constants).is_some_and(|i| worth.contains(&i));
            if !is_gone {
                let param = builder.param(func.aval(value).clone());
                env.set(value, param);
                new_params.push(Param { value: param, name });
            }
        }
        let gone: BTreeSet<Value> = worth.iter().map(|&i| func.results()[i]).collect();
        for equation in func.equations() {
            if !equation.outputs().iter().any(|output| gone.contains(output)) {
                copy(func, equation, &mut env, &mut builder);
            }
        }
        let results: Vec<Value> = stays
            .iter()
            .map(|&i| func.results()[i])
            .chain(func.results()[self.carry..].iter().copied())
            .chain(new_ys.iter().copied())
            .collect();
        let body = builder.finish(func.name(), new_params, env.get_all(&results));
        let op = ScanOp { carry: stays.len(), body, ..*self };
        let taken = inputs.iter().enumerate();
        let taken = taken
            .filter(|(i, _)| !i.checked_sub(self.constants).is_some_and(|i| worth.contains(&i)));
        let taken: Vec<Value> = taken.map(|(_, &value)| value).collect();
        let made = at.record(op, taken);

        // All values of each that was stacked.
        let (carries, ys) = made.split_at(stays.len());
        let (own_ys, extra) = ys.split_at(func.results().len() - self.carry);
        let mut all: BTreeMap<Value, Value> =
            new_ys.into_iter().zip(extra.iter().copied()).collect();
        for &value in &after.stacked {
            match after.place(value) {
                Some(Place::Input(i)) => _ = all.insert(value, inputs[i]),
                Some(Place::Y(j)) => _ = all.insert(value, own_ys[j]),
                None => {}
            }
        }
        let mut outputs = vec![None; func.results().len()];
        stays.iter().zip(carries).for_each(|(&i, &value)| outputs[i] = Some(value));
        own_ys.iter().enumerate().for_each(|(j, &y)| outputs[self.carry + j] = Some(y));
        for i in worth {
            let sum = after.sum(sums[&i], &all, inputs, at);
            let total = after.addition(i).clone();
            outputs[i] = Some(at.record(total, vec![inputs[self.constants + i], sum])[0]);
        }
        outputs.into_iter().map(|output| output.expect("there is a value for each")).collect()
    }
}

/// Where all the values of a value of the body are, outside of the loop.
#[derive(Clone, Copy)]
enum Place {
    Input(usize),
    Y(usize),
}

/// What can be done after a loop.
struct After<'a> {
    op: &'a ScanOp,
    depends: Vec<Depends>,
    /// The equation that defines each value.
    made_by: Vec<Option<usize>>,
    /// How often each value is used.
    uses: Vec<usize>,
    /// The values of which all are needed.
    stacked: BTreeSet<Value>,
}

impl After<'_> {
    fn new(op: &ScanOp) -> After<'_> {
        let func = &op.body;
        let mut made_by = vec![None; func.value_count()];
        let mut uses = vec![0; func.value_count()];
        for (i, equation) in func.equations().iter().enumerate() {
            equation.outputs().iter().for_each(|output| made_by[output.index()] = Some(i));
            equation.inputs().iter().for_each(|input| uses[input.index()] += 1);
        }
        func.results().iter().for_each(|result| uses[result.index()] += 1);
        After { op, depends: op.depends(), made_by, uses, stacked: BTreeSet::new() }
    }

    fn equation(&self, value: Value) -> Option<&Equation> {
        self.made_by[value.index()].map(|i| &self.op.body.equations()[i])
    }

    /// The addition to the carry `i`.
    fn addition(&self, i: usize) -> &Op {
        let result = self.op.body.results()[i];
        &self.equation(result).expect("it is the sum that was found").op
    }

    /// What is added to the carry `i` at each step, if that is all that is done with it.
    fn summand(&self, i: usize) -> Option<Value> {
        let func = &self.op.body;
        let (carried, _) = func.params().nth(self.op.constants + i)?;
        let result = func.results()[i];
        let equation = self.equation(result)?;
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

    /// Adds to `stacked` what is needed to sum a value up over all steps. Gives whether a product is
    /// among it; none if it cannot be done.
    fn plan(&self, value: Value, stacked: &mut BTreeSet<Value>) -> Option<bool> {
        if self.depends[value.index()] == Depends::Invariant {
            return self.is_zero(value).then_some(false);
        }
        if stacked.contains(&value) {
            return Some(false);
        }
        let Some(equation) = self.equation(value) else {
            stacked.insert(value);
            return Some(false);
        };
        if let Op::Dot(_) = equation.op {
            let varying: Vec<Value> = self.varying(equation).collect();
            if let [one] = varying[..] {
                return self.plan(one, stacked);
            }
            stacked.extend(varying);
            return Some(true);
        }
        if equation.op.rules().is_linear() {
            let mut has_product = false;
            for &input in equation.inputs() {
                has_product |= self.plan(input, stacked)?;
            }
            return Some(has_product);
        }
        stacked.insert(value);
        Some(false)
    }

    /// The sum of a value over all steps, as planned.
    fn sum(
        &self,
        value: Value,
        all: &BTreeMap<Value, Value>,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> Value {
        let func = &self.op.body;
        let planned = self.equation(value).filter(|_| !all.contains_key(&value));
        let Some(equation) = planned else {
            let reduce = Reduce { kind: Fold::Sum, axes: vec![0] };
            return at.record(reduce, vec![all[&value]])[0];
        };
        if let Op::Dot(dot) = &equation.op
            && self.varying(equation).count() == 2
        {
            let operands = equation.inputs().iter().map(|input| all[input]).collect();
            return at.record(dot.over_first_axis(), operands)[0];
        }
        let mut summed = Vec::new();
        for &input in equation.inputs() {
            summed.push(match self.depends[input.index()] {
                Depends::Invariant => self.outside(input, inputs, at),
                _ => self.sum(input, all, inputs, at),
            });
        }
        at.again(func, equation, summed)[0]
    }

    /// An invariant value, outside of the loop.
    fn outside(&self, value: Value, inputs: &[Value], at: &mut Simplifier) -> Value {
        let func = &self.op.body;
        match self.equation(value) {
            None => {
                let place = func.params().position(|(param, _)| param == value);
                inputs[place.expect("what no equation makes is a parameter")]
            }
            Some(equation) => {
                let made = equation.inputs().iter().map(|&v| self.outside(v, inputs, at)).collect();
                let outputs = at.again(func, equation, made);
                let position = equation.outputs().iter().position(|&output| output == value);
                outputs[position.expect("the equation makes it")]
            }
        }
    }

    fn varying(&self, equation: &Equation) -> impl Iterator<Item = Value> {
        let inputs = equation.inputs().iter().copied();
        inputs.filter(|input| self.depends[input.index()] != Depends::Invariant)
    }

    /// Whether a value is a constant of zeros, or such a one repeated.
    fn is_zero(&self, value: Value) -> bool {
        match self.equation(value).map(|equation| (&equation.op, equation.inputs())) {
            Some((Op::Constant(constant), _)) => constant.value.bytes.iter().all(|&byte| byte == 0),
            Some((Op::Broadcast(_), &[inner])) => self.is_zero(inner),
            _ => false,
        }
    }

    /// Where all the values of this one are, if they are somewhere.
    fn place(&self, value: Value) -> Option<Place> {
        let func = &self.op.body;
        let first_x = self.op.constants + self.op.carry;
        let mut xs = func.params().enumerate().skip(first_x);
        if let Some((i, _)) = xs.find(|(_, (param, _))| *param == value) {
            return Some(Place::Input(i));
        }
        let ys = &func.results()[self.op.carry..];
        ys.iter().position(|&y| y == value).map(Place::Y)
    }

    fn bytes_to_stack(&self, value: Value) -> usize {
        match self.place(value) {
            Some(_) => 0,
            None => bytes(self.op.body.aval(value)),
        }
    }
}

/// Whether the equation is a product of something with a few rows and something invariant.
fn is_thin_product(func: &Func, equation: &Equation, depends: &[Depends]) -> bool {
    let (Op::Dot(dot), &[x, y]) = (&equation.op, equation.inputs()) else { return false };
    let rows = |side: usize| dot.rows(func.aval([x, y][side]), side);
    match [depends[x.index()], depends[y.index()]] {
        [Depends::Step, Depends::Invariant] => rows(0) <= FEW_ROWS,
        [Depends::Invariant, Depends::Step] => rows(1) <= FEW_ROWS,
        _ => false,
    }
}

/// Copies an equation of `func`.
fn copy(func: &Func, equation: &Equation, env: &mut Env<Value>, builder: &mut FuncBuilder) {
    let inputs = env.get_all(equation.inputs());
    let avals = equation.outputs().iter().map(|&value| func.aval(value).clone()).collect();
    let made = builder.equation(equation.op.clone(), inputs, avals, equation.source().clone());
    env.set_all(equation.outputs(), made);
}

fn bytes(aval: &Aval) -> usize {
    aval.byte_size().unwrap_or(usize::MAX)
}
