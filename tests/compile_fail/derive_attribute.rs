//! The attribute of a field is misspelt.

use onetrace::prelude::*;

#[derive(Clone, Tree)]
struct Layer {
    weight: Tensor,
    #[tree(skip)]
    size: usize,
}

fn main() {}
