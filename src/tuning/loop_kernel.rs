//! Loops that XLA:CPU compiles as one function.
//!
//! XLA:CPU runs each operation of a loop's body as a task of its own, which costs 0.1 to 0.3 µs: more
//! than the operation, if it is on vectors of 64 elements. A loop that touches few bytes it compiles
//! as one function; what few means is an option. Products of matrices are slow in such a function,
//! and it runs on one thread; those of a vector with a small matrix are as fast.

use crate::aval::Aval;
use crate::device::{Device, XlaOptions};
use crate::ir::Func;

/// The option of XLA, one of those that are special to a backend.
const OPTION: (&str, &str) =
    ("xla_backend_extra_options", "xla_cpu_small_while_loop_byte_threshold");

/// A loop with at most so many multiplications in a step is small: a step of the gradient of a GRU
/// of 64 takes half of the time, and one of 128 as long as before.
const FEW_MULTIPLICATIONS: usize = 1 << 16;

/// A loop all whose values have at most so many elements is small.
const FEW_ELEMENTS: usize = 1 << 14;

/// The options to compile `func` with for a device: weaker than all that the user sets.
pub(crate) fn options(func: &Func, device: &Device) -> XlaOptions {
    let options = XlaOptions::new();
    let is_ours = device.platform() == "cpu" && !XlaOptions::is_set_for_process(OPTION.0);
    if is_ours && loops_are_small(func) == Some(true) {
        options.flag(OPTION.0, format!("{}={}", OPTION.1, i64::MAX))
    } else {
        options
    }
}

/// Whether all loops are small; none if there is no loop.
fn loops_are_small(func: &Func) -> Option<bool> {
    let mut all = None;
    for equation in func.equations() {
        let op = equation.op.rules();
        for region in op.regions() {
            let small = match op.is_loop() {
                true => Some(is_small(region)),
                false => loops_are_small(region),
            };
            all = match (all, small) {
                (all, None) => all,
                (None, small) => small,
                (Some(all), Some(small)) => Some(all && small),
            };
        }
    }
    all
}

/// Whether the body of a loop has little to do, none of it by calls of XLA's runtime.
fn is_small(body: &Func) -> bool {
    let mut multiplications = 0_usize;
    let all_plain = body.equations().iter().all(|equation| {
        let op = equation.op.rules();
        let inputs: Vec<&Aval> = equation.inputs().iter().map(|&v| body.aval(v)).collect();
        let own = op.multiplications(&inputs);
        multiplications = multiplications.saturating_add(own);
        // A vector with a matrix: each element of the matrix is multiplied once.
        let is_vector_product = inputs.iter().any(|aval| aval.size() == own);
        let outputs = equation.outputs().iter().map(|&v| body.aval(v));
        op.is_plain()
            && (own == 0 || is_vector_product)
            && outputs.into_iter().all(|aval| aval.size() <= FEW_ELEMENTS)
    });
    all_plain && multiplications <= FEW_MULTIPLICATIONS
}
