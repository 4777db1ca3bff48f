//! A jitted closure runs when it is traced, and not in every call.

use onetrace::prelude::*;

fn main() {
    let mut calls = 0;
    let f = jit(|x: Tensor| {
        calls += 1;
        x
    });
    f.call(Tensor::scalar(1.0, DType::F32)).unwrap();
}
