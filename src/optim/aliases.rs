//! The optimisers that have names: chains of transformations.

use std::sync::Arc;

use super::schedule::Schedule;
use super::{
    AddDecayedWeights, Chain, ScaleByAdam, ScaleByLearningRate, ScaleByRms, ScaleByRss, Trace,
    add_decayed_weights, chain, scale_by_adam, scale_by_learning_rate, scale_by_rms, scale_by_rss,
};
use crate::aval::DType;

/// Stochastic gradient descent, with momentum if it is given; `optax.sgd`.
///
/// [Sutskever et al., "On the importance of initialization and momentum in deep learning",
/// 2013](http://proceedings.mlr.press/v28/sutskever13.pdf).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let optimizer = optim::sgd(0.1).momentum(0.9).nesterov(true);
/// let (w, g) = (Tensor::ones([1], DType::F32), Tensor::ones([1], DType::F32));
/// let (updates, _) = optimizer.update(g, optimizer.init(&w), &w);
/// assert_eq!(updates.to_vec::<f32>()?, [-0.19]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn sgd(learning_rate: impl Schedule + 'static) -> Sgd {
    chain((Trace::identity(), scale_by_learning_rate(learning_rate)))
}

/// See [`sgd`].
pub type Sgd = Chain<(Trace, ScaleByLearningRate)>;

/// Arguments of [`sgd`].
impl Sgd {
    /// The decay of the sum of gradients; without it there is no sum.
    pub fn momentum(mut self, momentum: f64) -> Sgd {
        self.0.0.decay = Some(momentum);
        self
    }

    /// Whether momentum is Nesterov's.
    pub fn nesterov(mut self, nesterov: bool) -> Sgd {
        self.0.0.nesterov = nesterov;
        self
    }

    /// The dtype of the sum of gradients; that of the parameters if not given.
    pub fn accumulator_dtype(mut self, dtype: DType) -> Sgd {
        self.0.0.accumulator_dtype = Some(dtype);
        self
    }
}

/// Adam; `optax.adam`. With averages `m` of gradients and `v` of their squares, both corrected for
/// having begun at zero, the update is `-learning_rate * m / (√(v + eps_root) + eps)`.
///
/// [Kingma and Ba, "Adam: a method for stochastic optimization",
/// 2014](https://arxiv.org/abs/1412.6980).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let optimizer = optim::adam(1e-2).b2(0.99);
/// let w = Tensor::zeros([2], DType::F32);
/// let state = optimizer.init(&w);
/// assert_eq!(tree::paths(&state), ["0.count", "0.mu", "0.nu", "1.count"]);
/// let (updates, _) = optimizer.update(Tensor::new(&[3.0f32, -0.1], [2]), state, &w);
/// assert!((updates.to_vec::<f32>()?[1] - 1e-2).abs() < 1e-6); // the first step has this length
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn adam(learning_rate: impl Schedule + 'static) -> Adam {
    chain((scale_by_adam(), scale_by_learning_rate(learning_rate)))
}

/// See [`adam`].
pub type Adam = Chain<(ScaleByAdam, ScaleByLearningRate)>;

/// Adam with decoupled weight decay, 1e-4 if not given; `optax.adamw`. As there, the decay is
/// multiplied by the learning rate.
///
/// [Loshchilov and Hutter, "Decoupled weight decay regularization",
/// 2019](https://arxiv.org/abs/1711.05101).
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rate = optim::cosine_decay_schedule(0.1, 1000); // 0.1 at first
/// let optimizer = optim::adamw(rate).weight_decay(0.5);
/// let w = Tensor::new(&[1.0f32, -2.0], [2]);
/// let grads = grad(|w: Tensor| w.square().sum(..))(w.clone());
/// let (w, _state) = optimizer.step(w.clone(), grads, optimizer.init(&w));
/// let w = w.to_vec::<f32>()?; // 0.1 towards zero, and 0.1 * 0.5 of what it was
/// assert!((w[0] - 0.85).abs() < 1e-5 && (w[1] + 1.8).abs() < 1e-5);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn adamw(learning_rate: impl Schedule + 'static) -> AdamW {
    let decay = add_decayed_weights(1e-4);
    chain((scale_by_adam(), decay, scale_by_learning_rate(learning_rate)))
}

