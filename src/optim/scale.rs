//! Learning rates.

use std::sync::Arc;

use onetrace_derive::Tree;

use super::schedule::Schedule;
use super::{GradientTransformation, leaves};
use crate::aval::DType;
use crate::error::{Location, Result};
use crate::tensor::Tensor;
use crate::tree::Tree;

/// Multiplies the updates by the learning rate and turns their sign, for descent;
/// `optax.scale_by_learning_rate`.
#[track_caller]
pub fn scale_by_learning_rate(learning_rate: impl Schedule + 'static) -> ScaleByLearningRate {
    let location = std::panic::Location::caller();
    ScaleByLearningRate { learning_rate: Arc::new(learning_rate), location }
}

/// See [`scale_by_learning_rate`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct ScaleByLearningRate {
    learning_rate: Arc<dyn Schedule>,
    location: Location,
}

/// How many steps were made.
///
/// It is counted for a constant learning rate too, so that training can go on with a schedule.
#[derive(Clone, Debug, Tree)]
pub struct CountState {
    /// The number of steps, `i32[]`.
    pub count: Tensor,
}

impl CountState {
    pub(super) fn new() -> CountState {
        CountState { count: Tensor::scalar(0, DType::I32) }
    }

    pub(super) fn next(&self) -> CountState {
        CountState { count: leaves::safe_increment(&self.count) }
    }
}

impl GradientTransformation for ScaleByLearningRate {
    type State<P: Tree> = CountState;

    fn init<P: Tree>(&self, _: &P) -> CountState {
        CountState::new()
    }

    fn try_update<P: Tree>(
        &self,
        updates: P,
        state: CountState,
        params: &P,
    ) -> Result<(P, CountState)> {
        self.learning_rate.check("learning_rate").map_err(|error| error.at(self.location))?;
        let dtype = leaves::common_dtype(params);
        let factor = -self.learning_rate.at(&state.count, dtype);
        let [updates] = leaves::map(params, [&updates], |_, [u]| [factor.astype(u.dtype()) * u])?;
        Ok((updates, state.next()))
    }
}
