//! Slices of a sum are sums of slices where a part of the sum leaves the loop: the slices of that
//! part leave it as well. The gates of an LSTM in Flax's form are such slices.
//!
//! XLA:CPU gains by more than memory. What a fusion reads at several places becomes a function of
//! its own, which reads the number of the step for each element anew: the gates were computed one
//! element at a time.

use std::collections::HashSet;

use crate::ir::{Equation, Value};
use crate::ops::Op;
use crate::ops::scan::ScanOp;
use crate::transform::Env;
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// The scan with slices of what is computed element by element computed of slices, where
    /// something of that leaves the loop.
    pub(super) fn with_sums_of_slices(self) -> ScanOp {
        let Some(before) = self.plan_before() else { return self };
        let func = &self.body;
        let mut at = Simplifier::new();
        let params = at.params_of(func);
        let mut env = Env::with_params(func, params.iter().map(|param| param.value));
        // What leaves the loop, and what is computed of it.
        let mut sums: HashSet<Value> = HashSet::new();
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            at.stand_for(equation);
            let outputs = match &equation.op {
                Op::Slice(slice) if sums.contains(&inputs[0]) => vec![slice.of(inputs[0], &mut at)],
                _ => at.again(func, equation, inputs),
            };
            let is_sum = |output: &Value| {
                let has_part = |e: &Equation| e.inputs().iter().any(|input| sums.contains(input));
                at.definition(*output).is_some_and(|e| at.is_elementwise(e) && has_part(e))
            };
            if equation.outputs().iter().any(|&output| before.makes(output))
                || outputs.iter().any(is_sum)
            {
                sums.extend(&outputs);
            }
            env.set_all(equation.outputs(), outputs);
        }
        let results = env.get_all(func.results());
        ScanOp { body: at.finish(func.name(), params, results), ..self }
    }
}
