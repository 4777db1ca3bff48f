//! The programs of the cases, as a user writes them.

use std::time::Instant;

use half::bf16;
use onetrace::optim::{Adam, adam};
use onetrace::prelude::*;
use onetrace::{Compiled, Fission, Jit, Result};
use serde::Serialize;

use crate::case::{Case, Cell, Data, Kind};

/// A compiled program with its arguments on the device.
pub struct Prepared {
    pub costs: Costs,
    call: Box<dyn FnMut() -> Result<f64>>,
}

/// What it took to make a program, and what it takes.
#[derive(Clone, Copy, Serialize)]
pub struct Costs {
    /// Seconds from the closure to HLO.
    lower_s: f64,
    /// Seconds of XLA.
    compile_s: f64,
    /// Bytes for what is computed on the way, by XLA's buffer assignment.
    temp_bytes: Option<u64>,
}

impl Prepared {
    /// Calls the program; the seconds until its results are there.
    pub fn run(&mut self) -> anyhow::Result<f64> {
        Ok((self.call)()?)
    }
}

pub fn prepare(case: &Case) -> Result<Prepared> {
    match (case.kind, case.cell) {
        (Kind::BoundLoop | Kind::BoundProduct, _) => bound(case, case.read(nn::GruCell::new)?),
        (_, Cell::Gru) => model(case, case.read(nn::GruCell::new)?),
        (_, Cell::Lstm) => model(case, case.read(nn::OptimizedLstmCell::new)?),
        (_, Cell::Simple) => model(case, case.read(nn::SimpleCell::new)?),
    }
}

/// The final carries, and the outputs of all steps.
#[derive(Clone, Tree)]
struct Forward<K> {
    carry: Vec<K>,
    ys: Option<Tensor>,
}

#[derive(Clone, Tree)]
struct Gradient<C> {
    loss: Tensor,
    layers: Vec<C>,
}

/// The parameters after a step of training, and the averages of gradients.
#[derive(Clone, Tree)]
struct Trained<C> {
    loss: Tensor,
    layers: Vec<C>,
    mu: Vec<C>,
}

type AdamState<P> = <Adam as GradientTransformation>::State<P>;

/// How a case goes over its sequences.
#[derive(Clone)]
struct Loops {
    batch: Vec<usize>,
    fission: Fission,
}

impl Loops {
    fn of(case: &Case) -> Loops {
        let fission = if case.no_fission { Fission::Off } else { Fission::Auto };
        Loops { batch: case.batch_axes(), fission }
    }
}

/// The layers, one loop each; the last one gives `ys`.
fn forward<C: RnnCell>(layers: &[C], x: &Tensor, loops: &Loops) -> (Vec<C::Carry>, Tensor) {
    let mut ys = x.clone();
    let mut carries = Vec::new();
    for cell in layers {
        let step = |carry, x| cell.step(carry, x);
        let carry;
        let scan = Scan::new().fission(loops.fission);
        (carry, ys) = scan.run(step, cell.initial_carry(&loops.batch), ys);
        carries.push(carry);
    }
    (carries, ys)
}

/// The mean squares of the last state and of all outputs, added.
fn loss<C: RnnCell>(layers: &[C], x: &Tensor, loops: &Loops) -> Tensor {
    let mean_square = |x: &Tensor| x.astype(DType::F32).square().mean(..);
    let (carries, ys) = forward(layers, x, loops);
    let last = tree::leaves(&carries);
    mean_square(&last[last.len() - 1]) + mean_square(&ys)
}

fn model<C: RnnCell + Tree + Clone + 'static>(case: &Case, data: Data<C>) -> Result<Prepared> {
    let Data { x, layers } = data;
    let loops = Loops::of(case);
    match case.kind {
        Kind::Forward | Kind::ForwardYs => {
            let wants_ys = case.kind == Kind::ForwardYs;
            let run = jit(move |x: Tensor| {
                let (carry, ys) = forward(&layers, &x, &loops);
                Forward { carry, ys: wants_ys.then_some(ys) }
            });
            pure(case, run, x, |forward| tree::leaves(&forward.carry)[0].clone())
        }
        Kind::Grad => {
            let run = jit(move |(layers, x): (Vec<C>, Tensor)| {
                let (loss, layers) =
                    value_and_grad(|layers: Vec<C>| loss(&layers, &x, &loops))(layers);
                Gradient { loss, layers }
            });
            pure(case, run, (layers, x), |gradient| gradient.loss.clone())
        }
        _ => train(case, layers, x),
    }
}

