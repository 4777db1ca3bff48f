//! The models that the command knows by name: every recurrent cell of the library over a sequence.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use clap::ValueEnum;
use onetrace::nn::{GruCell, LstmCell, OptimizedLstmCell, Rngs, RnnCell, SimpleCell};
use onetrace::prelude::*;
use onetrace::{Fission, Jit, Traced, Unroll};

/// A recurrent cell of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Model {
    Gru,
    Lstm,
    OptimizedLstm,
    Simple,
}

impl Model {
    pub const ALL: [Model; 4] = [Model::Gru, Model::Lstm, Model::OptimizedLstm, Model::Simple];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Model::Gru => "gru",
            Model::Lstm => "lstm",
            Model::OptimizedLstm => "optimized-lstm",
            Model::Simple => "simple",
        }
    }

    /// The model of this name.
    pub fn find(name: &str) -> Option<Model> {
        Model::ALL.into_iter().find(|model| model.name() == name)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sizes of a model and of the sequence it goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub in_features: usize,
    pub hidden: usize,
    pub steps: usize,
    /// Sequences that are gone over at once; without it there is one, and no axis for it.
    pub batch: Option<usize>,
}

impl Shape {
    /// The shape of the sequence: `[steps, in_features]` or `[steps, batch, in_features]`.
    pub fn sequence(&self) -> Vec<usize> {
        [Some(self.steps), self.batch, Some(self.in_features)].into_iter().flatten().collect()
    }
}

/// How the steps are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// By `scan`, `unroll` steps in one iteration.
    Scan { unroll: Unroll, fission: Fission },
    /// By a loop in Rust that calls the step once for each row of the sequence.
    Unrolled,
}

type Step = Box<dyn Fn(Tensor) -> Vec<Tensor>>;

/// A function from a sequence to the leaves of the final carry, and how often its step was called.
pub struct Forward {
    jit: Jit<Tensor, Vec<Tensor>, Step>,
    sequence: Vec<usize>,
    calls: Rc<Cell<usize>>,
}

impl Forward {
    /// Draws the parameters of `model` as `nnx.Rngs(seed)` does.
    ///
    /// # Errors
    /// If they would not fit in memory.
    pub fn new(
        model: Model,
        shape: &Shape,
        seed: i64,
        repeat: Loop,
        reverse: bool,
    ) -> Result<Forward> {
        let (rngs, inputs, hidden) = (&mut Rngs::new(seed), shape.in_features, shape.hidden);
        let calls = Rc::new(Cell::new(0));
        let over = Over { repeat, reverse, steps: shape.steps, batch: shape.batch, calls };
        let (calls, sequence) = (over.calls.clone(), shape.sequence());
        let function = match model {
            Model::Gru => over.function(GruCell::new(rngs, inputs, hidden))?,
            Model::Lstm => over.function(LstmCell::new(rngs, inputs, hidden))?,
            Model::OptimizedLstm => over.function(OptimizedLstmCell::new(rngs, inputs, hidden))?,
            Model::Simple => over.function(SimpleCell::new(rngs, inputs, hidden))?,
        };
        let jit = jit(function).name(&model.name().replace('-', "_"));
        Ok(Forward { jit, sequence, calls })
    }

    /// A sequence of ones, for which the function can be traced and run.
    pub fn sequence(&self) -> Tensor {
        Tensor::ones(self.sequence.clone(), DType::F32)
    }

    /// Traces the function for `sequence`.
    ///
    /// # Errors
    /// The first mistake on the way, such as a sequence that does not fit in memory.
    pub fn trace(&self, sequence: &Tensor) -> Result<Traced<Tensor, Vec<Tensor>>> {
        self.jit.trace(sequence)
    }

    /// How often the step was called since the function was made.
    pub fn step_calls(&self) -> usize {
        self.calls.get()
    }
}

/// How a cell goes over a sequence.
struct Over {
    repeat: Loop,
    reverse: bool,
    steps: usize,
    batch: Option<usize>,
    calls: Rc<Cell<usize>>,
}

