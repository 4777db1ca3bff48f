//! Loops that XLA:CPU compiles as one function.
//!
//! XLA:CPU runs each operation of a loop's body as a task of its own, which costs 0.1 to 0.3 µs:
//! more than the operation, if it is on vectors of 64 elements. A loop that touches few bytes it
//! compiles as one function; what few means is an option. Products of matrices are slow in such a
//! function, and it runs on one thread; those of a vector with a small matrix are as fast.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::steps::Step;
use crate::device::{Device, XlaOptions};

/// The option of XLA, one of those that are special to a backend.
const OPTION: (&str, &str) =
    ("xla_backend_extra_options", "xla_cpu_small_while_loop_byte_threshold");

/// A loop with at most so many multiplications in a step is small: a step of the gradient of a GRU
/// of 64 takes half of the time, and one of 128 as long as before.
const FEW_MULTIPLICATIONS: usize = 1 << 16;

/// A loop all whose values have at most so many elements is small.
const FEW_ELEMENTS: usize = 1 << 14;

/// With more multiplications in a step than that, one function is so much slower that it is not
/// even tried.
const TOO_MANY_MULTIPLICATIONS: usize = 1 << 20;

/// How many rows of a matrix XLA takes at once where it multiplies a vector with it. It adds each
/// group of them to the result in memory, and takes vectors of 256 bits in such a function; with 8
/// rows, which is what it would do, a step forward takes 4 % longer, and one of a gradient as long.
const ROWS: (&str, usize) = ("xla_llvm_dot_tiling_factor", 12);

/// An iteration of a loop that is one function makes so many steps: a GRU from 32 to 64 takes 0.64
/// instead of 0.72 µs for a step, and no more with 8. Loops of tasks gain nothing.
const STEPS_OF_FUNCTION: usize = 4;

/// What the loops of a program are compiled to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Loops {
    /// Tasks of XLA's runtime, but for loops that XLA finds small itself.
    #[serde(rename = "tasks")]
    Tasks,
    /// One function for each loop.
    #[serde(rename = "functions")]
    Functions,
    /// Tasks for loops that XLA finds small too. In half precision each of them rounds what it
    /// computes, and one function leaves that out between operations: the same steps would give
    /// something else in a small loop than in a large one, or one by one.
    #[serde(rename = "tasks alone")]
    TasksAlone,
}

impl Loops {
    /// What is best for a program with loops of these steps, by what was measured, or right; none
    /// where nothing is to be said or the user says it.
    pub fn by_model(steps: &[Step], device: &Device) -> Option<Loops> {
        let is_ours = device.platform() == "cpu" && !XlaOptions::is_set_for_process(OPTION.0);
        is_ours.then(|| Loops::of(steps)).flatten()
    }

    /// The same on a CPU; none where there is no loop, or one that cannot be a function and is left
    /// to XLA.
    fn of(steps: &[Step]) -> Option<Loops> {
        if steps.iter().any(|step| step.is_half) {
            return Some(Loops::TasksAlone);
        }
        let can_be =
            |step: &Step| step.is_plain && step.multiplications <= TOO_MANY_MULTIPLICATIONS;
        let is_small = |step: &Step| {
            step.vectors_only
                && step.multiplications <= FEW_MULTIPLICATIONS
                && step.largest_value <= FEW_ELEMENTS
        };
        let has_choice = !steps.is_empty() && steps.iter().all(can_be);
        let are_small = steps.iter().all(is_small);
        has_choice.then_some(if are_small { Loops::Functions } else { Loops::Tasks })
    }

    /// How many steps an iteration makes where that is left open.
    pub fn unroll(self) -> usize {
        match self {
            Loops::Tasks | Loops::TasksAlone => 1,
            Loops::Functions => STEPS_OF_FUNCTION,
        }
    }

    pub fn options(self) -> XlaOptions {
        let small_bytes =
            |bytes: i64| XlaOptions::new().flag(OPTION.0, format!("{}={bytes}", OPTION.1));
        match self {
            Loops::Tasks => XlaOptions::new(),
            Loops::TasksAlone => small_bytes(0),
            Loops::Functions => {
                small_bytes(i64::MAX).flag(OPTION.0, format!("{}={}", ROWS.0, ROWS.1))
            }
        }
    }

