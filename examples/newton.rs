//! A loop that ends when it has converged, and a branch: square roots by Newton's method.
//!
//! ```text
//! cargo run --example newton
//! ```

use onetrace::prelude::*;

fn main() -> Result<()> {
    let root = jit(|a: Tensor| {
        let positive = |a: Tensor| {
            let off = |(x, a, _): (Tensor, Tensor, Tensor)| ((&x * &x - &a).abs() / a).gt(1e-12);
            let step = |(x, a, n): (Tensor, Tensor, Tensor)| ((&x + &a / &x) / 2.0, a, n + 1);
            let (x, _, n) = while_loop(off, step, (a.clone(), a, Tensor::scalar(0, DType::I32)));
            (x, n)
        };
        let other = |a: Tensor| (a * 0.0, Tensor::scalar(0, DType::I32));
        cond(a.gt(0.0), positive, other, a)
    });
    for a in [2.0, 81.0, 1e6, 0.0, -4.0] {
        let (x, steps) = root.call(Tensor::scalar(a, DType::F64))?;
        println!("{a:>9}: {:<18} after {} steps", x.item::<f64>()?, steps.item::<i32>()?);
    }
    Ok(())
}
