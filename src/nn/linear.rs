//! The affine layer.

use onetrace_derive::Tree;

use super::{Initializer, Rngs, build, init, with_features};
use crate::aval::DType;
use crate::tensor::Tensor;
use crate::trace::scope;

/// `x · kernel + bias`; `nnx.Linear`.
#[derive(Clone, Debug, Tree)]
pub struct Linear {
    /// `[in_features, out_features]`.
    pub kernel: Tensor,
    /// `[out_features]`, if there is one.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// A layer with a lecun normal kernel and a bias of zeros, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, out_features: usize) -> Linear {
        build("Linear", rngs, |rngs| Linear::draw(rngs, [in_features, out_features], &init::lecun_normal(), true))
    }

    /// The same without a bias.
    #[track_caller]
    pub fn without_bias(rngs: &mut Rngs, in_features: usize, out_features: usize) -> Linear {
        build("Linear", rngs, |rngs| Linear::draw(rngs, [in_features, out_features], &init::lecun_normal(), false))
    }

    /// Draws the parameters: a key for the kernel, and one for the bias if there is one, although
    /// zeros need none, as Flax does.
    pub(super) fn draw(
        rngs: &mut Rngs,
        shape: [usize; 2],
        kernel: &Initializer,
        bias: bool,
    ) -> Linear {
        let kernel = kernel.init(&rngs.params(), &shape, DType::F32);
        let bias = bias.then(|| init::zeros().init(&rngs.params(), &shape[1..], DType::F32));
        Linear { kernel, bias }
    }

    /// Applies the layer to the last axis of `x`, shape `[.., in_features]`, for a result of shape
    /// `[.., out_features]`.
    ///
    /// Fails if the last axis has another size.
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        scope::library_scope("Linear", || self.apply(x))
    }

    #[track_caller]
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        let in_features = self.kernel.shape().first().copied().unwrap_or(0);
        let y = with_features("Linear", in_features, x.clone()).dot(&self.kernel);
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}
