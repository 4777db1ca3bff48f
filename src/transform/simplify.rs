//! Simplification: the same function with less to do. It is made where a function is lowered, when
//! nothing will ask for its derivatives any more.
//!
//! - What is computed twice is computed once: equal operations on equal inputs are one.
//! - Calls, and what only derivatives tell from a call, become what they do.
//! - What nobody uses goes, as [`prune`] has it.
//! - Operations that own functions say by [their rule](crate::ops::Operation::simplify) what else
//!   there is: loops have less to do at each step, for which see [`mod@super::invariant`].
//!
//! No number comes out otherwise: nothing is re-associated, and no operation is replaced by another
//! one. Every step makes a loop or a function smaller, or moves an equation out of a loop, so that
//! there is an end; a round takes time in proportion to the function.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Env;
use super::prune::{Effects, prune};
use crate::aval::Aval;
use crate::ir::{Equation, Func, FuncBuilder, Param, Source, Value};
use crate::ops::Op;
use crate::ops::broadcast::Reshape;

impl Func {
    /// A function that was [simplified](Func::simplified), with what its loops need not do at each
    /// step done for all steps at once; see [`Fission`](crate::Fission). Sums may be associated in
    /// another way, and nothing else is computed otherwise.
    pub fn fissioned(&self) -> Func {
        rewritten(self, Pass::Fission, None).simplified()
    }

    /// A function that was [fissioned](Func::fissioned), as it is compiled for CPUs: products in
    /// loops with `f32` matrices that are the same at every step are made by a kernel of this
    /// library where that was measured to be faster. It is the operation `panel_dot`, and takes the
    /// matrix packed into panels of 32 columns, `[columns / 32, rows, 32]`, once before the loop.
    /// Products of tall `f32` matrices along their rows, such as the gradients of weights that
    /// fission makes, are the operation `tall_dot`, and so is what joins such products.
    /// [`Jit::xla_only`](crate::Jit::xla_only) does without it. Products in half precision are
    /// products in single precision that are rounded, and loops stack `bf16` in single precision:
    /// XLA:CPU would convert at each step what can be converted once.
    pub fn packed(&self) -> Func {
        self.for_cpu(Cpu { packs: true, unroll: 1 })
    }

    /// A function that was [fissioned](Func::fissioned), in the form that a CPU computes.
    pub(crate) fn for_cpu(&self, cpu: Cpu) -> Func {
        rewritten(self, Pass::ForCpu(cpu), None).simplified()
    }

    /// The function as it is lowered: it takes and gives the same, and computes nothing twice, in
    /// vain, or at each step of a loop where once is enough.
    pub fn simplified(&self) -> Func {
        let used = vec![true; self.results().len()];
        let keep = vec![true; self.params().len()];
        let mut func = prune(self, &used, &keep, Effects::Keep).func;
        loop {
            let rewritten = rewritten(&func, Pass::Simplify, None);
            // What did not change has no dead code either.
            if rewritten == func {
                return func;
            }
            let next = prune(&rewritten, &used, &keep, Effects::Keep).func;
            if next == func {
                return next;
            }
            func = next;
        }
    }
}

/// Which rule says what stands for an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pass {
    /// That of [simplification](crate::ops::Operation::simplify).
    #[default]
    Simplify,
    /// That of [fission](crate::ops::Operation::fission).
    Fission,
    /// That for [CPUs](crate::ops::Operation::for_cpu).
    ForCpu(Cpu),
}

/// What a CPU computes in another form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// Whether kernels of this library multiply: with [packed matrices](crate::ops::panel_dot) in
    /// loops, and [along the rows](crate::ops::tall_dot) of tall ones.
    pub packs: bool,
    /// How many steps an iteration of an innermost loop makes if
    /// [`Unroll::Auto`](crate::Unroll::Auto) leaves it open.
    pub unroll: usize,
}

/// The function with every equation replaced by what its rule says. If it is the body of a loop,
/// the first `constants` parameters are the same at every step.
fn rewritten(func: &Func, pass: Pass, constants: Option<usize>) -> Func {
    let is_body = constants.is_some();
    let mut at = Simplifier { pass, is_body, ..Simplifier::new() };
    let params = at.params_of(func);
    let inputs: Vec<Value> = params.iter().map(|param| param.value).collect();
    at.invariant.extend(&inputs[..constants.unwrap_or(0)]);
    let results = at.inline(func, &inputs);
    at.finish(func.name(), params, results)
}

/// A simpler function under construction.
pub(crate) struct Simplifier {
    builder: FuncBuilder,
    /// The positions of the equations there are, by the hash of what they do.
    found: HashMap<u64, Vec<usize>>,
    /// The position of the equation that defines a value.
    defined: HashMap<Value, usize>,
    /// Where the equation that is being replaced comes from.
    source: Source,
    pass: Pass,
    /// Whether this is the body of a loop, and the values that are the same at every step then.
    is_body: bool,
    invariant: HashSet<Value>,
    /// In the pass for CPUs, the values that one equation alone uses.
    used_once: HashSet<Value>,
}

impl Simplifier {
    pub fn new() -> Simplifier {
        Simplifier {
            builder: FuncBuilder::new(),
            found: HashMap::new(),
            defined: HashMap::new(),
            source: Source::default(),
            pass: Pass::default(),
            is_body: false,
            invariant: HashSet::new(),
            used_once: HashSet::new(),
        }
    }

    /// A new parameter.
    pub fn param(&mut self, aval: &Aval, name: &str) -> Param {
        self.builder.named_param(aval, name)
    }

    /// New parameters of the types and names of those of `func`.
    pub fn params_of(&mut self, func: &Func) -> Vec<Param> {
        func.params().map(|(value, name)| self.param(func.aval(value), name)).collect()
    }