/// See [`adamw`].
pub type AdamW = Chain<(ScaleByAdam, AddDecayedWeights, ScaleByLearningRate)>;

/// Arguments of [`adamw`].
impl AdamW {
    /// The part of the parameters that is added to the updates; 1e-4 if not given.
    pub fn weight_decay(mut self, weight_decay: impl Schedule + 'static) -> AdamW {
        self.0.1.weight_decay = Arc::new(weight_decay);
        self
    }
}

/// The arguments that an optimiser hands to its first transformation.
macro_rules! arguments_of_the_first {
    ($($optimizer:ident: $first:ident { $($(#[$doc:meta])* $name:ident: $ty:ty),+ })*) => {$(
        #[doc = concat!("Arguments that it has in common with [`", stringify!($first), "`].")]
        impl $optimizer {
            $(
                $(#[$doc])*
                pub fn $name(mut self, $name: $ty) -> $optimizer {
                    self.0.0 = self.0.0.$name($name);
                    self
                }
            )+
        }
    )*};
}

macro_rules! arguments_of_adam {
    ($($optimizer:ident)+) => {$(
        arguments_of_the_first! {
            $optimizer: ScaleByAdam {
                /// The decay of the average of gradients; 0.9 if not given.
                b1: f64,
                /// The decay of the average of squared gradients; 0.999 if not given.
                b2: f64,
                /// What is added to the root in the denominator; 1e-8 if not given.
                eps: f64,
                /// What is added under the root in the denominator; 0 if not given.
                eps_root: f64,
                /// The dtype of the average of gradients; that of the parameters if not given.
                mu_dtype: DType,
                /// Whether momentum is Nesterov's.
                nesterov: bool
            }
        }
    )+};
}

arguments_of_adam! { Adam AdamW }

arguments_of_the_first! {
    RmsProp: ScaleByRms {
        /// The decay of the averages; 0.9 if not given.
        decay: f64,
        /// What is added in the denominator; 1e-8 if not given.
        eps: f64,
        /// What the average of squares begins with; 0 if not given.
        initial_scale: f64,
        /// Whether `eps` is added under the root, which is so if not given, or to it.
        eps_in_sqrt: bool,
        /// Whether averages are corrected for what they began with.
        bias_correction: bool,
        /// Whether the square of the average is taken off the average of squares.
        centered: bool
    }
    Adagrad: ScaleByRss {
        /// What the sums begin with; 0.1 if not given.
        initial_accumulator_value: f64,
        /// What is added under the root; 1e-7 if not given.
        eps: f64
    }
}

/// RMSProp; `optax.rmsprop`. With an average `v` of squared gradients, the update is
/// `-learning_rate * g / √(v + eps)`, to which momentum is applied if it is given.
///
/// Hinton, "Overview of mini-batch gradient descent", 2012; centred as in [Graves, "Generating
/// sequences with recurrent neural networks", 2014](https://arxiv.org/abs/1308.0850v5).
#[track_caller]
pub fn rmsprop(learning_rate: impl Schedule + 'static) -> RmsProp {
    chain((scale_by_rms(), scale_by_learning_rate(learning_rate), Trace::identity()))
}

/// See [`rmsprop`].
pub type RmsProp = Chain<(ScaleByRms, ScaleByLearningRate, Trace)>;

/// The other arguments of [`rmsprop`].
impl RmsProp {
    /// The decay of the sum of updates; without it there is no sum.
    pub fn momentum(mut self, momentum: f64) -> RmsProp {
        self.0.2.decay = Some(momentum);
        self
    }

    /// Whether momentum is Nesterov's.
    pub fn nesterov(mut self, nesterov: bool) -> RmsProp {
        self.0.2.nesterov = nesterov;
        self
    }
}

/// Adagrad; `optax.adagrad`. The update is `-learning_rate * g / √(s + eps)`, where `s` is the sum
/// of all squared gradients.
///
/// [Duchi et al., "Adaptive subgradient methods", 2011](https://jmlr.org/papers/v12/duchi11a.html).
#[track_caller]
pub fn adagrad(learning_rate: impl Schedule + 'static) -> Adagrad {
    chain((scale_by_rss(), scale_by_learning_rate(learning_rate)))
}

/// See [`adagrad`].
pub type Adagrad = Chain<(ScaleByRss, ScaleByLearningRate)>;
