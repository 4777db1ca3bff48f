//! Layers that normalise, as in `flax.nnx`. Statistics are computed in `f32` at least, the variance
//! as `max(0, mean(x²) - mean(x)²)`.

use std::marker::PhantomData;

use onetrace_derive::Tree;

use super::{Initializer, Mode, Rngs, build, init, with_features};
use crate::aval::{DType, Shape};
use crate::error::{Error, Result};
use crate::ops::composed;
use crate::ops::reduce::{Axes, keepdims};
use crate::ops::resolve_axis;
use crate::ops::stop_gradient::stop_gradient;
use crate::tensor::Tensor;
use crate::trace::poison;
use crate::tree::Tree;

/// What a [`LayerNorm`], an [`RmsNorm`] or a [`BatchNorm`] is made from. The names are those of the
/// arguments of Flax's layers.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let layer = nn::LayerNorm::config(4).epsilon(1e-5).use_bias(false).build(&mut nn::Rngs::new(0));
/// assert_eq!(tree::paths(&layer), ["scale"]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is built"]
pub struct NormConfig<N> {
    num_features: usize,
    epsilon: f64,
    momentum: f64,
    mode: Mode,
    axis: isize,
    use_scale: bool,
    use_bias: bool,
    scale_init: Initializer,
    bias_init: Initializer,
    param_dtype: DType,
    layer: PhantomData<fn() -> N>,
}

/// A layer that a [`NormConfig`] is for.
pub trait Norm: Tree {
    #[doc(hidden)]
    const NAME: &str;

    #[doc(hidden)]
    #[track_caller]
    fn draw(config: &NormConfig<Self>, rngs: &mut Rngs) -> Self;
}

impl<N: Norm> NormConfig<N> {
    fn new(num_features: usize, epsilon: f64) -> NormConfig<N> {
        NormConfig {
            num_features,
            epsilon,
            momentum: 0.99,
            mode: Mode::Train,
            axis: -1,
            use_scale: true,
            use_bias: true,
            scale_init: init::ones(),
            bias_init: init::zeros(),
            param_dtype: DType::F32,
            layer: PhantomData,
        }
    }

    /// What is added to the variance; by default 1e-6, and 1e-5 for [`BatchNorm`].
    pub fn epsilon(mut self, epsilon: f64) -> NormConfig<N> {
        self.epsilon = epsilon;
        self
    }

    /// Whether the result is multiplied by a learned scale; by default it is.
    pub fn use_scale(mut self, use_scale: bool) -> NormConfig<N> {
        self.use_scale = use_scale;
        self
    }

    /// How the scale is drawn; by default [`init::ones`].
    pub fn scale_init(mut self, scale_init: Initializer) -> NormConfig<N> {
        self.scale_init = scale_init;
        self
    }

    /// The dtype of the parameters; by default `f32`.
    pub fn param_dtype(mut self, param_dtype: DType) -> NormConfig<N> {
        self.param_dtype = param_dtype;
        self
    }

    /// Draws a key from the stream `params` for each parameter that there is.
    #[track_caller]
    pub fn build(&self, rngs: &mut Rngs) -> N {
        build(N::NAME, rngs, |rngs| N::draw(self, rngs))
    }

    #[track_caller]
    fn draw_scale(&self, rngs: &mut Rngs) -> Option<Tensor> {
        let draw = || self.scale_init.init(&rngs.params(), &[self.num_features], self.param_dtype);
        self.use_scale.then(draw)
    }

    #[track_caller]
    fn draw_bias(&self, rngs: &mut Rngs) -> Option<Tensor> {
        let draw = || self.bias_init.init(&rngs.params(), &[self.num_features], self.param_dtype);
        self.use_bias.then(draw)
    }
}

/// The bias, which an [`RmsNorm`] has not.
macro_rules! with_bias {
    ($($Layer:ident)*) => {$(
        impl NormConfig<$Layer> {
            /// Whether a learned bias is added; by default it is.
            pub fn use_bias(mut self, use_bias: bool) -> Self {
                self.use_bias = use_bias;
                self
            }

            /// How the bias is drawn; by default [`init::zeros`].
            pub fn bias_init(mut self, bias_init: Initializer) -> Self {
                self.bias_init = bias_init;
                self
            }
        }
    )*};
}

