//! Which leaves an enum has depends on its value.

use onetrace::prelude::*;

#[derive(Clone, Tree)]
enum State {
    First(Tensor),
    Second(Tensor, Tensor),
}

fn main() {}
