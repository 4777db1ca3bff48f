//! A field is no tree, and is not marked as static.

use onetrace::prelude::*;

#[derive(Clone, Tree)]
struct Layer {
    weight: Tensor,
    size: usize,
}

fn main() {}