impl Over {
    fn function<C: RnnCell + Tree + 'static>(self, cell: C) -> Result<Step> {
        tree::check(&cell)?;
        Ok(Box::new(move |xs| {
            let step = |carry: C::Carry, x: Tensor| {
                self.calls.set(self.calls.get() + 1);
                cell.step(carry, x).0
            };
            let first = cell.initial_carry(self.batch.as_slice());
            let last = match self.repeat {
                Loop::Scan { unroll, fission } => {
                    let scan = Scan::new().reverse(self.reverse).unroll(unroll).fission(fission);
                    scan.run(|carry, x| (step(carry, x), ()), first, xs).0
                }
                Loop::Unrolled => {
                    let row = |t| if self.reverse { self.steps - 1 - t } else { t };
                    (0..self.steps).fold(first, |carry, t| step(carry, xs.index(row(t))))
                }
            };
            tree::leaves(&last)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { in_features: 3, hidden: 4, steps: 5, batch: None };

    fn run(model: Model, shape: &Shape, repeat: Loop, reverse: bool) -> (Vec<Vec<f32>>, usize) {
        let forward = Forward::new(model, shape, 7, repeat, reverse).unwrap();
        let size = shape.sequence().iter().product::<usize>();
        let numbers: Vec<f32> = (0..size).map(|k| (k % 11) as f32 / 11.0 - 0.4).collect();
        let x = Tensor::new(&numbers, shape.sequence());
        let compiled = forward.trace(&x).unwrap().lower().unwrap().compile().unwrap();
        let last = compiled.call(&x).unwrap();
        let wanted = [shape.batch.as_slice(), &[shape.hidden]].concat();
        assert!(last.iter().all(|leaf| leaf.shape() == wanted), "{model}");
        let numbers = last.iter().map(|leaf| leaf.to_vec().unwrap()).collect();
        (numbers, forward.step_calls())
    }

    fn scan(unroll: Unroll, fission: Fission) -> Loop {
        Loop::Scan { unroll, fission }
    }

    fn close(a: &[Vec<f32>], b: &[Vec<f32>]) -> bool {
        let pairs = a.iter().flatten().zip(b.iter().flatten());
        a.len() == b.len() && pairs.into_iter().all(|(a, b)| (a - b).abs() < 2e-6)
    }

    /// Scan, scan with several steps in an iteration or without fission, and the loop in Rust
    /// compute the same.
    #[test]
    fn every_way_to_repeat_gives_the_same_carry() {
        for model in Model::ALL {
            for batch in [None, Some(2)] {
                let shape = Shape { batch, ..SHAPE };
                for reverse in [false, true] {
                    let run = |repeat| run(model, &shape, repeat, reverse);
                    let (first, once) = run(scan(Unroll::Auto, Fission::Auto));
                    let (twos, _) = run(scan(Unroll::Steps(2), Fission::Off));
                    let (unrolled, each) = run(Loop::Unrolled);
                    assert!(close(&first, &twos) && close(&first, &unrolled), "{model} {shape:?}");
                    assert_eq!((once, each), (1, 5), "{model}");
                }
            }
            let ahead = run(model, &SHAPE, scan(Unroll::Auto, Fission::Auto), false).0;
            let back = run(model, &SHAPE, scan(Unroll::Auto, Fission::Auto), true).0;
            assert!(!close(&ahead, &back), "{model}");
        }
    }

    #[test]
    fn names_are_those_that_clap_takes() {
        for model in Model::ALL {
            assert_eq!(Model::find(model.name()), Some(model));
            assert_eq!(model.to_possible_value().unwrap().get_name(), model.name());
        }
        assert_eq!(Model::find("GRU"), None);
    }

    #[test]
    fn parameters_that_no_memory_holds_are_an_error() {
        let shape = Shape { hidden: usize::MAX / 8, ..SHAPE };
        let forward = Forward::new(Model::Simple, &shape, 0, Loop::Unrolled, false);
        assert!(forward.err().is_some_and(|e| e.kind() == onetrace::ErrorKind::Argument));
    }
}
