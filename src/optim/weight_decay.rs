//! Weight decay.

use std::sync::Arc;

use super::schedule::Schedule;
use super::{CountState, GradientTransformation, leaves};
use crate::error::{Location, Result};
use crate::tree::Tree;

/// Adds the parameters, times `weight_decay`, to the updates; `optax.add_decayed_weights`.
///
/// It stands before the learning rate, which so scales the decay too.
#[track_caller]
pub fn add_decayed_weights(weight_decay: impl Schedule + 'static) -> AddDecayedWeights {
    let location = std::panic::Location::caller();
    AddDecayedWeights { weight_decay: Arc::new(weight_decay), location }
}

/// See [`add_decayed_weights`].
#[derive(Clone, Debug)]
#[must_use = "an optimiser does nothing until it makes an update"]
pub struct AddDecayedWeights {
    pub(super) weight_decay: Arc<dyn Schedule>,
    location: Location,
}

impl GradientTransformation for AddDecayedWeights {
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
        self.weight_decay.check("weight_decay").map_err(|error| error.at(self.location))?;
        let rate = self.weight_decay.at(&state.count, leaves::common_dtype(params));
        let [updates] = leaves::map(params, [&updates], |p, [u]| [u + rate.astype(p.dtype()) * p])?;
        Ok((updates, state.next()))
    }
}
