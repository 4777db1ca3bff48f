//! A tracing compiler frontend on XLA.
//!
//! A Rust closure on tensors is run **once**, on abstract values, and what it does is recorded; the
//! record becomes one HLO program, which XLA compiles and runs through PJRT. Loops and branches are
//! recorded as such: [`scan`] becomes one HLO While loop, however many steps it has. Names and
//! results are those of JAX, and the modules in [`nn`] are those of Flax NNX, down to the
//! parameters for a seed.
//!
//! ```
//! use onetrace::prelude::*;
//!
//! let cell = nn::GruCell::new(&mut nn::Rngs::new(42), 32, 64); // built once, outside of the step
//! let forward = jit(|x: Tensor| {
//!     let (h, _ys) = scan(|h, x_t| cell.step(h, x_t), Tensor::zeros([64], DType::F32), x);
//!     h // the final carry, shape [64]
//! });
//!
//! let x = Tensor::ones([2048, 32], DType::F32);
//! let h = forward.call(&x)?;
//! assert_eq!(h.to_vec::<f32>()?.len(), 64);
//!
//! let hlo = forward.lower(&x)?.hlo()?; // one `while`, with the weights as constants
//! assert_eq!(hlo.matches(" while(").count(), 1);
//! # Ok::<(), onetrace::Error>(())
//! ```
//!
//! # Tensors
//!
//! There is one value type, [`Tensor`], in three states; the same code runs on all of them.
//!
//! - A **concrete** tensor has data. An operation on concrete tensors, outside of any trace, is
//!   compiled when it is first met and runs at once.
//! - A **traced** tensor stands for a value that there will be when the recorded program runs. It
//!   has a [dtype and a shape](Aval), which are known while tracing, and no data. The closures that
//!   [`jit`], [`scan`], [`cond`] and the like are given run on traced tensors; a concrete tensor
//!   that such a closure uses becomes a constant of the program.
//! - A **poisoned** tensor stands for the result of a mistake; see below.
//!
//! # Trees
//!
//! What a traced function takes and returns, and what loops carry, are [trees](tree::Tree) of
//! tensors: a tensor, tuples, arrays, `Vec`s, `Option`s and maps of trees, and structs with
//! `#[derive(Tree)]`. Modules are such structs.
//!
//! ```
//! # use onetrace::prelude::*;
//! #[derive(Clone, Tree)]
//! struct Moments {
//!     sum: Tensor,
//!     squares: Tensor,
//! }
//!
//! let zero = Tensor::zeros([], DType::F32);
//! let start = Moments { sum: zero.clone(), squares: zero };
//! let step =
//!     |m: Moments, x: Tensor| (Moments { sum: m.sum + &x, squares: m.squares + &x * &x }, ());
//! let (end, ()) = scan(step, start, Tensor::arange(4, DType::F32));
//! assert_eq!((end.sum.item::<f32>()?, end.squares.item::<f32>()?), (6.0, 14.0));
//! # Ok::<(), onetrace::Error>(())
//! ```
//!
//! # Errors
//!
//! Operations return tensors, not [`Result`]s, so that formulas read as such. A mistake gives a
//! poisoned tensor, on which later operations do nothing. The first one comes out, with the line in
//! your code, where a value does: at [`Tensor::check`], [`Tensor::to_vec`], and the call of a
//! jitted function. [`ErrorKind`] says what kind of mistake it is.
//!
//! ```
//! # use onetrace::prelude::*;
//! let x = Tensor::ones([2, 3], DType::F32);
//! let error = (x.matmul(&x) + 1.0).tanh().check().unwrap_err(); // the inner sizes differ
//! assert_eq!(error.kind(), onetrace::ErrorKind::Shape);
//! assert_eq!(error.location().unwrap().file(), file!());
//! ```
//!
//! # Derivatives, batches and devices
//!
//! [`grad`], [`vjp`], [`jvp`] and what is made of them differentiate functions of trees, [`vmap`]
//! makes a function of one example one of a batch, and [`pmap`] runs a function on several devices.
//! They compose with each other, with [`jit`] and with loops: the gradient of a scan is a scan.
//!
//! ```
//! # use onetrace::prelude::*;
//! let loss = |w: Tensor| scan(|h, x| ((h * &w + x).tanh(), ()), Tensor::scalar(0.0, DType::F32),
//!                             Tensor::ones([1000], DType::F32)).0;
//! let slopes = jit(vmap(grad(loss))).call(Tensor::new(&[0.1f32, 0.2], [2]))?;
//! assert_eq!(slopes.shape(), [2]);
//! # Ok::<(), onetrace::Error>(())
//! ```
//!
//! # Where things are
//!
//! | | |
//! |---|---|
//! | [`prelude`] | what most programs need |
//! | [`Tensor`] | operations, as methods under the names of `jax.numpy` and `jax.lax` |
//! | [`jit`], [`Jit`], [`Lowered`], [`Compiled`] | compiled functions, stage by stage: trace, lower, compile, call |
//! | [`scan`], [`Scan`], [`while_loop`], [`While`], [`fori_loop`], [`cond`], [`switch`], [`map`], [`associative_scan`] | loops and branches |
//! | [`grad`], [`value_and_grad`], [`vjp`], [`jvp`], [`linearize`], [`jacfwd`], [`jacrev`], [`hessian`], [`hvp`] | derivatives of functions of trees |
//! | [`custom_vjp`], [`custom_jvp`], [`checkpoint`], [`Checkpoint`], [`Fission`], [`Unroll`], [`stop_gradient`] | derivatives of your own; what reverse mode keeps |
//! | [`vmap`], [`Vmap`] | functions of one example on a batch |
//! | [`pmap`], [`psum`] | one function on several devices, and what they tell each other |
//! | [`tree`] | trees of tensors, and paths of their leaves |
//! | [`nn`] | layers, recurrent cells and [initialisers](nn::init), as in Flax NNX |
//! | [`optim`] | optimisers and schedules, as in optax |
//! | [`random`] | random numbers, as `jax.random` draws them |
//! | [`hlo`] | HLO modules: their forms, figures and graphs, and running what other programs wrote |
//! | [`io`] | `.npy` and safetensors files |
//! | [`ir`] | what a trace records: its functions, their text form, its parser and checker |
//! | [`compilation_cache`] | compiled programs kept on disk, for the next process |
//! | [`Device`], [`XlaOptions`] | where programs run, and options of XLA |
//! | [`debug_print`], [`named_scope`] | values printed while a program runs; names in its IR and HLO |
//! | [`lint`] | warnings of programs that are hardly what was meant |

