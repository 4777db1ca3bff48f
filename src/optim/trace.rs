//! Momentum.

use onetrace_derive::Tree;

use super::{GradientTransformation, check, leaves};
use crate::aval::DType;
use crate::error::{Location, Result};
use crate::tree::Tree;

/// Adds up updates, those of the past decayed: `t' = g + decay * t`; `optax.trace`.
#[track_caller]
pub fn trace(decay: f64) -> Trace {
    Trace { decay: Some(decay), ..Trace::identity() }
}

/// See [`trace`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct Trace {
    /// None leaves updates as they are.
    pub(super) decay: Option<f64>,
    pub(super) nesterov: bool,
    pub(super) accumulator_dtype: Option<DType>,
    location: Location,
}

impl Trace {
    #[track_caller]
    pub(super) fn identity() -> Trace {
        let location = std::panic::Location::caller();
        Trace { decay: None, nesterov: false, accumulator_dtype: None, location }
    }

    /// Whether updates are `g + decay * t'` and not `t'`.
    pub fn nesterov(mut self, nesterov: bool) -> Trace {
        self.nesterov = nesterov;
        self
    }

    /// The dtype of what is added up; that of the parameters if not given.
    pub fn accumulator_dtype(mut self, dtype: DType) -> Trace {
        self.accumulator_dtype = Some(dtype);
        self
    }
}

/// The state of a [`trace`].
#[derive(Clone, Debug, Tree)]
pub struct TraceState<P> {
    /// The sums; none without momentum.
    pub trace: Option<P>,
}

impl GradientTransformation for Trace {
    type State<P: Tree> = TraceState<P>;

    fn init<P: Tree>(&self, params: &P) -> TraceState<P> {
        let zeros = |_| leaves::full_like(params, 0.0, self.accumulator_dtype);
        TraceState { trace: self.decay.map(zeros) }
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: TraceState<P>,
        params: &P,
    ) -> Result<(P, TraceState<P>)> {
        let dtype = self.accumulator_dtype;
        let checked =
            dtype.map_or(Ok(()), |dtype| check::float("trace", "accumulator_dtype", dtype));
        checked.map_err(|error| error.at(self.location))?;
        check::same_parts("trace", "trace", self.decay.is_some(), state.trace.is_some())?;
        let (Some(decay), Some(trace)) = (self.decay, state.trace) else {
            return Ok((updates, TraceState { trace: None }));
        };
        check::decay("trace", "the decay of the momentum", decay)
            .map_err(|error| error.at(self.location))?;
        check::state("trace", "trace", &trace, params, dtype)?;
        let [updates, trace] = leaves::map(params, [&updates, &trace], |_, [g, t]| {
            let wide = leaves::promoted(g.dtype(), t.dtype());
            let sum = |t: crate::Tensor| g.astype(wide) + (t * decay).astype(wide);
            let next = sum(t.clone());
            let update = if self.nesterov { sum(next.clone()) } else { next.clone() };
            [update.astype(g.dtype()), next.astype(t.dtype())]
        })?;
        Ok((updates, TraceState { trace: Some(trace) }))
    }
}
