//! Matrices packed into panels, for [`PanelDot`](super::panel_dot): `xla_extension/shim/panels.cc`
//! packs them at the speed of memory, where XLA:CPU transposes element by element, and then copies.

use std::sync::Arc;

use xla::XlaOp;

use super::constant::Constant;
use super::cpu_kernel::{self, COLUMNS, made_after_transformations};
use super::{Op, Operation, inputs};
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::host::HostArray;
use crate::ir::Value;
use crate::lower::Lowering;
use crate::transform::simplify::Simplifier;

/// The names under which XLA knows the kernels, by the axis.
pub(super) const TARGETS: [&str; 2] = ["onetrace_panels_0", "onetrace_panels_1"];

operation! {
    /// A matrix in panels of 32 columns, row after row: `f32[p,k,32]`, where axis `axis` of the
    /// matrix has size `k`, and the other one `32 p`.
    struct Panels = "panels" { axis: usize }
}

impl Operation for Panels {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [matrix] = inputs(self, avals)?;
        match &matrix.shape[..] {
            &[_, _]
                if matrix.dtype == DType::F32
                    && self.axis < 2
                    && matrix.shape[1 - self.axis].is_multiple_of(COLUMNS) =>
            {
                let (depth, columns) = (matrix.shape[self.axis], matrix.shape[1 - self.axis]);
                Ok(vec![matrix.with_shape([columns / COLUMNS, depth, COLUMNS])])
            }
            _ => Err(Error::shape(format!(
                "panels: the operand must be a matrix of f32 whose other axis than axis {} is a \
                 multiple of {COLUMNS}, but it is {matrix}",
                self.axis,
            ))),
        }
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        cpu_kernel::call(TARGETS[self.axis], inputs, &outputs[0])
    }

    made_after_transformations!();

    /// A matrix that was transposed is packed along its other axis.
    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        match at.definition(inputs[0]).map(|equation| (&equation.op, equation.inputs())) {
            Some((Op::Transpose(transpose), &[matrix])) if transpose.permutation == [1, 0] => {
                Some(at.record(Panels { axis: 1 - self.axis }, vec![matrix]))
            }
            _ => None,
        }
    }
}

/// The panels of a matrix whose axis `axis` is contracted.
pub(super) fn panels(matrix: Value, axis: usize, at: &mut Simplifier) -> Value {
    let known = match at.definition(matrix).map(|equation| &equation.op) {
        Some(Op::Constant(constant)) => Some(constant.clone()),
        _ => None,
    };
    let Some(Constant { value, name }) = known else {
        return at.record(Panels { axis }, vec![matrix])[0];
    };
    let (depth, columns) = (value.aval.shape[axis], value.aval.shape[1 - axis]);
    let aval = value.aval.with_shape([columns / COLUMNS, depth, COLUMNS]);
    let bytes = packed_bytes(&value.bytes, axis, depth, columns);
    let value = Arc::new(HostArray { aval, bytes });
    at.record(Constant { value, name }, Vec::new())[0]
}

/// The elements of the panels of a matrix of which the elements are known: it is packed when it is
/// compiled, and not at each run.
fn packed_bytes(bytes: &[u8], axis: usize, depth: usize, columns: usize) -> Vec<u8> {
    const SIZE: usize = size_of::<f32>();
    let mut packed = Vec::with_capacity(bytes.len());
    for first in (0..columns).step_by(COLUMNS) {
        for row in 0..depth {
            match axis {
                0 => {
                    let start = (row * columns + first) * SIZE;
                    packed.extend_from_slice(&bytes[start..start + COLUMNS * SIZE]);
                }
                _ => packed.extend((first..first + COLUMNS).flat_map(|column| {
                    let start = (column * depth + row) * SIZE;
                    &bytes[start..start + SIZE]
                })),
            }
        }
    }
    packed
}