with_bias! { LayerNorm BatchNorm }

impl NormConfig<BatchNorm> {
    /// How much of the running statistics is kept in a step; by default 0.99.
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Whether the layer starts in [`Mode::Eval`], in which it uses the running statistics; by
    /// default it does not.
    pub fn use_running_average(mut self, use_running_average: bool) -> Self {
        self.mode = if use_running_average { Mode::Eval } else { Mode::Train };
        self
    }

    /// The axis of the features; by default the last.
    pub fn axis(mut self, axis: isize) -> Self {
        self.axis = axis;
        self
    }
}

/// The mean and the variance of `x` along `axes`, which stay, with size one.
#[track_caller]
fn moments(x: &Tensor, axes: Axes) -> (Tensor, Tensor) {
    let mean = x.mean(keepdims(axes.clone()));
    let squares = x.square().mean(keepdims(axes));
    let var = (squares - mean.square()).maximum(0.0);
    (mean, var)
}

/// `(x - mean) * (scale / √(var + epsilon)) + bias`. Scale and bias are brought to this shape
/// before.
#[track_caller]
fn normalize(
    x: Tensor,
    (mean, var): (Option<Tensor>, Tensor),
    epsilon: f64,
    [scale, bias]: [&Option<Tensor>; 2],
    shape: &[isize],
) -> Tensor {
    let broadcast = |part: &Tensor| part.astype(x.dtype()).reshape(shape);
    let y = match mean {
        Some(mean) => &x - mean,
        None => x.clone(),
    };
    let factor = (var + epsilon).rsqrt();
    let factor = match scale {
        Some(scale) => factor * broadcast(scale),
        None => factor,
    };
    match bias {
        Some(bias) => y * factor + broadcast(bias),
        None => y * factor,
    }
}

/// The dtype that statistics of tensors of this dtype are computed in.
fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `x` if it has a floating dtype, that of the parameters where there are some.
#[track_caller]
fn with_dtype(what: &str, parts: [&Option<Tensor>; 2], x: Tensor) -> Tensor {
    let wanted = parts.into_iter().flatten().map(Tensor::dtype).next();
    let right = x.dtype().is_float() && wanted.is_none_or(|wanted| wanted == x.dtype());
    if right || x.check().is_err() {
        return x;
    }
    let wanted = wanted.map_or("a floating dtype".into(), |dtype| format!("dtype {dtype}"));
    let message = format!(
        "{what}: the input must have {wanted}, as the parameters have, but it is {}; convert it with \
         `astype`, or build the layer with `param_dtype`",
        x.aval(),
    );
    poison(Error::dtype(message), &[&x])
}

/// Layer normalisation (Ba et al., 2016), `nnx.LayerNorm`: every slice along the last axis gets
/// mean 0 and variance 1, and then the learned scale and bias.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let layer = nn::LayerNorm::new(&mut nn::Rngs::new(0), 2);
/// let y = layer.call(&Tensor::new(&[1.0f32, 3.0, -4.0, 4.0], [2, 2]));
/// assert!((y.to_vec::<f32>()?[1] - 1.0).abs() < 1e-5);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct LayerNorm {
    /// `[num_features]`, if there is one.
    pub scale: Option<Tensor>,
    /// `[num_features]`, if there is one.
    pub bias: Option<Tensor>,
    #[tree(static)]
    num_features: usize,
    #[tree(static)]
    epsilon: f64,
}

impl LayerNorm {
    /// A layer with a scale of ones and a bias of zeros, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, num_features: usize) -> LayerNorm {
        LayerNorm::config(num_features).build(rngs)
    }

    /// The configuration of such a layer, to be changed and built.
    pub fn config(num_features: usize) -> NormConfig<LayerNorm> {
        NormConfig::new(num_features, 1e-6)
    }

    /// Normalises `x`, shape `[.., num_features]`; the result has its type.
    ///
    /// Fails if the last axis has another size, or if the dtype is not that of the parameters.
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        let x = with_features("LayerNorm", (self.num_features, -1), x.clone());
        let x = with_dtype("LayerNorm", [&self.scale, &self.bias], x);
        composed("LayerNorm", (self.clone(), x), |(layer, x)| {
            let wide = x.astype(statistics_dtype(x.dtype()));
            let (mean, var) = moments(&wide, (-1).into());
            let parts = [&layer.scale, &layer.bias];
            normalize(wide, (Some(mean), var), layer.epsilon, parts, &[-1]).astype(x.dtype())
        })
    }
}

