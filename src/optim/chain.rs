//! Several transformations one after the other.

use super::GradientTransformation;
use crate::error::Result;
use crate::tree::Tree;
use crate::tuples::each_tuple;

/// Applies transformations one after the other: each makes updates of those of the one before;
/// `optax.chain`. Takes a tuple of up to eight, whose states are a tuple too.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let optimizer = optim::chain((optim::clip(1.0), optim::sgd(0.1)));
/// let w = Tensor::zeros([2], DType::F32);
/// let grads = Tensor::new(&[0.5f32, 100.0], [2]);
/// let (updates, _state) = optimizer.update(grads, optimizer.init(&w), &w);
/// assert_eq!(updates.to_vec::<f32>()?, [-0.05, -0.1]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn chain<T: Transformations>(transformations: T) -> Chain<T> {
    Chain(transformations)
}

/// Transformations that are applied one after the other; see [`chain`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct Chain<T>(pub(super) T);

impl<T: Transformations> GradientTransformation for Chain<T> {
    type State<P: Tree> = T::States<P>;

    fn init<P: Tree>(&self, params: &P) -> T::States<P> {
        self.0.init(params)
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        states: T::States<P>,
        params: &P,
    ) -> Result<(P, T::States<P>)> {
        self.0.try_update(updates, states, params)
    }
}

/// A tuple of transformations.
pub trait Transformations {
    /// The tuple of their states.
    type States<P: Tree>: Tree;

    #[doc(hidden)]
    fn init<P: Tree>(&self, params: &P) -> Self::States<P>;

    #[doc(hidden)]
    fn try_update<P: Tree>(
        &self,
        updates: P,
        states: Self::States<P>,
        params: &P,
    ) -> Result<(P, Self::States<P>)>;
}

macro_rules! tuples {
    ($(($($T:ident $i:tt),+))*) => {$(
        impl<$($T: GradientTransformation),+> Transformations for ($($T,)+) {
            type States<P: Tree> = ($($T::State<P>,)+);

            fn init<P: Tree>(&self, params: &P) -> Self::States<P> {
                ($(self.$i.init(params),)+)
            }

            fn try_update<P: Tree>(
                &self,
                mut updates: P,
                mut states: Self::States<P>,
                params: &P,
            ) -> Result<(P, Self::States<P>)> {
                $((updates, states.$i) = self.$i.try_update(updates, states.$i, params)?;)+
                Ok((updates, states))
            }
        }
    )*};
}

each_tuple!(tuples);
