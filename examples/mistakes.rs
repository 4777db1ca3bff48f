//! How mistakes are reported: a message that says what to do, and the line they were made in.
//!
//! ```text
//! cargo run --example mistakes
//! ```

use onetrace::prelude::*;

fn main() {
    let cell = nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4);
    let x = Tensor::ones([10, 3], DType::F32);
    let zeros = || Tensor::zeros([4], DType::F32);

    let (carry, ()) =
        scan(|h: Tensor, x_t| (cell.step(h, x_t).0.reshape([4, 1]), ()), zeros(), &x * 1.0);
    show("A carry that changes its shape", carry);

    let (carry, _) = scan(|h, x_t| cell.step(h, x_t), zeros(), x.t());
    show("A sequence that is (features, time)", carry);

    let (carry, _) = scan(|h, ()| (h, ()), zeros(), ());
    show("A loop without a length", carry);

    show("Dtypes that differ", &x + Tensor::arange(3, DType::I32));
    show("A number that is no value of the dtype", Tensor::arange(3, DType::I32) * 0.5);
}

fn show(what: &str, result: Tensor) {
    match result.check() {
        Ok(()) => println!("{what}: no mistake\n"),
        Err(error) => println!("{what}\n{error}\n"),
    }
}
