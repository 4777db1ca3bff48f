//! How wide the vectors are that XLA:CPU computes a loop with.
//!
//! XLA takes 256 bits, also where the processor has 512. Wider ones take up to a tenth off a step of
//! a loop with enough products, as measured with GRUs on a processor of 2023, and more off one of a
//! gradient; on the other hand they cost about 0.1 µs in each step, which is half of a small one.

use crate::aval::Aval;
use crate::device::{Device, XlaOptions};
use crate::ir::Func;

/// The option of XLA.
const OPTION: &str = "xla_cpu_prefer_vector_width";

/// From so many multiplications in one step on, 512 bits win.
const ENOUGH: usize = 1 << 15;

/// The options to compile `func` with for a device: weaker than all that the user sets.
pub(crate) fn options(func: &Func, device: &Device) -> XlaOptions {
    let options = XlaOptions::new();
    let is_ours = device.platform() == "cpu" && !XlaOptions::is_set_for_process(OPTION);
    if is_ours && has_wide_vectors() && Products::of(func).largest_step >= ENOUGH {
        options.flag(OPTION, 512)
    } else {
        options
    }
}

/// Whether the processor computes with 512 bits at its full speed. Those before Ice Lake slow down,
/// and lack these instructions.
#[cfg(target_arch = "x86_64")]
fn has_wide_vectors() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vbmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_wide_vectors() -> bool {
    false
}

/// How many multiplications the products of a function make.
#[derive(Default)]
struct Products {
    /// Outside of loops.
    multiplications: usize,
    /// In a step of the loop that has the most, apart from loops inside of it.
    largest_step: usize,
}

impl Products {
    fn of(func: &Func) -> Products {
        let mut products = Products::default();
        for equation in func.equations() {
            let op = equation.op.rules();
            let inputs: Vec<&Aval> = equation.inputs.iter().map(|&v| func.aval(v)).collect();
            products.add(op.multiplications(&inputs));
            for region in op.regions() {
                let inner = Products::of(region);
                products.largest_step = products.largest_step.max(inner.largest_step);
                if op.is_loop() {
                    products.largest_step = products.largest_step.max(inner.multiplications);
                } else {
                    products.add(inner.multiplications);
                }
            }
        }
        products
    }

    fn add(&mut self, multiplications: usize) {
        self.multiplications = self.multiplications.saturating_add(multiplications);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn largest_step(f: impl Fn(Tensor) -> Tensor, x: Tensor) -> usize {
        Products::of(&jit(f).trace(x).unwrap().func().simplified()).largest_step
    }

    #[test]
    fn a_step_has_the_products_of_one_step() {
        let gru = |features: usize, hidden: usize, batch: &[usize]| {
            let cell = nn::GruCell::new(&mut nn::Rngs::new(0), features, hidden);
            let x = Tensor::zeros([&[7], batch, &[features]].concat(), DType::F32);
            let first = cell.initial_carry(batch);
            let last = |x| scan(|h, x| (cell.step(h, x).0, ()), first.clone(), x).0;
            largest_step(last, x)
        };
        assert_eq!(gru(32, 64, &[]), 3 * 64 * 96);
        assert_eq!(gru(32, 64, &[8]), 8 * 3 * 64 * 96);
    }

    #[test]
    fn products_outside_of_loops_do_not_count() {
        let x = Tensor::zeros([64, 64], DType::F32);
        assert_eq!(largest_step(|x| x.matmul(&x), x.clone()), 0);
        let inner = |h: Tensor, _: Tensor| (h.matmul(&h), ());
        let outer =
            move |h: Tensor, _: Tensor| (scan(inner, h, Tensor::zeros([3], DType::F32)).0, ());
        let nested = move |x: Tensor| scan(outer, x, Tensor::zeros([5], DType::F32)).0;
        assert_eq!(largest_step(nested, x), 64 * 64 * 64);
    }
}
