//! A branch assigns to a number it closes over.

use onetrace::prelude::*;

fn main() {
    let mut taken = 0;
    let x = Tensor::scalar(1.0, DType::F32);
    let count = |x: Tensor| {
        taken += 1;
        x
    };
    cond(x.gt(0.0), count, |x| x, x);
    println!("{taken}");
}
