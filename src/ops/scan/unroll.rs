//! How many steps one iteration of a loop makes.

use std::fmt;

use crate::error::Result;
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};

/// How many steps of a [`Scan`](crate::Scan) one iteration of its While loop makes. The step is
/// traced once in any case, and values are the same.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let sum = |steps: usize| {
///     let add = |sum: Tensor, x: Tensor| (sum + x, ());
///     jit(move |xs: Tensor| Scan::new().unroll(steps).run(add, Tensor::scalar(0.0, DType::F32), xs).0)
/// };
/// let xs = Tensor::ones([8], DType::F32);
/// assert!(sum(4).lower(&xs)?.hlo()?.contains("while("));
/// // A loop that would make one iteration is none.
/// assert!(!sum(8).lower(&xs)?.hlo()?.contains("while("));
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unroll {
    /// One, as the HLO has it that is lowered; where that is compiled, as many as were measured to
    /// be fastest for loops of this kind on the device: four for a loop that is one function, on
    /// CPUs, and stacks nothing.
    #[default]
    Auto,
    /// So many, at least 1. With the length or more there is no loop at all.
    Steps(usize),
}

/// From so many iterations on, a loop is worth the larger body, which takes longer to compile.
const ITERATIONS: usize = 16;

impl Unroll {
    /// So many steps, if that is worth it for a loop of this length and leaves no steps over.
    pub(crate) fn worth_it(steps: usize, length: usize) -> Unroll {
        match steps > 1 && length.is_multiple_of(steps) && length / steps >= ITERATIONS {
            true => Unroll::Steps(steps),
            false => Unroll::Auto,
        }
    }

    /// The number of steps, where nothing else was chosen.
    pub(crate) fn steps(self) -> usize {
        match self {
            Unroll::Auto => 1,
            Unroll::Steps(steps) => steps,
        }
    }
}

impl From<usize> for Unroll {
    fn from(steps: usize) -> Unroll {
        Unroll::Steps(steps)
    }
}

/// `auto` or the number of steps.
impl fmt::Display for Unroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unroll::Auto => f.write_str("auto"),
            Unroll::Steps(steps) => steps.fmt(f),
        }
    }
}

impl Attribute for Unroll {
    fn print(&self, printer: &mut Printer) {
        printer.push(self);
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Unroll> {
        if parser.eat("auto") {
            return Ok(Unroll::Auto);
        }
        parser.number("a number of steps or `auto`").map(Unroll::Steps)
    }

    fn omitted() -> Option<Unroll> {
        Some(Unroll::Auto)
    }
}

#[cfg(test)]
mod tests {
    use crate::Fission;
    use crate::prelude::*;
    use crate::transform::simplify::Cpu;

    /// What a scan of so many steps, around another one of as many, says of unrolling where an
    /// iteration shall make four steps.
    fn unrolled(length: usize) -> Vec<String> {
        let add = |sum: Tensor, x: Tensor| (sum + x, ());
        let outer = |sum: Tensor, xs: Tensor| (scan(add, sum, xs).0.sin(), ());
        let f = jit(|xs: Tensor| scan(outer, Tensor::scalar(0.0, DType::F32), xs).0);
        let lowered = f.lower(Tensor::zeros([length, length], DType::F32)).unwrap();
        let text = lowered.fissioned().for_cpu(Cpu { packs: false, unroll: 4 }).to_string();
        let scans = text.lines().filter(|line| line.contains("= scan"));
        let attributes = |line: &str| line.split(['{', '}']).nth(1).unwrap_or_default().to_owned();
        scans.map(|line| attributes(line).split(", constants").next().unwrap().to_owned()).collect()
    }

    #[test]
    fn long_innermost_loops_are_unrolled_where_that_is_left_open() {
        let [outer, inner] = &unrolled(64)[..] else { panic!("two scans") };
        assert_eq!(outer, "length=64, reverse=false");
        assert_eq!(inner, "length=64, reverse=false, unroll=4");
        for length in [60, 65] {
            assert!(unrolled(length).iter().all(|scan| !scan.contains("unroll")), "{length}");
        }
    }

    #[test]
    fn loops_that_slice_and_stack_more_than_three_values_are_not_unrolled() {
        for (stacked, expected) in [(1, true), (2, true), (3, false)] {
            let step = |sum: Tensor, x: Tensor| {
                let sums = (1..=stacked).map(|i| &sum * i as f32).collect::<Vec<_>>();
                (sum + x, sums)
            };
            let f = jit(|xs: Tensor| {
                let start = Tensor::scalar(0.0, DType::F32);
                Scan::new().fission(Fission::Off).run(step, start, xs)
            });
            let lowered = f.lower(Tensor::zeros([64], DType::F32)).unwrap();
            let text = lowered.fissioned().for_cpu(Cpu { packs: false, unroll: 4 }).to_string();
            assert_eq!(text.contains("unroll"), expected, "{text}");
        }
    }
}