    /// A function that an operation owns, rewritten as the one around it is.
    pub fn rewritten(&self, func: &Func) -> Func {
        rewritten(func, self.pass, None)
    }

    /// The body of a loop, rewritten as what is around it is. The first `constants` of its
    /// parameters are the same at every step.
    pub fn rewritten_body(&self, body: &Func, constants: usize) -> Func {
        rewritten(body, self.pass, Some(constants))
    }

    /// Whether this is the body of a loop, and a value the same at every step.
    pub fn is_invariant(&self, value: Value) -> bool {
        self.invariant.contains(&value)
    }

    /// The equation that defines a value, if nothing but one equation uses that. It is known in the
    /// pass for CPUs alone.
    pub fn definition_used_once(&self, value: Value) -> Option<&Equation> {
        self.definition(value).filter(|_| self.used_once.contains(&value))
    }

    /// The type of a value.
    pub fn aval(&self, value: Value) -> &Aval {
        self.builder.aval(value)
    }

    /// The equation that defines a value; none if it is a parameter.
    pub fn definition(&self, value: Value) -> Option<&Equation> {
        self.defined.get(&value).map(|&i| &self.builder.equations()[i])
    }

    /// The function that was made.
    pub fn finish(self, name: &str, params: Vec<Param>, results: Vec<Value>) -> Func {
        self.builder.finish(name, params, results)
    }

    /// What stands for the results of `func` for these inputs.
    pub fn inline(&mut self, func: &Func, inputs: &[Value]) -> Vec<Value> {
        let mut env = Env::with_params(func, inputs.iter().copied());
        let around = self.source.clone();
        let uses = matches!(self.pass, Pass::ForCpu(_)).then(|| func.uses());
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            self.stand_for(equation);
            let place = self.builder.equations().len();
            let rules = equation.op.rules();
            let replaced = match self.pass {
                Pass::Simplify => rules.simplify(&inputs, self),
                Pass::Fission => rules.fission(&inputs, self),
                Pass::ForCpu(cpu) => rules.for_cpu(cpu, &inputs, self),
            };
            let outputs = match replaced {
                Some(outputs) => outputs,
                None => self.again(func, equation, inputs),
            };
            if let Some(uses) = &uses {
                let used = equation.outputs().iter().map(|output| uses[output.index()]);
                self.count_uses(&outputs, used, place);
            }
            env.set_all(equation.outputs(), outputs);
        }
        self.source = around;
        env.get_all(func.results())
    }

    /// Remembers which of these values are used once. What was there before equation `place` is
    /// used by something else, too.
    fn count_uses(&mut self, values: &[Value], uses: impl Iterator<Item = usize>, place: usize) {
        for (&value, uses) in values.iter().zip(uses) {
            let is_new = self.defined.get(&value).is_some_and(|&defined| defined >= place);
            match is_new && uses == 1 {
                true => self.used_once.insert(value),
                false => self.used_once.remove(&value),
            };
        }
    }

    /// Has what is recorded from now on come from where this equation does.
    pub fn stand_for(&mut self, equation: &Equation) {
        self.source = equation.source().clone();
    }

    /// The outputs of `op` for these inputs.
    pub fn record(&mut self, op: impl Into<Op>, inputs: Vec<Value>) -> Vec<Value> {
        let op = op.into();
        let avals: Vec<&Aval> = inputs.iter().map(|&value| self.builder.aval(value)).collect();
        let outputs = op.rules().infer(&avals).expect("a rule makes what is well formed");
        let source = self.source.clone();
        self.merge(op, inputs, outputs, source)
    }

    /// The same elements in another shape, if it is another one.
    pub fn reshaped(&mut self, value: Value, shape: &[usize]) -> Value {
        if self.aval(value).shape[..] == *shape {
            return value;
        }
        self.record(Reshape { shape: shape.to_vec() }, vec![value])[0]
    }

    /// The outputs of an equation of `func` for these inputs.
    pub fn again(&mut self, func: &Func, equation: &Equation, inputs: Vec<Value>) -> Vec<Value> {
        let avals = func.avals(equation.outputs());
        self.merge(equation.op.clone(), inputs, avals, equation.source().clone())
    }

    /// The outputs of the equation that does this, which is made if there is none. All operations
    /// but those with an effect are functions of their inputs; those of devices that compute
    /// together are met by all of them.
    fn merge(
        &mut self,
        op: Op,
        inputs: Vec<Value>,
        outputs: Vec<Aval>,
        source: Source,
    ) -> Vec<Value> {
        let place = self.builder.equations().len();
        if op.rules().has_effect() {
            return self.define(place, op, inputs, outputs, source);
        }
        let mut hasher = DefaultHasher::new();
        (&op, &inputs).hash(&mut hasher);
        let same = self.found.entry(hasher.finish()).or_default();
        let equations = self.builder.equations();
        let is_same = |e: &&Equation| e.inputs == inputs && e.op == op;
        if let Some(found) = same.iter().map(|&i| &equations[i]).find(is_same) {
            return found.outputs.clone();
        }
        same.push(place);
        self.define(place, op, inputs, outputs, source)
    }

    fn define(
        &mut self,
        place: usize,
        op: Op,
        inputs: Vec<Value>,
        outputs: Vec<Aval>,
        source: Source,
    ) -> Vec<Value> {
        let is_invariant = self.is_body
            && !op.rules().has_effect()
            && inputs.iter().all(|input| self.invariant.contains(input));
        let made = self.builder.equation(op, inputs, outputs, source);
        if is_invariant {
            self.invariant.extend(made);
        }
        self.defined.extend(made.iter().map(|&output| (output, place)));
        made.to_vec()
    }
}
