//! Times a GRU on a device; what `bench/gpu.py` compares with JAX.
//!
//! ```text
//! cargo run --release --example gru_on_device -- DEVICE X.npy HIDDEN REPEAT
//! ```
//!
//! `X.npy` has shape (time, batch, features), `f32`. The parameters are those of `nnx.Rngs(42)`. One
//! JSON object is printed: `ms`, the milliseconds of each run with the data on the device, and `carry`,
//! the final states. Without arguments it is a small one on the default device.

use std::time::Instant;

use anyhow::{Context, Result};
use onetrace::io;
use onetrace::prelude::*;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (device, x, hidden, repeat) = match &arguments[..] {
        [] => (Device::default_device()?, Tensor::ones([64, 1, 8], DType::F32), 16, 1),
        [device, path, hidden, repeat] => {
            (device.parse()?, io::read_npy(path)?, hidden.parse()?, repeat.parse()?)
        }
        _ => anyhow::bail!("usage: gru_on_device [DEVICE X.npy HIDDEN REPEAT]"),
    };
    let [_, batch, features] = *x.shape() else { anyhow::bail!("x: not three axes") };

    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), features, hidden);
    let forward = jit(|x: Tensor| {
        scan(|h, x_t| (cell.step(h, x_t).0, ()), cell.initial_carry(&[batch]), x).0
    });
    let compiled = forward.lower(&x)?.compile_for(&device)?;
    let x = x.to_device(&device)?;
    let mut times = Vec::new();
    let mut carry = Vec::new();
    // The first run is not timed. Reading the carry waits for it.
    for run in 0..=repeat {
        let start = Instant::now();
        carry = compiled.call(&x)?.to_vec::<f32>()?;
        if run > 0 {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    carry.iter().all(|x| x.is_finite()).then_some(()).context("the carry is not finite")?;
    println!("{{\"ms\": {times:?}, \"carry\": {carry:?}}}");
    Ok(())
}
