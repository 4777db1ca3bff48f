//! Slices of a sum are sums of slices where a part of the sum leaves the loop: a step then
//! [reads](mod@crate::ops::scan::reads) the slices of that part where they are. The gates of an LSTM
//! in Flax's form are such slices.
//!
//! What a fusion reads at several places XLA:CPU makes a function, which reads the number of the
//! step for each element anew: the gates were computed one element at a time.

use super::before::Before;
use crate::ir::{Equation, Value};
use crate::ops::Op;
use crate::ops::scan::ScanOp;
use crate::transform::Env;
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// The scan with slices of what is computed element by element computed of slices, where
    /// something of that is made before the loop; none if there are no such slices.
    pub(super) fn with_sums_of_slices(&self, before: &Before) -> Option<ScanOp> {
        let func = &self.body;
        // What leaves the loop, and what is computed of it, by index.
        let mut sums = vec![false; func.value_count()];
        for equation in func.equations() {
            let is_sum = equation.inputs().iter().any(|input| sums[input.index()])
                && equation.is_elementwise(|value| func.aval(value));
            for &output in equation.outputs() {
                sums[output.index()] = is_sum || before.makes(output);
            }
        }
        let slices_sum = |equation: &Equation| {
            let is_sum = |value: &Value| sums[value.index()] && !before.makes(*value);
            matches!(equation.op, Op::Slice(_)) && equation.inputs().iter().all(is_sum)
        };
        if !func.equations().iter().any(slices_sum) {
            return None;
        }
        let mut at = Simplifier::new();
        let params = at.params_of(func);
        let mut env = Env::with_params(func, params.iter().map(|param| param.value));
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            at.stand_for(equation);
            let outputs = match &equation.op {
                Op::Slice(slice) if slices_sum(equation) => vec![slice.of(inputs[0], &mut at)],
                _ => at.again(func, equation, inputs),
            };
            env.set_all(equation.outputs(), outputs);
        }
        let results = env.get_all(func.results());
        Some(ScanOp { body: at.finish(func.name(), params, results), ..*self })
    }
}
