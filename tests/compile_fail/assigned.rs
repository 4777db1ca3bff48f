//! The step assigns to a tensor it closes over: it would be a value of every step and of none.

use onetrace::prelude::*;

fn main() {
    let xs = Tensor::ones([3], DType::F32);
    let mut last = Tensor::scalar(0.0, DType::F32);
    let init = last.clone();
    scan(
        |sum: Tensor, x: Tensor| {
            last = x.clone();
            (sum + x, ())
        },
        init,
        xs,
    );
    println!("{last:?}");
}
