//! Embeddings.

use onetrace_derive::Tree;

use super::init::{Distribution, Mode};
use super::{Initializer, Rngs, build, with_features};
use crate::aval::DType;
use crate::error::Error;
use crate::tensor::Tensor;
use crate::trace::{poison, scope};

/// A vector for each integer; `nnx.Embed`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let embed = nn::Embed::new(&mut nn::Rngs::new(0), 5, 3);
/// let vectors = embed.call(&Tensor::new(&[0i32, 4, 4, 1], [2, 2]));
/// assert_eq!(vectors.shape(), [2, 2, 3]);
/// let logits = embed.attend(&vectors); // the product with each of the five vectors
/// assert_eq!(logits.shape(), [2, 2, 5]);
/// ```
#[derive(Clone, Debug, Tree)]
pub struct Embed {
    /// `[num_embeddings, features]`.
    pub embedding: Tensor,
}

/// What an [`Embed`] is made from. The names are those of the arguments of `nnx.Embed`.
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is built"]
pub struct EmbedConfig {
    num_embeddings: usize,
    features: usize,
    embedding_init: Initializer,
    param_dtype: DType,
}

impl Embed {
    /// Vectors of normal numbers of variance `1 / features`, `f32`.
    #[track_caller]
    pub fn new(rngs: &mut Rngs, num_embeddings: usize, features: usize) -> Embed {
        Embed::config(num_embeddings, features).build(rngs)
    }

    /// The configuration of such a layer, to be changed and built.
    pub fn config(num_embeddings: usize, features: usize) -> EmbedConfig {
        EmbedConfig {
            num_embeddings,
            features,
            embedding_init: Initializer::VarianceScaling {
                scale: 1.0,
                mode: Mode::FanIn,
                distribution: Distribution::Normal,
                in_axis: -2,
                out_axis: 0,
            },
            param_dtype: DType::F32,
        }
    }

    /// The vectors of these integers, shape `[.., features]` for integers of shape `[..]`.
    ///
    /// Negative integers count from the back. Where one is out of range, the vector is NaN; where
    /// there is one vector only, it is that for any integer. Fails if the dtype is not an integer
    /// one.
    #[track_caller]
    pub fn call(&self, indices: &Tensor) -> Tensor {
        if indices.check().is_err() || !indices.dtype().is_int() {
            let message = format!(
                "Embed: the input must be integers, the numbers of vectors, but it is {}",
                indices.aval(),
            );
            return poison(Error::dtype(message), &[indices]);
        }
        scope::library_scope("Embed", || match *self.embedding.shape() {
            [1, features] => self.embedding.broadcast_to(&[indices.shape(), &[features]].concat()),
            _ => self.embedding.take(indices, 0),
        })
    }

    /// The product of `query`, shape `[.., features]`, with each of the vectors, shape
    /// `[.., num_embeddings]`: a layer of logits that shares its weights with the embedding.
    ///
    /// Fails if the last axis has another size, or if the dtype is not that of the vectors.
    #[track_caller]
    pub fn attend(&self, query: &Tensor) -> Tensor {
        scope::library_scope("Embed", || {
            let features = self.embedding.shape().last().copied().unwrap_or(0);
            with_features("Embed", (features, -1), query.clone()).dot(&self.embedding.t())
        })
    }
}

impl EmbedConfig {
    /// How the vectors are drawn.
    pub fn embedding_init(mut self, embedding_init: Initializer) -> EmbedConfig {
        self.embedding_init = embedding_init;
        self
    }

    /// The dtype of the vectors; by default `f32`.
    pub fn param_dtype(mut self, param_dtype: DType) -> EmbedConfig {
        self.param_dtype = param_dtype;
        self
    }

    /// Draws the vectors with one key from the stream `params`.
    #[track_caller]
    pub fn build(&self, rngs: &mut Rngs) -> Embed {
        let shape = [self.num_embeddings, self.features];
        build("Embed", rngs, |rngs| Embed {
            embedding: self.embedding_init.init(&rngs.params(), &shape, self.param_dtype),
        })
    }
}