impl Norm for LayerNorm {
    const NAME: &str = "LayerNorm";

    #[track_caller]
    fn draw(config: &NormConfig<LayerNorm>, rngs: &mut Rngs) -> LayerNorm {
        LayerNorm {
            scale: config.draw_scale(rngs),
            bias: config.draw_bias(rngs),
            num_features: config.num_features,
            epsilon: config.epsilon,
        }
    }
}

/// Normalisation by the root mean square (Zhang and Sennrich, 2019), `nnx.RMSNorm`: as
/// [`LayerNorm`], with no mean subtracted and no bias added.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let layer = nn::RmsNorm::new(&mut nn::Rngs::new(0), 2);
/// let y = layer.call(&Tensor::new(&[3.0f32, 3.0], [2]));
/// assert!((y.to_vec::<f32>()?[1] - 1.0).abs() < 1e-5);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct RmsNorm {
    /// `[num_features]`, if there is one.
    pub scale: Option<Tensor>,
    #[tree(static)]
    num_features: usize,
    #[tree(static)]
    epsilon: f64,
}

impl RmsNorm {
    /// A layer with a scale of ones, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, num_features: usize) -> RmsNorm {
        RmsNorm::config(num_features).build(rngs)
    }

    /// The configuration of such a layer, to be changed and built.
    pub fn config(num_features: usize) -> NormConfig<RmsNorm> {
        NormConfig::new(num_features, 1e-6)
    }

    /// Normalises `x`, shape `[.., num_features]`; the result has its type.
    ///
    /// Fails if the last axis has another size, or if the dtype is not that of the parameters.
    #[track_caller]
    pub fn call(&self, x: &Tensor) -> Tensor {
        let x = with_features("RmsNorm", (self.num_features, -1), x.clone());
        let x = with_dtype("RmsNorm", [&self.scale, &None], x);
        composed("RmsNorm", (self.clone(), x), |(layer, x)| {
            let wide = x.astype(statistics_dtype(x.dtype()));
            let square = wide.square().mean(keepdims(-1));
            let parts = [&layer.scale, &None];
            normalize(wide, (None, square), layer.epsilon, parts, &[-1]).astype(x.dtype())
        })
    }
}

impl Norm for RmsNorm {
    const NAME: &str = "RmsNorm";

    #[track_caller]
    fn draw(config: &NormConfig<RmsNorm>, rngs: &mut Rngs) -> RmsNorm {
        RmsNorm {
            scale: config.draw_scale(rngs),
            num_features: config.num_features,
            epsilon: config.epsilon,
        }
    }
}

/// Batch normalisation (Ioffe and Szegedy, 2015), `nnx.BatchNorm`: every feature gets mean 0 and
/// variance 1 over all other axes, and then the learned scale and bias.
///
/// When the layer is trained, a call takes the statistics of the batch and moves the running ones
/// towards them: `mean = momentum * mean + (1 - momentum) * batch mean`. In [`Mode::Eval`] it uses
/// the running ones. These are state, and no gradient goes through them.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let mut layer = nn::BatchNorm::config(2).momentum(0.9).build(&mut nn::Rngs::new(0));
/// let x = Tensor::new(&[1.0f32, 10.0, 3.0, 30.0], [2, 2]);
/// layer.call(&x);
/// assert_eq!(layer.mean.to_vec::<f32>()?, [0.2, 2.0]);
/// nn::eval(&mut layer);
/// layer.call(&x); // changes nothing
/// assert_eq!(layer.mean.to_vec::<f32>()?, [0.2, 2.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[derive(Clone, Debug, Tree)]
pub struct BatchNorm {
    /// `[num_features]`, if there is one.
    pub scale: Option<Tensor>,
    /// `[num_features]`, if there is one.
    pub bias: Option<Tensor>,
    /// The running mean, `[num_features]`, `f32` (`f64` with parameters of that).
    #[tree(state)]
    pub mean: Tensor,
    /// The running variance, of the same type.
    #[tree(state)]
    pub var: Tensor,
    /// Whether the running statistics are used, or changed.
    pub mode: Mode,
    #[tree(static)]
    num_features: usize,
    #[tree(static)]
    axis: isize,
    #[tree(static)]
    momentum: f64,
    #[tree(static)]
    epsilon: f64,
}

