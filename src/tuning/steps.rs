//! What the loops of a function do at each step.

use crate::aval::Aval;
use crate::ir::Func;

/// What one step of a loop does, apart from loops inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The multiplications of all products.
    pub multiplications: usize,
    /// Whether each product is one of a vector and a matrix: it uses each element of an operand
    /// once.
    pub vectors_only: bool,
    /// The elements of the largest value that is computed.
    pub largest_value: usize,
    /// Whether all operations are [plain](crate::ops::Operation::is_plain).
    pub is_plain: bool,
    /// Whether any value that is computed is in half precision.
    pub is_half: bool,
}

impl Step {
    /// The steps of all loops of a function, also of loops inside of others.
    pub fn all(func: &Func) -> Vec<Step> {
        let mut steps = Vec::new();
        Step::of(func, &mut steps);
        steps
    }

    /// What a function does as if it were a step; `loops` gets the steps of the loops in it.
    fn of(func: &Func, loops: &mut Vec<Step>) -> Step {
        let mut step = Step {
            multiplications: 0,
            vectors_only: true,
            largest_value: 0,
            is_plain: true,
            is_half: false,
        };
        for equation in func.equations() {
            let op = equation.op.rules();
            let inputs: Vec<&Aval> = equation.inputs().iter().map(|&v| func.aval(v)).collect();
            let own = op.multiplications(&inputs);
            let outputs = equation.outputs().iter().map(|&v| func.aval(v));
            step.add(Step {
                multiplications: own,
                vectors_only: own == 0 || inputs.iter().any(|aval| aval.size() == own),
                largest_value: outputs.clone().map(Aval::size).max().unwrap_or(0),
                is_plain: op.is_plain(),
                is_half: outputs.clone().any(|aval| aval.dtype.is_half()),
            });
            for region in op.regions() {
                let inner = Step::of(region, loops);
                if op.is_loop() {
                    loops.push(inner);
                } else {
                    step.add(inner);
                }
            }
        }
        step
    }

    fn add(&mut self, other: Step) {
        self.multiplications = self.multiplications.saturating_add(other.multiplications);
        self.vectors_only &= other.vectors_only;
        self.largest_value = self.largest_value.max(other.largest_value);
        self.is_plain &= other.is_plain;
        self.is_half |= other.is_half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn steps(f: impl Fn(Tensor) -> Tensor, x: Tensor) -> Vec<Step> {
        Step::all(&jit(f).trace(x).unwrap().func().simplified())
    }

    #[test]
    fn a_step_has_the_products_of_one_step() {
        let gru = |features: usize, hidden: usize, batch: &[usize]| {
            let cell = nn::GruCell::new(&mut nn::Rngs::new(0), features, hidden);
            let x = Tensor::zeros([&[7], batch, &[features]].concat(), DType::F32);
            let first = cell.initial_carry(batch);
            let last = |x| scan(|h, x| (cell.step(h, x).0, ()), first.clone(), x).0;
            steps(last, x)
        };
        let one = |step: Step| (step.multiplications, step.vectors_only, step.is_plain);
        let [vector] = gru(32, 64, &[])[..] else { panic!("one loop") };
        assert_eq!(one(vector), (3 * 64 * 96, true, true));
        let [matrix] = gru(32, 64, &[8])[..] else { panic!("one loop") };
        assert_eq!(one(matrix), (8 * 3 * 64 * 96, false, true));
        // The weights are constants of the step.
        assert_eq!(matrix.largest_value, 64 * 3 * 64);
    }

    #[test]
    fn loops_are_counted_one_by_one() {
        let x = Tensor::zeros([64, 64], DType::F32);
        assert_eq!(steps(|x| x.matmul(&x), x.clone()), []);
        let inner = |h: Tensor, _: Tensor| (h.matmul(&h), ());
        let outer =
            move |h: Tensor, _: Tensor| (scan(inner, h, Tensor::zeros([3], DType::F32)).0, ());
        let nested = move |x: Tensor| scan(outer, x, Tensor::zeros([5], DType::F32)).0;
        let steps = steps(nested, x);
        let counts: Vec<(usize, bool)> =
            steps.iter().map(|step| (step.multiplications, step.is_plain)).collect();
        assert_eq!(counts, [(64 * 64 * 64, true), (0, false)]);
    }
}
