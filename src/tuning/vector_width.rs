//! How wide the vectors are that XLA:CPU computes with.
//!
//! XLA takes 256 bits, also where the processor has 512. Wider ones take up to a tenth off a step
//! of a loop with enough products, as measured with GRUs on a processor of 2023, and more off one
//! of a gradient; on the other hand they cost about 0.1 µs in each step, which is half of a small
//! one.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::steps::Step;
use crate::device::{Device, XlaOptions};

/// The option of XLA.
const OPTION: &str = "xla_cpu_prefer_vector_width";

/// From so many multiplications in one step on, 512 bits win.
const ENOUGH: usize = 1 << 15;

/// How wide vectors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Vectors {
    /// 256 bits, which XLA takes by itself.
    #[serde(rename = "256 bits")]
    Narrow,
    /// 512 bits.
    #[serde(rename = "512 bits")]
    Wide,
}

impl Vectors {
    /// What is best for a program with loops of these steps, by what was measured; none where there
    /// is no choice or it is the user's.
    pub fn by_model(steps: &[Step], device: &Device) -> Option<Vectors> {
        let is_ours = device.platform() == "cpu"
            && has_wide_vectors()
            && !XlaOptions::is_set_for_process(OPTION);
        let enough = steps.iter().any(|step| step.multiplications >= ENOUGH);
        is_ours.then_some(if enough { Vectors::Wide } else { Vectors::Narrow })
    }

    pub fn options(self) -> XlaOptions {
        match self {
            Vectors::Narrow => XlaOptions::new(),
            Vectors::Wide => XlaOptions::new().flag(OPTION, 512),
        }
    }

    /// Whether options of the user say how wide vectors are.
    pub fn are_set_by(options: &XlaOptions) -> bool {
        options.pairs().iter().any(|(name, _)| name == OPTION)
    }

    pub fn other(self) -> Vectors {
        match self {
            Vectors::Narrow => Vectors::Wide,
            Vectors::Wide => Vectors::Narrow,
        }
    }
}

impl fmt::Display for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Vectors::Narrow => "vectors of 256 bits",
            Vectors::Wide => "vectors of 512 bits",
        })
    }
}

/// Whether the processor computes with 512 bits at its full speed. Those before Ice Lake slow down,
/// and lack these instructions.
#[cfg(target_arch = "x86_64")]
fn has_wide_vectors() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vbmi2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_wide_vectors() -> bool {
    false
}