/// A step of training gives away its parameters and the optimiser's state, and goes on with the new
/// ones at the next call.
fn train<C: RnnCell + Tree + Clone + 'static>(
    case: &Case,
    layers: Vec<C>,
    x: Tensor,
) -> Result<Prepared> {
    let loops = Loops::of(case);
    let optimizer = adam(case.learning_rate);
    let state = optimizer.init(&layers);
    type Arguments<C> = (Vec<C>, AdamState<Vec<C>>, Tensor);
    let run = jit(move |(layers, state, x): Arguments<C>| {
        let value = |layers: Vec<C>| loss(&layers, &x, &loops);
        let (loss, gradient) = value_and_grad(value)(layers.clone());
        let (layers, state) = optimizer.step(layers, gradient, state);
        (loss, layers, state)
    });
    let mut arguments = (layers, state, x);
    let (compiled, costs) = compile(&run.donate(&[0, 1]), &arguments)?;
    let mut step = move || -> Result<_> {
        let (loss, layers, state) = compiled.call(&arguments)?;
        (arguments.0, arguments.1) = (layers, state);
        Ok((loss, arguments.0.clone(), arguments.1.0.mu.clone()))
    };
    let (loss, layers, mu) = step()?;
    write(case, &Trained { loss, layers, mu })?;
    let call = Box::new(move || {
        let start = Instant::now();
        wait(&step()?.0)?;
        Ok(start.elapsed().as_secs_f64())
    });
    Ok(Prepared { costs, call })
}

/// What the loop cannot be faster than: its products alone.
fn bound(case: &Case, data: Data<nn::GruCell>) -> Result<Prepared> {
    let Data { x, layers } = data;
    let cell = &layers[0];
    if case.kind == Kind::BoundProduct {
        let kernel = cell.dense_i.kernel.clone();
        // Nobody reads a large result, and its first row comes with it.
        let run = jit(move |x: Tensor| {
            let product = x.reshape([-1, x.shape()[x.rank() - 1] as isize]).matmul(&kernel);
            (product.index(0), product)
        });
        return pure(case, run, x, |(row, _)| row.clone());
    }
    // The state stays of the size of 1 when the kernel is made small.
    let (kernel, length) = (&cell.dense_h.kernel * 0.1, case.t);
    let start = Tensor::ones([case.batch_axes(), vec![case.h]].concat(), DType::F32);
    let run = jit(move |start: Tensor| {
        let step = |h: Tensor, ()| {
            let gates = h.matmul(&kernel).split(3, -1);
            (&start + &gates[0] + &gates[1] + &gates[2], ())
        };
        let (end, ()) = Scan::new().length(length).run(step, start.clone(), ());
        Forward { carry: vec![end], ys: None }
    });
    pure(case, run, start, |forward| forward.carry[0].clone())
}

/// Compiles a program that leaves its arguments as they are, and writes what it gives.
/// `part` is a small part of the results, which are all there when one of them is.
fn pure<A: Tree + 'static, R: Tree + 'static, F: Fn(A) -> R>(
    case: &Case,
    run: Jit<A, R, F>,
    arguments: A,
    part: impl Fn(&R) -> Tensor + 'static,
) -> Result<Prepared> {
    let (compiled, costs) = compile(&run, &arguments)?;
    write(case, &compiled.call(&arguments)?)?;
    let call = Box::new(move || {
        let start = Instant::now();
        wait(&part(&compiled.call(&arguments)?))?;
        Ok(start.elapsed().as_secs_f64())
    });
    Ok(Prepared { costs, call })
}

fn compile<A: Tree, R: Tree, F: Fn(A) -> R>(
    run: &Jit<A, R, F>,
    arguments: &A,
) -> Result<(Compiled<A, R>, Costs)> {
    let start = Instant::now();
    let lowered = run.lower(arguments)?;
    let lower_s = start.elapsed().as_secs_f64();
    let compiled = lowered.compile()?;
    let compile_s = start.elapsed().as_secs_f64() - lower_s;
    let temp_bytes = compiled.memory().map(|memory| memory.temp_bytes);
    Ok((compiled, Costs { lower_s, compile_s, temp_bytes }))
}

/// Returns when the tensor is computed.
fn wait(tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::BF16 => tensor.to_vec::<bf16>().map(drop),
        _ => tensor.to_vec::<f32>().map(drop),
    }
}

/// Writes results in `f32`, under their paths.
fn write<R: Tree>(case: &Case, results: &R) -> Result<()> {
    let results = tree::map(results, |leaf| leaf.astype(DType::F32));
    onetrace::io::save_safetensors(&case.outputs, &results)
}
