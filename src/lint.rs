//! Lints: programs that are well formed but hardly what was meant.
//!
//! A lint is reported on standard error, with its name and the place in the user's code. It can be
//! silenced for a part of a program with [`allow`], or for a whole process with the environment
//! variable `ONETRACE_ALLOW`, a list of names with commas between them.

use std::cell::RefCell;
use std::fmt;

use crate::error::Location;

/// What a lint looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// `module-in-loop`: a module is built inside the step of a loop, so that every step works
    /// with the same fresh parameters, which are computed in the loop. Build it once, outside, and
    /// let the step capture it.
    ModuleInLoop,
}

impl Lint {
    /// The name that silences it.
    pub fn name(self) -> &'static str {
        match self {
            Lint::ModuleInLoop => "module-in-loop",
        }
    }
}

/// One finding of a lint.
#[derive(Clone, Debug)]
pub struct Warning {
    /// Which lint found it.
    pub lint: Lint,
    /// What was found, and how to mend it.
    pub message: String,
    /// Where in the user's code.
    pub location: Location,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.lint.name();
        write!(f, "warning[{name}]: {}\n  at {}", self.message, self.location)?;
        write!(f, "\n  to silence it: onetrace::lint::allow(Lint::{:?}, || ..)", self.lint)
    }
}

thread_local! {
    static ALLOWED: RefCell<Vec<Lint>> = const { RefCell::new(Vec::new()) };
    static CAPTURED: RefCell<Option<Vec<Warning>>> = const { RefCell::new(None) };
}

/// Runs `f` without reports of `lint` on this thread.
pub fn allow<R>(lint: Lint, f: impl FnOnce() -> R) -> R {
    struct Guard;
    impl Drop for Guard {
        fn drop(&mut self) {
            ALLOWED.with_borrow_mut(|allowed| allowed.pop());
        }
    }
    ALLOWED.with_borrow_mut(|allowed| allowed.push(lint));
    let _guard = Guard;
    f()
}

/// Runs `f`, and returns the warnings of this thread instead of printing them.
///
/// # Examples
/// ```
/// use onetrace::lint::{self, Lint};
/// use onetrace::prelude::*;
///
/// let xs = Tensor::zeros([5, 3], DType::F32);
/// let (_, warnings) = lint::capture(|| {
///     scan(
///         |h: Tensor, x| nn::GruCell::new(&mut nn::Rngs::new(0), 3, 4).step(h, x),
///         Tensor::zeros([4], DType::F32),
///         xs,
///     )
/// });
/// assert_eq!(warnings[0].lint, Lint::ModuleInLoop);
/// ```
pub fn capture<R>(f: impl FnOnce() -> R) -> (R, Vec<Warning>) {
    struct Guard(Option<Vec<Warning>>);
    impl Drop for Guard {
        fn drop(&mut self) {
            CAPTURED.set(self.0.take());
        }
    }
    let guard = Guard(CAPTURED.replace(Some(Vec::new())));
    let result = f();
    let warnings = CAPTURED.take().unwrap_or_default();
    drop(guard);
    (result, warnings)
}

pub(crate) fn report(lint: Lint, message: String, location: Location) {
    let allowed = ALLOWED.with_borrow(|allowed| allowed.contains(&lint));
    let variable = std::env::var("ONETRACE_ALLOW").unwrap_or_default();
    if allowed || variable.split(',').any(|name| name.trim() == lint.name()) {
        return;
    }
    let warning = Warning { lint, message, location };
    CAPTURED.with_borrow_mut(|captured| match captured {
        Some(warnings) => warnings.push(warning),
        None => eprintln!("{warning}"),
    });
}
