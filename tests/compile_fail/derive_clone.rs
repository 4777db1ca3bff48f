//! Trees can be cloned.

use onetrace::prelude::*;

#[derive(Tree)]
struct Layer {
    weight: Tensor,
}

fn main() {}
