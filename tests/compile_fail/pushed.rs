//! The body of a loop pushes to a vector it closes over.

use onetrace::prelude::*;

fn main() {
    let mut all = Vec::new();
    fori_loop(
        0,
        3,
        |_, x: Tensor| {
            all.push(x.clone());
            x
        },
        Tensor::scalar(0.0, DType::F32),
    );
    println!("{}", all.len());
}
