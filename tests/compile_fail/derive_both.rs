//! A field cannot be traced and not traced.

use onetrace::prelude::*;

#[derive(Clone, Tree)]
struct Layer {
    weight: Tensor,
    #[tree(static)]
    #[tree(state)]
    mean: Tensor,
}

fn main() {}
