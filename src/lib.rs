//! A tracing compiler frontend on XLA.

mod array;
pub mod aval;
mod device;
mod error;
mod execute;
mod host;
pub mod io;
pub mod ir;
mod jit;
mod linalg;
pub mod lint;
mod lower;
mod memory;
pub mod nn;
mod ops;
pub mod random;
mod tensor;
mod trace;
pub mod tree;
mod xla_ext;

pub use aval::{Aval, DType, Shape};
pub use device::Device;
pub use error::{Error, ErrorKind, Location, Result};
pub use host::{Element, Scalar};
pub use jit::{Compiled, Jit, Lowered, Traced, jit};
pub use memory::host_memory;
pub use ops::associative_scan::{AssociativeScan, associative_scan, map};
pub use ops::binary::Operand;
pub use ops::concatenate::{concatenate, stack};
pub use ops::control::Pure;
pub use ops::einsum::{TensordotAxes, einsum};
pub use ops::reduce::{Axes, keepdims};
pub use ops::scan::{Scan, scan};
pub use ops::select::select;
pub use ops::slice::{AxisIndex, AxisRange};
pub use ops::sort::sort;
pub use ops::switch::{cond, switch};
pub use ops::while_loop::{fori_loop, while_loop};
pub use tensor::Tensor;
pub use trace::scope::named_scope;

// The derive macro names this crate, also where it is used inside of it.
extern crate self as onetrace;

/// What most programs need: `use onetrace::prelude::*;`.
pub mod prelude {
    pub use crate::nn::RnnCell;
    pub use crate::tree::{self, Tree};
    pub use crate::{
        DType, Device, Error, Result, Scan, Tensor, concatenate, cond, einsum, fori_loop, jit,
        keepdims, map, nn, random, scan, select, stack, switch, while_loop,
    };
    pub use onetrace_derive::Tree;
}
