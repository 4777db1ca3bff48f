//! `nn::grad`: derivatives with respect to the parameters of a module.

use super::{Applied, Part, write_back};
use crate::autodiff::differentiate;
use crate::error::Location;
use crate::ops::call::composite;
use crate::tensor::Tensor;
use crate::tree::{self, Tree};

/// The value of a function of a module with a scalar result, and its gradient with respect to the
/// [parameters](tree::is_parameter) of the module; `nnx.value_and_grad`.
///
/// What the function changes in the module (batch statistics, keys) is changed in it afterwards.
/// The gradient is a module of the same type, with zeros where no parameter is. A mistake comes out
/// where the results do, and the module then is as it was: those of [`grad`](crate::grad()), and a
/// function that changes the tree of the module.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let rngs = &mut nn::Rngs::new(0);
/// let mut model = nn::Sequential::new((nn::Linear::new(rngs, 3, 2), nn::BatchNorm::new(rngs, 2)));
/// let loss = |model: &mut nn::Sequential<(nn::Linear, nn::BatchNorm)>, x: Tensor| {
///     model.call(&x).square().mean(..)
/// };
/// let x = Tensor::arange(6, DType::F32).reshape([2, 3]);
/// let (value, gradient) = nn::value_and_grad(loss)(&mut model, x);
/// assert_eq!(value.rank(), 0);
/// assert_eq!(gradient.layers.0.kernel.shape(), [3, 2]);
/// assert_ne!(model.layers.1.mean.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn value_and_grad<M: Tree, A: Tree>(
    f: impl Fn(&mut M, A) -> Tensor,
) -> impl Fn(&mut M, A) -> (Tensor, M) {
    let call = ("nn::value_and_grad", std::panic::Location::caller());
    move |module, arguments| {
        let f = |module: &mut M, arguments| (f(module, arguments), ());
        let ((value, ()), gradient) = lifted(call, f, module, arguments);
        (value, gradient)
    }
}

/// As [`value_and_grad`], for a function that also returns something else.
#[track_caller]
pub fn value_and_grad_with_aux<M: Tree, A: Tree, X: Tree>(
    f: impl Fn(&mut M, A) -> (Tensor, X),
) -> impl Fn(&mut M, A) -> ((Tensor, X), M) {
    let call = ("nn::value_and_grad", std::panic::Location::caller());
    move |module, arguments| lifted(call, &f, module, arguments)
}

/// The gradient of a function of a module, as [`value_and_grad`]; `nnx.grad`.
#[track_caller]
pub fn grad<M: Tree, A: Tree>(f: impl Fn(&mut M, A) -> Tensor) -> impl Fn(&mut M, A) -> M {
    let call = ("nn::grad", std::panic::Location::caller());
    move |module, arguments| {
        let f = |module: &mut M, arguments| (f(module, arguments), ());
        lifted(call, f, module, arguments).1
    }
}

/// As [`grad`], for a function that also returns something else, which comes with the gradient.
#[track_caller]
pub fn grad_with_aux<M: Tree, A: Tree, X: Tree>(
    f: impl Fn(&mut M, A) -> (Tensor, X),
) -> impl Fn(&mut M, A) -> (M, X) {
    let call = ("nn::grad", std::panic::Location::caller());
    move |module, arguments| {
        let ((_, aux), gradient) = lifted(call, &f, module, arguments);
        (gradient, aux)
    }
}

fn lifted<M: Tree, A: Tree, X: Tree>(
    call: (&'static str, Location),
    f: impl FnOnce(&mut M, A) -> (Tensor, X),
    module: &mut M,
    arguments: A,
) -> ((Tensor, X), M) {
    let (what, location) = call;
    let rule = "the function must not change the type of the module, but it does";
    // State is an argument of the program, too: a stream that counts makes no new one at each call.
    let inputs = (module.clone(), arguments);
    let (value, aux, gradient, changed) = composite(what, inputs, |(module, arguments)| {
        let parameters = Part::of(&module, tree::is_parameter);
        let function = |part: Part<M>| {
            let applied = Applied::of(call, rule, part.module, |module| f(module, arguments));
            let (value, aux) = applied.result;
            (value, (aux, Part { module: applied.module, chosen: applied.changed }))
        };
        let ((value, (aux, changed)), gradient) =
            differentiate(what, location, function, parameters);
        let mut chosen = gradient.chosen.into_iter();
        let gradient = tree::map(&gradient.module, |leaf| match chosen.next() {
            Some(true) => leaf.clone(),
            _ => Tensor::zeros(leaf.shape(), leaf.dtype()),
        });
        (value, aux, gradient, changed)
    });
    if value.check().is_ok() {
        write_back(module, changed.leaves());
    }
    ((value, aux), gradient)
}
