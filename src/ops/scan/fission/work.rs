//! What functions do in their loops: what fission makes less.

use crate::aval::Aval;
use crate::ir::Func;
use crate::ops::Op;

/// What a function does in its loops, those inside of other loops included. Everything counts once,
/// however often its loop runs.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let w = random::normal(&random::key(0), [64, 512], DType::F32);
/// let last = jit(|xs: Tensor| {
///     let step = |h: Tensor, x: Tensor| ((h + x.dot(&w)).tanh(), ());
///     scan(step, Tensor::zeros([512], DType::F32), xs).0
/// });
/// let lowered = last.lower(&Tensor::ones([1000, 64], DType::F32))?;
/// assert_eq!(lowered.simplified().loop_work().multiplications, 64 * 512);
/// assert_eq!(lowered.fissioned().loop_work().multiplications, 0);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoopWork {
    /// Matrix products.
    pub products: u64,
    /// The multiplications of these.
    pub multiplications: u64,
    /// Tensors that are handed from a step to the next one.
    pub carried: u64,
    /// Tensors that are made of one value of each step.
    pub stacked: u64,
}

impl Func {
    /// What the function does in its loops.
    pub fn loop_work(&self) -> LoopWork {
        let mut work = LoopWork::default();
        work.add(self, false);
        work
    }
}

impl LoopWork {
    fn add(&mut self, func: &Func, in_loop: bool) {
        for equation in func.equations() {
            let rules = equation.op.rules();
            if in_loop && rules.is_dot() {
                let inputs: Vec<&Aval> = equation.inputs().iter().map(|&v| func.aval(v)).collect();
                let multiplications = rules.multiplications(&inputs) as u64;
                self.products += 1;
                self.multiplications = self.multiplications.saturating_add(multiplications);
            }
            if rules.is_loop() {
                let outputs = equation.outputs().len() as u64;
                let carried = match &equation.op {
                    Op::ScanOp(scan) => scan.carry as u64,
                    _ => outputs,
                };
                self.carried += carried;
                self.stacked += outputs - carried;
            }
            let in_loop = in_loop || rules.is_loop();
            rules.regions().into_iter().for_each(|region| self.add(region, in_loop));
        }
    }
}