impl BatchNorm {
    /// A layer with a scale of ones, a bias of zeros, a running mean of zeros and a running
    /// variance of ones, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, num_features: usize) -> BatchNorm {
        BatchNorm::config(num_features).build(rngs)
    }

    /// The configuration of such a layer, to be changed and built.
    pub fn config(num_features: usize) -> NormConfig<BatchNorm> {
        NormConfig::new(num_features, 1e-5)
    }

    /// Normalises `x`, by default of shape `[.., num_features]`; the result has its type.
    ///
    /// Fails if the axis of the features has another size, or if the dtype is not that of the
    /// parameters.
    #[track_caller]
    pub fn call(&mut self, x: &Tensor) -> Tensor {
        let x = with_features("BatchNorm", (self.num_features, self.axis), x.clone());
        let x = with_dtype("BatchNorm", [&self.scale, &self.bias], x);
        // Where an error was made before, any axis will do.
        let (axis, shape) = self.feature_shape(&x).unwrap_or((0, vec![1; x.rank()]));
        let others = (0..x.rank()).filter(|&i| i != axis).map(|i| i as isize);
        let others: Vec<isize> = others.collect();
        let inputs = (self.clone(), x);
        let (y, statistics) = composed("BatchNorm", inputs, |(layer, x)| {
            let wide = x.astype(statistics_dtype(x.dtype()));
            let (mean, var) = match layer.mode {
                Mode::Train => moments(&wide, others.into()),
                Mode::Eval => (layer.mean.reshape(&shape), layer.var.reshape(&shape)),
            };
            let moved = (layer.mode == Mode::Train).then(|| {
                let batch = [&mean, &var].map(|part| part.reshape([-1]));
                let moved = [&layer.mean, &layer.var].into_iter().zip(batch).map(|(old, new)| {
                    let new = new.astype(old.dtype());
                    stop_gradient(old * layer.momentum + new * (1.0 - layer.momentum))
                });
                moved.collect::<Vec<Tensor>>()
            });
            let parts = [&layer.scale, &layer.bias];
            let [mean, var] = [mean, var].map(|part| part.astype(wide.dtype()));
            let y = normalize(wide, (Some(mean), var), layer.epsilon, parts, &shape);
            (y.astype(x.dtype()), moved)
        });
        // After a mistake the statistics are as they were.
        if let (Some([mean, var]), Ok(())) = (statistics.as_deref(), y.check()) {
            (self.mean, self.var) = (mean.clone(), var.clone());
        }
        y
    }

    /// The axis of the features, and the shape that their parameters have beside `x`.
    fn feature_shape(&self, x: &Tensor) -> Result<(usize, Vec<isize>)> {
        let axis = resolve_axis("BatchNorm", self.axis, x.rank())?;
        let mut shape = vec![1; x.rank()];
        shape[axis] = -1;
        Ok((axis, shape))
    }
}

impl Norm for BatchNorm {
    const NAME: &str = "BatchNorm";

    #[track_caller]
    fn draw(config: &NormConfig<BatchNorm>, rngs: &mut Rngs) -> BatchNorm {
        let (shape, dtype): (Shape, _) =
            (vec![config.num_features], statistics_dtype(config.param_dtype));
        BatchNorm {
            scale: config.draw_scale(rngs),
            bias: config.draw_bias(rngs),
            mean: Tensor::zeros(shape.clone(), dtype),
            var: Tensor::ones(shape, dtype),
            mode: config.mode,
            num_features: config.num_features,
            axis: config.axis,
            momentum: config.momentum,
            epsilon: config.epsilon,
        }
    }
}
