//! The step returns a number of the host.

use onetrace::prelude::*;

fn main() {
    let xs = Tensor::ones([3], DType::F32);
    let init = Tensor::scalar(0.0, DType::F32);
    scan(|sum: Tensor, x: Tensor| (sum + x, 1.0f32), init, xs);
}