    /// Whether options of the user say which loops are functions.
    pub fn are_set_by(options: &XlaOptions) -> bool {
        let is_ours = |value: &str| value.split('=').next() == Some(OPTION.1);
        options.pairs().iter().any(|(name, value)| name == OPTION.0 && is_ours(value))
    }

    /// The other one, or itself if there is none.
    pub fn other(self) -> Loops {
        match self {
            Loops::Tasks => Loops::Functions,
            Loops::Functions => Loops::Tasks,
            Loops::TasksAlone => Loops::TasksAlone,
        }
    }
}

impl fmt::Display for Loops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loops::Tasks => "loops of tasks",
            Loops::Functions => "each loop one function",
            Loops::TasksAlone => "loops of tasks alone",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debug_print;
    use crate::prelude::*;

    fn loops<A: Tree, R: Tree>(f: impl Fn(A) -> R, x: A) -> Option<Loops> {
        let func = jit(f).trace(x).unwrap().func().simplified().fissioned();
        Loops::of(&Step::all(&func))
    }

    fn gru(features: usize, hidden: usize, batch: &[usize]) -> [Option<Loops>; 2] {
        let cell = nn::GruCell::new(&mut nn::Rngs::new(0), features, hidden);
        let x = Tensor::zeros([&[20], batch, &[features]].concat(), DType::F32);
        let last = |cell: nn::GruCell, x: Tensor| {
            let first = cell.initial_carry(batch);
            scan(|h, x| (cell.step(h, x).0, ()), first, x).0
        };
        let forward = |(cell, x)| last(cell, x);
        let backward = |(cell, x): (nn::GruCell, Tensor)| {
            grad(|cell: nn::GruCell| last(cell, x.clone()).square().sum(..))(cell)
        };
        [loops(forward, (cell.clone(), x.clone())), loops(backward, (cell, x))]
    }

    #[test]
    fn loops_of_small_products_of_vectors_are_functions() {
        assert_eq!(gru(32, 64, &[]), [Some(Loops::Functions); 2]);
        assert_eq!(gru(32, 64, &[1]), [Some(Loops::Functions); 2]);
        assert_eq!(gru(32, 64, &[8]), [Some(Loops::Tasks); 2]);
        assert_eq!(gru(32, 256, &[1]), [Some(Loops::Tasks); 2]);
        assert_eq!(gru(32, 256, &[64]), [None; 2]);
    }

    /// A loop with one operation, for which XLA needs its runtime or another computation.
    #[test]
    fn loops_with_calls_have_no_choice() {
        let x = Tensor::zeros([9, 4], DType::F32);
        let with = |f: &dyn Fn(Tensor) -> Tensor| {
            let step = |h: Tensor, x: Tensor| (f(h) + x, ());
            loops(|x| scan(step, Tensor::zeros([4], DType::F32), x).0, x.clone())
        };
        assert_eq!(with(&|h| h.tanh()), Some(Loops::Functions));
        assert_eq!(with(&|h| h.sort(0)), None);
        assert_eq!(with(&|h| h.scatter_add(&Tensor::zeros([1, 1], DType::I32), 1.0)), None);
        assert_eq!(
            with(&|h| {
                debug_print("h: {}", &[&h]);
                h
            }),
            None
        );
        assert_eq!(with(&|h| cond(h.sum(..).gt(0), |h| h, |h: Tensor| -h, h.clone())), None);
        assert_eq!(with(&|h| fori_loop(0, 3, |_, h: Tensor| h.sin(), h)), None);
        assert_eq!(loops(|x: Tensor| x.tanh(), x), None);
    }

    #[test]
    fn loops_in_half_precision_are_tasks_alone() {
        let step =
            |h: Tensor, x: Tensor| ((h.astype(DType::BF16) * 0.5).astype(DType::F32) + x, ());
        let run = |xs: Tensor| scan(step, Tensor::zeros([4], DType::F32), xs).0;
        assert_eq!(loops(run, Tensor::zeros([9, 4], DType::F32)), Some(Loops::TasksAlone));
    }
}
