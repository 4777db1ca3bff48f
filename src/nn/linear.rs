//! The affine layer.

use onetrace_derive::Tree;

use super::{Initializer, Rngs, build, init, with_features_of};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::memory::host_memory;
use crate::tensor::Tensor;
use crate::trace::{poison, scope};

/// `x · kernel + bias`; `nnx.Linear`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let layer = nn::Linear::new(rngs, 3, 2);
/// assert_eq!(layer.call(&Tensor::ones([5, 3], DType::F32)).shape(), [5, 2]);
///
/// let plain = nn::Linear::config(3, 2).use_bias(false).build(rngs);
/// assert_eq!(tree::paths(&plain), ["kernel"]);
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Linear {
    /// `[in_features, out_features]`.
    pub kernel: Tensor,
    /// `[out_features]`, if there is one.
    pub bias: Option<Tensor>,
}

/// What a [`Linear`] layer is made from. The names are those of the arguments of `nnx.Linear`.
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is built"]
pub struct LinearConfig {
    pub(super) in_features: usize,
    pub(super) out_features: usize,
    pub(super) use_bias: bool,
    pub(super) kernel_init: Initializer,
    pub(super) bias_init: Initializer,
    pub(super) param_dtype: DType,
}

impl Linear {
    /// A layer with a lecun normal kernel and a bias of zeros, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, in_features: usize, out_features: usize) -> Linear {
        Linear::config(in_features, out_features).build(rngs)
    }

    /// The configuration of such a layer, to be changed and built.
    pub fn config(in_features: usize, out_features: usize) -> LinearConfig {
        LinearConfig {
            in_features,
            out_features,
            use_bias: true,
            kernel_init: init::lecun_normal(),
            bias_init: init::zeros(),
            param_dtype: DType::F32,
        }
    }

    /// Applies the layer to the last axis of `x`, shape `[.., in_features]`, for a result of shape
    /// `[.., out_features]`.
    ///
    /// Fails if the last axis has another size, or if the dtype is not that of the parameters.
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        scope::library_scope("Linear", || self.apply(x))
    }

    #[track_caller]
    pub(super) fn apply(&self, x: &Tensor) -> Tensor {
        let y = with_features_of("Linear", &self.kernel, x.clone()).dot(&self.kernel);
        match &self.bias {
            Some(bias) => y + bias,
            None => y,
        }
    }
}

impl LinearConfig {
    /// Whether there is a bias; by default there is.
    pub fn use_bias(mut self, use_bias: bool) -> LinearConfig {
        self.use_bias = use_bias;
        self
    }

    /// How the kernel is drawn; by default [`init::lecun_normal`].
    pub fn kernel_init(mut self, kernel_init: Initializer) -> LinearConfig {
        self.kernel_init = kernel_init;
        self
    }

    /// How the bias is drawn; by default [`init::zeros`].
    pub fn bias_init(mut self, bias_init: Initializer) -> LinearConfig {
        self.bias_init = bias_init;
        self
    }

    /// The dtype of the parameters; by default `f32`.
    pub fn param_dtype(mut self, param_dtype: DType) -> LinearConfig {
        self.param_dtype = param_dtype;
        self
    }

    /// Draws the parameters from the stream `params`.
    #[track_caller]
    pub fn build(&self, rngs: &mut Rngs) -> Linear {
        build("Linear", rngs, |rngs| self.draw(rngs))
    }

    /// Draws a key for the kernel, and one for the bias if there is one, although zeros need none,
    /// as Flax does.
    #[track_caller]
    pub(super) fn draw(&self, rngs: &mut Rngs) -> Linear {
        let shape = [self.in_features, self.out_features];
        if let Err(error) = self.check_memory() {
            let bad = poison(error, &[]);
            let bias = self.use_bias.then(|| bad.clone());
            return Linear { kernel: bad, bias };
        }
        let kernel = self.kernel_init.init(&rngs.params(), &shape, self.param_dtype);
        let bias = match self.use_bias {
            true => Some(self.bias_init.init(&rngs.params(), &shape[1..], self.param_dtype)),
            false => None,
        };
        Linear { kernel, bias }
    }

    /// Refuses a kernel that the memory of the machine does not hold while it is drawn.
    fn check_memory(&self) -> Result<()> {
        let aval = Aval::new(self.param_dtype, [self.in_features, self.out_features]);
        let size = aval.saturating_bytes();
        let (needed, memory) = (size.saturating_mul(self.kernel_init.memory()), host_memory());
        if needed <= memory {
            return Ok(());
        }
        Err(Error::argument(format!(
            "Linear: to draw a kernel of type {aval} takes up to {needed} bytes, but this machine has \
             {memory} bytes of memory"
        )))
    }
}
