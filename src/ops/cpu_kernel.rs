//! What the operations share that kernels of ours compute on CPUs. They are made when a function is
//! compiled, by [`Operation::for_cpu`](super::Operation::for_cpu), and XLA knows the kernels as
//! custom calls; `xla_extension/shim` has them.

use std::sync::OnceLock;

use xla::XlaOp;

use super::{Text, panel_dot, panels, tall_dot};
use crate::aval::Aval;
use crate::error::{Error, ErrorKind, Result};
use crate::xla_ext::{self, CustomCall};

/// The columns of a panel, which is what kernels multiply with at a time: two vectors of 512 bits.
pub(super) const COLUMNS: usize = 32;

/// Whether this processor can run the kernels; XLA knows them from then on.
pub(crate) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    let register = || {
        xla_ext::register_panel_dot(panel_dot::TARGET)
            && xla_ext::register_tall_dot(tall_dot::TARGET)
            && (0..2).all(|axis| xla_ext::register_panels(panels::TARGETS[axis], axis))
    };
    *AVAILABLE.get_or_init(register)
}

/// A call of the kernel that XLA knows as `target`. Fails where the processor cannot run it.
pub(super) fn call(target: &str, inputs: &[XlaOp], result: &Aval) -> Result<Vec<XlaOp>> {
    if !is_available() {
        return Err(Error::new(
            ErrorKind::Xla,
            format!("{target}: this processor has no AVX2 for it"),
        ));
    }
    let call = CustomCall { target, attributes: "", result, has_effect: false };
    Ok(vec![xla_ext::custom_call(inputs, &call)?])
}

/// What such an operation says of operands that are not those `wanted`.
pub(super) fn wrong_operands(op: &impl Text, wanted: &str, avals: &[&Aval]) -> Error {
    let list: Vec<String> = avals.iter().map(ToString::to_string).collect();
    let (name, list) = (op.name(), list.join(", "));
    Error::shape(format!("{name}: the operands must be {wanted}, but they are ({list})"))
}

/// What such an operation says when it is transformed.
pub(super) fn too_late(op: &impl Text) -> Error {
    Error::argument(format!(
        "{}: it is made when a function is compiled for CPUs, and this one is transformed \
         afterwards: transform the function that was traced",
        op.name(),
    ))
}

/// The rules of transformations for an operation that is made after all of them.
macro_rules! made_after_transformations {
    () => {
        fn jvp(
            &self,
            _: &[$crate::Tensor],
            _: &[Option<$crate::Tensor>],
        ) -> $crate::Result<$crate::transform::jvp::Dual> {
            Err($crate::ops::cpu_kernel::too_late(self))
        }

        fn transpose(
            &self,
            _: &[Option<$crate::Tensor>],
            _: &[$crate::transform::transpose::Input],
        ) -> $crate::Result<Vec<Option<$crate::Tensor>>> {
            Err($crate::ops::cpu_kernel::too_late(self))
        }

        fn batch(
            &self,
            _: usize,
            _: &[$crate::transform::batch::Batched],
        ) -> $crate::Result<Vec<$crate::transform::batch::Batched>> {
            Err($crate::ops::cpu_kernel::too_late(self))
        }
    };
}
pub(super) use made_after_transformations;
