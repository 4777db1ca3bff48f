//! Scopes: names for parts of a program, and the place in the user's code they stand for.

use std::cell::RefCell;
use std::sync::Arc;

use crate::error::Location;
use crate::ir::Source;

struct Scope {
    /// The names of this scope and those around it, with slashes between them; none where what is
    /// recorded stands in for an equation outside of any scope.
    path: Option<Arc<str>>,
    /// The call of the library that opened the scope: what is recorded in it was asked for there.
    location: Option<Location>,
}

thread_local! {
    static SCOPES: RefCell<Vec<Scope>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` in a scope; what it records was asked for at `location`, where that is given.
pub(crate) fn enter<R>(name: &str, location: Option<Location>, f: impl FnOnce() -> R) -> R {
    let scope = SCOPES.with_borrow(|scopes| {
        let outer = scopes.last();
        let path = match outer.and_then(|scope| scope.path.as_deref()) {
            Some(path) => format!("{path}/{name}").into(),
            None => name.into(),
        };
        let outer = outer.and_then(|scope| scope.location);
        Scope { path: Some(path), location: outer.or(location) }
    });
    run_in(scope, f)
}

/// Runs `f`, which records what was asked for at `location`.
pub(crate) fn at<R>(location: Location, f: impl FnOnce() -> R) -> R {
    on_behalf_of(&source(location), f)
}

/// Runs `f`, which records what stands for an equation that came from `source`.
pub(crate) fn on_behalf_of<R>(source: &Source, f: impl FnOnce() -> R) -> R {
    run_in(Scope { path: source.scope.clone(), location: source.location }, f)
}

fn run_in<R>(scope: Scope, f: impl FnOnce() -> R) -> R {
    /// Closes the scope even if `f` panics.
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            SCOPES.with_borrow_mut(|scopes| scopes.pop());
        }
    }

    SCOPES.with_borrow_mut(|scopes| scopes.push(scope));
    let _guard = Guard;
    f()
}

/// Names what `f` records, in the IR and in the metadata of the HLO; `jax.named_scope`.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let f = jit(|x: Tensor| onetrace::named_scope("encoder", || x.tanh()));
/// let x = Tensor::ones([3], DType::F32);
/// assert!(f.lower(&x)?.hlo()?.contains("encoder/tanh"));
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn named_scope<R>(name: &str, f: impl FnOnce() -> R) -> R {
    enter(name, None, f)
}

/// A scope of the library's own: what is recorded in it comes, for the user, from the call of the
/// library function, which must be `#[track_caller]`.
#[track_caller]
pub(crate) fn library_scope<R>(name: &str, f: impl FnOnce() -> R) -> R {
    enter(name, Some(std::panic::Location::caller()), f)
}

/// Where an equation recorded now, by a call at `location`, comes from.
pub(crate) fn source(location: Location) -> Source {
    SCOPES.with_borrow(|scopes| match scopes.last() {
        None => Source { location: Some(location), scope: None },
        Some(scope) => {
            Source { location: Some(scope.location.unwrap_or(location)), scope: scope.path.clone() }
        }
    })
}
