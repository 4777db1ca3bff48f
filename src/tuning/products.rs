//! Which kernel computes products in loops: XLA's, or ours for [packed
//! matrices](crate::ops::panel_dot).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::ops::panel_dot;

/// What computes the products of loops with matrices that are the same at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Products {
    /// The code of XLA.
    #[serde(rename = "xla")]
    Xla,
    /// The kernel for packed matrices, where it is worth it.
    #[serde(rename = "packed")]
    Packed,
}

impl Products {
    /// Whether programs for the device have a choice.
    pub fn can_be_chosen(device: &Device) -> bool {
        device.platform() == "cpu" && panel_dot::is_available()
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
