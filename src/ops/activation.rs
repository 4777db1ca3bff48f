//! Activation functions of neural networks, made of other operations. The names and formulas are
//! those of `jax.nn`.

use super::composed;
use super::domain::{Domain, require};
use super::select::select;
use crate::Tensor;

/// Activation functions. They are element-wise and keep the shape and the dtype, which must be a
/// floating one where nothing else is said. NaN stays NaN.
impl Tensor {
    /// The rectified linear unit, `max(x, 0)`; `jax.nn.relu`. Any dtype of numbers.
    #[track_caller]
    pub fn relu(&self) -> Tensor {
        or_poison!(require("relu", self, Domain::Number), self);
        // `maximum` would do, but has no one derivative at zero; here it is 0, as in JAX.
        composed("relu", self.clone(), |x| select(&x.le(0), 0, &x))
    }

    /// `x` where it is not negative and `negative_slope * x` elsewhere; `jax.nn.leaky_relu`, where
    /// the slope is 0.01 by default.
    #[track_caller]
    pub fn leaky_relu(&self, negative_slope: f64) -> Tensor {
        or_poison!(require("leaky_relu", self, Domain::Float), self);
        composed("leaky_relu", self.clone(), |x| select(&x.ge(0), &x, &x * negative_slope))
    }

    /// The exponential linear unit, `x` where it is positive and `alpha * (exp(x) - 1)` elsewhere;
    /// `jax.nn.elu`, where `alpha` is 1 by default.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        or_poison!(require("elu", self, Domain::Float), self);
        composed("elu", self.clone(), |x| {
            let positive = x.gt(0);
            // The inner select keeps the derivative of the branch not taken finite.
            select(&positive, &x, select(&positive, 0, &x).expm1() * alpha)
        })
    }

    /// The Gaussian error linear unit by its approximation with `tanh`; `jax.nn.gelu` with its
    /// defaults. See [`gelu_exact`](Tensor::gelu_exact).
    #[track_caller]
    pub fn gelu(&self) -> Tensor {
        or_poison!(require("gelu", self, Domain::Float), self);
        composed("gelu", self.clone(), |x| {
            let inner = (&x + x.powi(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
            x * ((inner.tanh() + 1.0) * 0.5)
        })
    }

    /// The Gaussian error linear unit, `x` times the distribution function of the normal
    /// distribution (Hendrycks and Gimpel, 2016); `jax.nn.gelu` with `approximate=False`.
    #[track_caller]
    pub fn gelu_exact(&self) -> Tensor {
        or_poison!(require("gelu_exact", self, Domain::Float), self);
        composed("gelu_exact", self.clone(), |x| &x * 0.5 * (-&x * 0.5f64.sqrt()).erfc())
    }

    /// The sigmoid linear unit, `x * sigmoid(x)`; `jax.nn.silu`, also called swish.
    #[doc(alias = "swish")]
    #[track_caller]
    pub fn silu(&self) -> Tensor {
        or_poison!(require("silu", self, Domain::Float), self);
        composed("silu", self.clone(), |x| &x * x.sigmoid())
    }

    /// `log(1 + exp(x))`, a smooth [`relu`](Tensor::relu); `jax.nn.softplus`.
    #[track_caller]
    pub fn softplus(&self) -> Tensor {
        or_poison!(require("softplus", self, Domain::Float), self);
        composed("softplus", self.clone(), |x| x.logaddexp(0.0))
    }

    /// The logarithm of [`sigmoid`](Tensor::sigmoid), accurate where that is small;
    /// `jax.nn.log_sigmoid`.
    #[track_caller]
    pub fn log_sigmoid(&self) -> Tensor {
        or_poison!(require("log_sigmoid", self, Domain::Float), self);
        composed("log_sigmoid", self.clone(), |x| -(-x).softplus())
    }
}
