//! A GRU over 2,048 steps, as one HLO While loop whose body was traced once.
//!
//! ```text
//! cargo run --release --example gru
//! ```

use std::cell::Cell;

use onetrace::prelude::*;

fn main() -> Result<()> {
    let (features, hidden, steps) = (32, 64, 2048);
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), features, hidden);
    let x = random::normal(&random::key(0), [steps, features], DType::F32);

    let body_traces = Cell::new(0);
    let forward = jit(|x: Tensor| {
        let step = |h, x_t| {
            body_traces.set(body_traces.get() + 1);
            cell.step(h, x_t)
        };
        let (h, _ys) = scan(step, cell.initial_carry(&[]), x);
        h
    });

    let h = forward.call(&x)?.to_vec::<f32>()?;
    println!("the step closure ran {} time for {steps} steps", body_traces.get());
    println!("final hidden state: {:.4?} ...", &h[..6]);

    let hlo = forward.lower(&x)?.hlo()?;
    println!("the HLO has {} instructions, of which", hlo.matches(" = ").count());
    println!("{} While loop", hlo.matches(" while(").count());
    Ok(())
}
