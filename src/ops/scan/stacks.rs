//! What a loop stacks on CPUs.

use super::ScanOp;
use crate::aval::DType;
use crate::ir::Value;
use crate::ops::convert::Convert;
use crate::transform::simplify::Simplifier;

impl ScanOp {
    /// The outputs of the scan, which stacks in single precision what is `bf16`. XLA:CPU has no
    /// update of an array of that type: it converts *all* of it to single precision and back at
    /// each step, so that a loop takes time in proportion to the square of its length.
    pub(super) fn stacking_in_single_precision(
        self,
        inputs: &[Value],
        at: &mut Simplifier,
    ) -> Vec<Value> {
        let is_converted = |(i, value): (usize, &Value)| {
            let is_bf16 = self.body.aval(*value).dtype == DType::BF16;
            i >= self.carry && is_bf16
        };
        let is_converted: Vec<bool> =
            self.body.results().iter().enumerate().map(is_converted).collect();
        if !is_converted.contains(&true) {
            return at.record(self, inputs.to_vec());
        }
        let mut body = Simplifier::new();
        let params = body.params_of(&self.body);
        let values: Vec<Value> = params.iter().map(|param| param.value).collect();
        let results = body.inline(&self.body, &values);
        let converted = |at: &mut Simplifier, dtype, values: Vec<Value>| -> Vec<Value> {
            let values = values.into_iter().zip(&is_converted);
            let convert = |(value, &is): (Value, &bool)| match is {
                true => at.record(Convert { dtype }, vec![value])[0],
                false => value,
            };
            values.map(convert).collect()
        };
        let results = converted(&mut body, DType::F32, results);
        let op = ScanOp { body: body.finish(self.body.name(), params, results), ..self };
        let outputs = at.record(op, inputs.to_vec());
        converted(at, DType::BF16, outputs)
    }
}
