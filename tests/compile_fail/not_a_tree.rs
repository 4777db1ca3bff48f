//! The carry is a struct without `#[derive(Tree)]`.

use onetrace::prelude::*;

#[derive(Clone)]
struct State {
    h: Tensor,
}

fn main() {
    let xs = Tensor::ones([3], DType::F32);
    let init = State { h: Tensor::scalar(0.0, DType::F32) };
    scan(|state: State, x: Tensor| (State { h: state.h + x }, ()), init, xs);
}
