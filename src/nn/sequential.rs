//! Layers one after the other.

use onetrace_derive::Tree;

use super::{BatchNorm, Dropout, Embed, LayerNorm, Linear, RmsNorm};
use crate::tensor::Tensor;
use crate::trace::scope;
use crate::tree::{Node, Path, Tree};
use crate::tuples::each_tuple;

/// What maps a tensor to a tensor, and may change its own state on the way.
///
/// # Examples
/// A layer of your own, in a [`Sequential`]:
/// ```
/// use onetrace::prelude::*;
///
/// #[derive(Clone, Tree)]
/// struct Residual {
///     dense: nn::Linear,
/// }
///
/// impl nn::Layer for Residual {
///     fn forward(&mut self, x: &Tensor) -> Tensor {
///         x + self.dense.call(x).tanh()
///     }
/// }
///
/// let rngs = &mut nn::Rngs::new(0);
/// let residual = Residual { dense: nn::Linear::new(rngs, 4, 4) };
/// let mut model = nn::Sequential::new((residual, nn::Linear::new(rngs, 4, 2)));
/// assert_eq!(model.call(&Tensor::ones([5, 4], DType::F32)).shape(), [5, 2]);
/// ```
pub trait Layer {
    /// What the layer makes of `x`.
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor;
}

/// Layers of which each gets what the one before makes; `nnx.Sequential`. They are a tuple, or a
/// `Vec` where all are of one type.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let mut mlp = nn::Sequential::new((
///     nn::Linear::new(rngs, 4, 8),
///     nn::Activation::Relu,
///     nn::Dropout::new(rngs, 0.1),
///     nn::Linear::new(rngs, 8, 2),
/// ));
/// assert_eq!(mlp.call(&Tensor::ones([5, 4], DType::F32)).shape(), [5, 2]);
/// assert_eq!(tree::paths(&mlp)[0], "layers.0.kernel");
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Sequential<L> {
    /// The layers.
    pub layers: L,
}

impl<L: Layer + Tree> Sequential<L> {
    /// These layers, one after the other.
    pub fn new(layers: L) -> Sequential<L> {
        Sequential { layers }
    }

    /// What the last layer makes of what those before it make of `x`.
    #[track_caller]
    pub fn call(&mut self, x: &Tensor) -> Tensor {
        scope::library_scope("Sequential", || self.layers.forward(x))
    }
}

impl<L: Layer + Tree> Layer for Sequential<L> {
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor {
        self.call(x)
    }
}

macro_rules! layers {
    ($($Layer:ident)*) => {$(
        impl Layer for $Layer {
            #[track_caller]
            fn forward(&mut self, x: &Tensor) -> Tensor {
                self.call(x)
            }
        }
    )*};
}

layers! { BatchNorm Dropout Embed LayerNorm Linear RmsNorm }

impl<L: Layer> Layer for Vec<L> {
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for layer in self {
            x = layer.forward(&x);
        }
        x
    }
}

macro_rules! tuples_of_layers {
    ($(($($L:ident $i:tt),+))*) => {$(
        impl<$($L: Layer),+> Layer for ($($L,)+) {
            #[track_caller]
            fn forward(&mut self, x: &Tensor) -> Tensor {
                let x = x.clone();
                $(let x = self.$i.forward(&x);)+
                x
            }
        }
    )*};
}

each_tuple!(tuples_of_layers);

/// A function of each element, as a layer without parameters. Each is the method of [`Tensor`] of
/// that name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// [`Tensor::elu`] with `alpha` 1.
    Elu,
    /// [`Tensor::gelu`], approximated.
    Gelu,
    /// [`Tensor::leaky_relu`] with this slope.
    LeakyRelu(f64),
    /// [`Tensor::relu`].
    Relu,
    /// [`Tensor::sigmoid`].
    Sigmoid,
    /// [`Tensor::silu`].
    Silu,
    /// [`Tensor::softplus`].
    Softplus,
    /// [`Tensor::tanh`].
    Tanh,
}

impl Layer for Activation {
    #[track_caller]
    fn forward(&mut self, x: &Tensor) -> Tensor {
        match *self {
            Activation::Elu => x.elu(1.0),
            Activation::Gelu => x.gelu(),
            Activation::LeakyRelu(slope) => x.leaky_relu(slope),
            Activation::Relu => x.relu(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Silu => x.silu(),
            Activation::Softplus => x.softplus(),
            Activation::Tanh => x.tanh(),
        }
    }
}

impl Tree for Activation {
    fn visit<'a>(&'a self, path: &mut Path, f: &mut dyn FnMut(&Path, Node<'a>)) {
        f(path, Node::Static(self));
    }

    fn map(&self, _: &mut Path, _: &mut dyn FnMut(&Path, &Tensor) -> Tensor) -> Self {
        *self
    }
}
