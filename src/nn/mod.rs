//! Modules: layers and recurrent cells with the parameters and results of Flax NNX's.
//!
//! A module is a plain struct that is a [tree] of its parameters, so that whatever
//! works on trees works on modules: the gradient of a cell is a cell, a cell can be the carry of a
//! loop or an argument of a compiled function. Parameters have the paths that Flax gives them, such
//! as `dense_i.kernel`, and the same values for the same seed.

mod cells;
mod dropout;
mod embed;
mod forward;
pub mod init;
mod lift;
mod linear;
mod mode;
mod norm;
mod rngs;
mod rnn;
mod sequential;

pub use cells::{CellConfig, GruCell, LstmCell, OptimizedLstmCell, RnnCell, SimpleCell};
pub use dropout::Dropout;
pub use embed::{Embed, EmbedConfig};
pub use forward::scan_rnn_forward;
pub use init::Initializer;
pub use lift::{
    Filter, Jit, LoweredStep, Scan, StateAxes, StateAxis, Vmap, grad, grad_with_aux, jit, scan,
    value_and_grad, value_and_grad_with_aux, vmap,
};
pub use linear::{Linear, LinearConfig};
pub use mode::{Mode, eval, train};
pub use norm::{BatchNorm, LayerNorm, NormConfig, RmsNorm};
pub use rngs::{RngStream, Rngs};
pub use rnn::{Bidirectional, Rnn, RnnArgs, StackedRnnCells};
pub use sequential::{Activation, Layer, Sequential};

use crate::error::{Error, Location};
use crate::lint::{self, Lint};
use crate::ops::resolve_axis;
use crate::tensor::Tensor;
use crate::trace::{self, poison, scope};
use crate::tree::{self, Tree};

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

/// The number of [parameters](tree::is_parameter) of a module.
pub fn parameter_count<M: Tree>(module: &M) -> usize {
    let leaves = tree::leaves_with_paths(module).into_iter();
    let parameters = leaves.filter(|(path, leaf)| tree::is_parameter(path, leaf));
    parameters.map(|(_, leaf)| leaf.size()).sum()
}

/// `x`, or a tensor with an error if it has not as many features as are `wanted` on this axis.
#[track_caller]
fn with_features(what: &str, (wanted, axis): (usize, isize), x: Tensor) -> Tensor {
    let size = resolve_axis(what, axis, x.rank()).ok().map(|axis| x.shape()[axis]);
    if size == Some(wanted) || x.check().is_err() {
        return x;
    }
    let place = if axis == -1 { "its last axis".to_owned() } else { format!("axis {axis}") };
    let mut message = format!(
        "{what}: the input must have {wanted} features on {place}, but it is {}",
        x.aval(),
    );
    if trace::in_loop_body() {
        message += "; if this is the step of a scan: it goes over axis 0 of the sequence and hands \
                    the rest to the step, so a sequence is (time, .., features); transpose one that \
                    is (features, time)";
    }
    poison(Error::shape(message), &[&x])
}

/// The same for the features that `kernel`, `[features, ..]`, takes on the last axis.
#[track_caller]
fn with_features_of(what: &str, kernel: &Tensor, x: Tensor) -> Tensor {
    match kernel.shape().first() {
        Some(&wanted) => with_features(what, (wanted, -1), x),
        None => x,
    }
}
