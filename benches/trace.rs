//! How long it takes to trace and lower the scan of a GRU, for sequences of several lengths.
//!
//! ```text
//! cargo bench --bench trace
//! ```

use divan::Bencher;
use onetrace::prelude::*;

fn main() {
    divan::main();
}

/// A GRU from 32 features to 64.
#[divan::bench(args = [8, 2_048, 1_000_000])]
fn trace_and_lower(bencher: Bencher, steps: usize) {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(42), 32, 64);
    let forward = jit(|x: Tensor| scan(|h, x| cell.step(h, x), cell.initial_carry(&[]), x).0);
    let x = Tensor::zeros([steps, 32], DType::F32);
    bencher.bench_local(|| forward.lower(&x).expect("the program is well formed"));
}