mod array;
mod autodiff;
pub mod aval;
mod batch_axes;
mod callback;
pub mod compilation_cache;
mod device;
mod error;
mod execute;
pub mod hlo;
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
pub mod optim;
mod pjrt;
mod pmap;
#[doc(hidden)]
pub mod quantity;
pub mod random;
mod stages;
mod tensor;
mod trace;
mod transform;
pub mod tree;
mod tuning;
mod tuples;
mod vmap;
mod xla_ext;

pub use autodiff::{
    grad, grad_with_aux, hessian, hvp, jacfwd, jacrev, jvp, linearize, value_and_grad,
    value_and_grad_with_aux, vjp,
};
pub use aval::{Aval, DType, Shape};
pub use batch_axes::{BatchAxes, SAME};
pub use device::{Device, DeviceMemory, Plugin, XlaOptions};
pub use error::{Error, ErrorKind, Location, Result};
pub use host::{Element, Scalar};
pub use jit::{Jit, jit};
pub use memory::{Memory, host_memory};
pub use ops::associative_scan::{AssociativeScan, associative_scan, map};
pub use ops::binary::Operand;
pub use ops::checkpoint::{Checkpoint, Policy, checkpoint, checkpoint_with};
pub use ops::collective::{axis_index, pmax, pmean, pmin, psum};
pub use ops::concatenate::{concatenate, stack};
pub use ops::control::Pure;
pub use ops::custom::{custom_jvp, custom_vjp};
pub use ops::debug_print::debug_print;
pub use ops::einsum::{TensordotAxes, einsum};
pub use ops::reduce::{Axes, keepdims};
pub use ops::scan::fission::{Fission, LoopWork};
pub use ops::scan::unroll::Unroll;
pub use ops::scan::{Scan, scan};
pub use ops::select::select;
pub use ops::slice::{AxisIndex, AxisRange};
pub use ops::sort::sort;
pub use ops::stop_gradient::stop_gradient;
pub use ops::switch::{cond, switch};
pub use ops::while_loop::{While, fori_loop, while_loop};
pub use pmap::{Pmap, pmap};
pub use stages::{Compiled, Lowered, Traced};
pub use tensor::Tensor;
pub use trace::scope::named_scope;
pub use tuning::Tuning;
pub use vmap::{Vmap, vmap};

/// The code in the README, which is tested as documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

// The derive macro names this crate, also where it is used inside of it.
extern crate self as onetrace;

/// What most programs need: `use onetrace::prelude::*;`.
pub mod prelude {
    pub use crate::nn::RnnCell;
    pub use crate::optim::GradientTransformation;
    pub use crate::tree::{self, Tree};
    pub use crate::{
        DType, Device, Error, Result, Scan, Tensor, While, concatenate, cond, einsum, fori_loop,
        grad, jit, jvp, keepdims, map, nn, optim, random, scan, select, stack, switch,
        value_and_grad, vjp, vmap, while_loop,
    };
    pub use onetrace_derive::Tree;
}
