//! Whether a module is being trained.

use crate::tensor::Tensor;
use crate::tree::{Node, Path, Tree};

/// Whether a layer that works otherwise when it is trained is being trained. It is part of the
/// structure of a module: a compiled function is compiled for each mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// [`Dropout`](super::Dropout) drops, and [`BatchNorm`](super::BatchNorm) takes the statistics
    /// of the batch.
    Train,
    /// `Dropout` is `deterministic`, and `BatchNorm` uses the `use_running_average`.
    Eval,
}

impl Tree for Mode {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Static(self));
    }

    fn map(&self, _: &mut Path, _: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        *self
    }

    fn set_modes(&mut self, mode: Mode) {
        *self = mode;
    }
}

/// Puts every layer of a module into the mode for training; `module.train()` of Flax.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let mut model = (nn::Dropout::new(&mut nn::Rngs::new(0), 0.5), ());
/// let x = Tensor::ones([8], DType::F32);
/// nn::eval(&mut model);
/// assert_eq!(model.0.call(&x).to_vec::<f32>()?, [1.0; 8]);
/// nn::train(&mut model);
/// assert!(model.0.call(&x).to_vec::<f32>()?.contains(&2.0));
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn train<M: Tree>(module: &mut M) {
    module.set_modes(Mode::Train);
}

/// Puts every layer of a module into the mode for use after training; `module.eval()` of Flax. See
/// [`train`].
pub fn eval<M: Tree>(module: &mut M) {
    module.set_modes(Mode::Eval);
}
