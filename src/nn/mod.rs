//! Modules: layers and recurrent cells with the parameters and results of Flax NNX's.
//!
//! A module is a plain struct that is a [tree](crate::tree) of its parameters, so that whatever
//! works on trees works on modules: the gradient of a cell is a cell, a cell can be the carry of a
//! loop or an argument of a compiled function. Parameters have the paths that Flax gives them, such
//! as `dense_i.kernel`, and the same values for the same seed.

mod cells;
mod forward;
pub mod init;
mod linear;
mod rngs;

pub use cells::{CellConfig, GruCell, LstmCell, OptimizedLstmCell, RnnCell, SimpleCell};
pub use forward::scan_rnn_forward;
pub use init::Initializer;
pub use linear::{Linear, LinearConfig};
pub use rngs::{RngStream, Rngs};

use crate::error::{Error, Location};
use crate::lint::{self, Lint};
use crate::tensor::Tensor;
use crate::trace::{self, poison, scope};
use crate::tree::Tree;

/// Builds a module called `what`, of which each parameter gets its path as its name. Warns if that
/// happens in a loop.
#[track_caller]
fn build<M: Tree>(what: &str, rngs: &mut Rngs, make: impl FnOnce(&mut Rngs) -> M) -> M {
    let location: Location = std::panic::Location::caller();
    if trace::in_loop_body() {
        lint::report(
            Lint::ModuleInLoop,
            format!(
                "a {what} is built inside the step of a loop: every step would work with the same \
                 fresh parameters; build it once, outside, and let the step capture it"
            ),
            location,
        );
    }
    scope::library_scope(what, || named(&make(rngs)))
}

/// The module with every parameter named by its path, which the IR and the HLO then show.
///
/// Cells and layers name their own parameters; a model made of several can be named as a whole.
pub fn named<M: Tree>(module: &M) -> M {
    module.map(&mut Default::default(), &mut |path, leaf| leaf.clone().named(&path.to_string()))
}

/// The number of parameters of a module.
pub fn parameter_count<M: Tree>(module: &M) -> usize {
    crate::tree::leaves(module).iter().map(Tensor::size).sum()
}

/// `x`, or a tensor with an error if its last axis is not the features that `kernel` takes.
#[track_caller]
fn with_features(what: &str, kernel: &Tensor, x: Tensor) -> Tensor {
    let (Some(&wanted), Ok(())) = (kernel.shape().first(), x.check()) else { return x };
    if x.shape().last() == Some(&wanted) {
        return x;
    }
    let mut message = format!(
        "{what}: the input must have {wanted} features on its last axis, but it is {}",
        x.aval(),
    );
    if trace::in_loop_body() {
        message += "; if this is the step of a scan: it goes over axis 0 of the sequence and hands \
                    the rest to the step, so a sequence is (time, .., features); transpose one that \
                    is (features, time)";
    }
    poison(Error::shape(message), &[&x])
}
