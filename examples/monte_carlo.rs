//! Random numbers inside a compiled loop: π from points thrown at a square.
//!
//! ```text
//! cargo run --release --example monte_carlo
//! ```

use onetrace::prelude::*;

fn main() -> Result<()> {
    let (rounds, points) = (200, 10_000);
    let estimate = jit(|key: Tensor| {
        let round = |i: Tensor, inside: Tensor| {
            let key = random::fold_in(&key, i.astype(DType::U32));
            let xy = random::uniform(&key, [2, points], DType::F32);
            let hits = (&xy * &xy).sum(0).le(1.0).astype(DType::I32).sum(0);
            inside + hits
        };
        let inside = fori_loop(0, rounds, round, Tensor::scalar(0, DType::I32));
        inside.astype(DType::F32) * 4.0 / (f64::from(rounds) * points as f64)
    });
    println!("π is about {:.4}", estimate.call(random::key(7))?.item::<f32>()?);
    Ok(())
}
