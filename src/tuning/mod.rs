//! How a program is compiled beside what it computes: by a model of what was measured, or by what
//! is fastest on this machine.

mod autotune;
mod loop_kernel;
mod remembered;
mod steps;
mod vector_width;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::autotune::Search;
use self::loop_kernel::Loops;
use self::steps::Step;
use self::vector_width::Vectors;
use crate::device::{Device, XlaOptions};
use crate::ir::Func;

/// How a program was compiled where there is more than one way:
/// [`Compiled::tuning`](crate::Compiled::tuning).
///
/// Which way it is, is chosen by a model of the costs; [`Jit::autotune`](crate::Jit::autotune)
/// measures instead. As text it is a list of what there was a choice of:
///
/// | | |
/// |---|---|
/// | `fission`, `no fission` | whether anything [leaves the loops](crate::Fission) |
/// | `each loop one function`, `loops of tasks` | what XLA:CPU makes of loops: tasks can use several threads, and cost 0.1 to 0.3 µs each |
/// | `vectors of 256 bits`, `vectors of 512 bits` | what XLA:CPU computes with on processors with AVX-512 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tuning {
    /// None where there is nothing to take out of a loop.
    fission: Option<bool>,
    loops: Option<Loops>,
    vectors: Option<Vectors>,
}

impl Tuning {
    /// The choice of the model for a function, [simplified](Func::simplified) and
    /// [fissioned](Func::fissioned).
    pub(crate) fn by_model(simplified: &Func, fissioned: &Func, device: &Device) -> Tuning {
        let fission = (simplified != fissioned).then_some(true);
        Tuning { fission, ..Tuning::of_lowered(fissioned, device) }
    }

    /// The choice of the model for a function that is lowered as it is.
    pub(crate) fn of_lowered(func: &Func, device: &Device) -> Tuning {
        let steps = Step::all(func);
        Tuning {
            fission: None,
            loops: Loops::by_model(&steps, device),
            vectors: Vectors::by_model(&steps, device),
        }
    }

    /// What of it is still a choice where the user gives options for one compilation.
    pub(crate) fn beside(self, options: &XlaOptions) -> Tuning {
        Tuning {
            fission: self.fission,
            loops: self.loops.filter(|_| !Loops::are_set_by(options)),
            vectors: self.vectors.filter(|_| !Vectors::are_set_by(options)),
        }
    }

    /// Whether the function is lowered as it was before fission.
    pub(crate) fn is_without_fission(&self) -> bool {
        self.fission == Some(false)
    }

    /// The options of XLA: weaker than all that the user sets.
    pub(crate) fn options(&self) -> XlaOptions {
        let loops = self.loops.map(Loops::options).unwrap_or_default();
        loops.followed_by(&self.vectors.map(Vectors::options).unwrap_or_default())
    }

    /// Whether both choose of the same.
    fn is_like(&self, other: &Tuning) -> bool {
        let choices = |tuning: &Tuning| {
            (tuning.fission.is_some(), tuning.loops.is_some(), tuning.vectors.is_some())
        };
        choices(self) == choices(other)
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fission = self.fission.map(|is_on| if is_on { "fission" } else { "no fission" });
        let parts = [
            fission.map(str::to_owned),
            self.loops.map(|loops| loops.to_string()),
            self.vectors.map(|vectors| vectors.to_string()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "no choice" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}
