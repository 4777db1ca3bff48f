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

/// The panels of a matrix whose axis `axis` is contracted. A matrix of which the elements are known
/// is packed when it is compiled, and not at each run.
pub(super) fn panels(matrix: Value, axis: usize, at: &mut Simplifier) -> Value {
    let mut parts = Vec::new();
    if !known_parts(matrix, axis, at, &mut parts) {
        return at.record(Panels { axis }, vec![matrix])[0];
    }
    let [depth, columns] = [axis, 1 - axis].map(|axis| at.aval(matrix).shape[axis]);
    let bytes = parts.iter().map(|part| packed_bytes(&part.value, axis)).collect::<Vec<_>>();
    let names: Vec<&str> = parts.iter().map(|part| &part.name[..]).collect();
    let aval = at.aval(matrix).with_shape([columns / COLUMNS, depth, COLUMNS]);
    let name = names.join(" ");
    let value = Arc::new(HostArray { aval, bytes: bytes.concat() });
    at.record(Constant { value, name }, Vec::new())[0]
}

/// Collects the constants that are joined along the columns to make this matrix. Returns whether it
/// is made of nothing else.
fn known_parts(matrix: Value, axis: usize, at: &Simplifier, parts: &mut Vec<Constant>) -> bool {
    match at.definition(matrix).map(|equation| (&equation.op, equation.inputs())) {
        Some((Op::Constant(constant), _)) => {
            parts.push(constant.clone());
            constant.value.aval.shape[1 - axis].is_multiple_of(COLUMNS)
        }
        Some((Op::Concatenate(joined), inputs)) if joined.axis == 1 - axis => {
            inputs.iter().all(|&input| known_parts(input, axis, at, parts))
        }
        _ => false,
    }
}

/// The elements of the panels of a matrix.
fn packed_bytes(matrix: &HostArray, axis: usize) -> Vec<u8> {
    const SIZE: usize = size_of::<f32>();
    let HostArray { aval, bytes } = matrix;
    let (depth, columns) = (aval.shape[axis], aval.shape[1 - axis]);
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
