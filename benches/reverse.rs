//! What the gradient of a GRU costs for sequences of several lengths: the time of each step, and the
//! memory by what is kept of the steps.
//!
//! ```text
//! cargo bench --bench reverse
//! ```

use std::hint::black_box;
use std::time::Instant;

use onetrace::prelude::*;
use onetrace::{Checkpoint, Compiled, Result};

const FEATURES: usize = 32;
const HIDDEN: usize = 64;
/// How often each program is timed. The median is printed.
const ROUNDS: usize = 7;

type Arguments = (nn::GruCell, Tensor);
type Program = Compiled<Arguments, (Tensor, nn::GruCell)>;

/// The value of a function of the last state, and its gradient by the parameters of the cell.
fn compile(steps: usize, checkpoint: Checkpoint) -> Result<(Program, Arguments)> {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), FEATURES, HIDDEN);
    let x = random::normal(&random::key(0), [steps, FEATURES], DType::F32);
    let loss = |cell: nn::GruCell, x: &Tensor| {
        let scan = Scan::new().checkpoint(checkpoint);
        let step = |h, x| (cell.step(h, x).0, ());
        scan.run(step, cell.initial_carry(&[]), x.clone()).0.square().sum(..)
    };
    let both = jit(|(cell, x): Arguments| value_and_grad(|cell| loss(cell, &x))(cell));
    let arguments = (cell, x);
    Ok((both.lower(&arguments)?.compile()?, arguments))
}

/// Nanoseconds for each step: the median of several calls.
fn time(steps: usize, checkpoint: Checkpoint) -> Result<f64> {
    let (program, arguments) = compile(steps, checkpoint)?;
    let call = || -> Result<f64> {
        let start = Instant::now();
        black_box(program.call(&arguments)?.0.item::<f32>()?);
        Ok(start.elapsed().as_secs_f64() * 1e9 / steps as f64)
    };
    call()?;
    let times: Result<Vec<f64>> = (0..ROUNDS).map(|_| call()).collect();
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    Ok(times[ROUNDS / 2])
}

fn main() -> Result<()> {
    // Cargo says whether it is a benchmark or only to be tried.
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let ways = [
        ("everything", Checkpoint::None),
        ("every 64", Checkpoint::Every(64)),
        ("sqrt", Checkpoint::Sqrt),
    ];

    println!("value and gradient of a GRU from {FEATURES} features to {HIDDEN}, ns for each step");
    println!("{:>10} {:>12} {:>12} {:>12}", "steps", ways[0].0, ways[1].0, ways[2].0);
    let lengths: &[usize] = if is_bench { &[1_000, 10_000, 100_000, 1_000_000] } else { &[1_000] };
    for &steps in lengths {
        print!("{steps:>10}");
        for (_, checkpoint) in ways {
            print!(" {:>12.0}", time(steps, checkpoint)?);
        }
        println!();
    }

    println!("\nmemory for what it computes on the way, KiB, by XLA's buffer assignment");
    println!("{:>10} {:>12} {:>12} {:>12}", "steps", ways[0].0, ways[1].0, ways[2].0);
    let lengths: &[usize] = if is_bench { &[1_024, 4_096, 16_384, 65_536] } else { &[1_024] };
    for &steps in lengths {
        print!("{steps:>10}");
        for (_, checkpoint) in ways {
            let memory = compile(steps, checkpoint)?.0.memory();
            print!(" {:>12.0}", memory.map_or(f64::NAN, |m| m.temp_bytes as f64 / 1024.0));
        }
        println!();
    }
    Ok(())
}
