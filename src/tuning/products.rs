//! Which kernels compute products in loops and over all their steps: XLA's, or ours, which [pack
//! matrices](crate::ops::cpu_kernel).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::ops::cpu_kernel;

/// What computes the products of loops with matrices that are the same at every step, and those
/// over all steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Products {
    /// The code of XLA.
    #[serde(rename = "xla")]
    Xla,
    /// Our kernels, where they are worth it.
    #[serde(rename = "packed")]
    Packed,
}

impl Products {
    /// Whether programs for the device have a choice.
    pub fn can_be_chosen(device: &Device) -> bool {
        device.platform() == "cpu" && cpu_kernel::is_available()
    }

    pub fn other(self) -> Products {
        match self {
            Products::Xla => Products::Packed,
            Products::Packed => Products::Xla,
        }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Products::Xla => "products of XLA",
            Products::Packed => "products with packed matrices",
        })
    }
}
