//! Floating-point operations of matrix products and convolutions: two for each multiplication with
//! its addition.
//!
//! What a backend has turned into a call of a library is counted too: `__cublas$gemm` and its like,
//! `__onednn$matmul`, `__cudnn$conv...`, and so is our kernel. Element-wise operations are not.

use serde_json::Value;

use super::graph::{Graph, Place};
use super::proto::{HloInstructionProto, ShapeProto};
use crate::ops::{panel_dot, tall_dot};

/// The operations of one instruction, without those of computations it calls.
pub(crate) fn of(graph: &Graph, place: Place) -> u64 {
    let instruction = graph.instruction(place);
    let count = if is_dot(graph, place) {
        dot(graph, place)
    } else if instruction.opcode == "convolution" || is_convolution_call(instruction) {
        convolution(graph, place)
    } else {
        None
    };
    count.unwrap_or(0)
}

/// Whether an instruction is a matrix product.
pub(crate) fn is_dot(graph: &Graph, place: Place) -> bool {
    let instruction = graph.instruction(place);
    instruction.opcode == "dot" || call_contraction(graph, place).is_some()
}

fn is_convolution_call(instruction: &HloInstructionProto) -> bool {
    instruction.opcode == "custom-call"
        && instruction.custom_call_target.starts_with("__cudnn$conv")
}

fn shape<'a>(graph: &Graph<'a>, place: Place, operand: usize) -> Option<&'a ShapeProto> {
    graph.instruction(graph.operand(place, operand)?).shape.as_ref()
}

/// The elements of the result, or of its first part: calls of libraries also return memory that
/// they worked in.
fn result_elements(instruction: &HloInstructionProto) -> Option<u64> {
    let shape = instruction.shape.as_ref()?;
    if shape.is_tuple() { shape.tuple_shapes.first()?.elements() } else { shape.elements() }
}

/// The product of the sizes of these axes.
fn product(shape: &ShapeProto, axes: impl IntoIterator<Item = i64>) -> Option<u64> {
    axes.into_iter().try_fold(1u64, |n, axis| {
        let size = shape.dimensions.get(usize::try_from(axis).ok()?)?;
        n.checked_mul(u64::try_from(*size).ok()?)
    })
}

/// Each element of the result is a sum over the axes that are contracted.
fn dot(graph: &Graph, place: Place) -> Option<u64> {
    let instruction = graph.instruction(place);
    let summed = match &instruction.dot_dimension_numbers {
        Some(numbers) if instruction.opcode == "dot" => {
            let axes = numbers.lhs_contracting_dimensions.iter().copied();
            product(shape(graph, place, 0)?, axes)?
        }
        _ => call_contraction(graph, place)?,
    };
    Some(result_elements(instruction)?.saturating_mul(summed).saturating_mul(2))
}

/// How many products a call of a library adds for an element, if it is a matrix product.
fn call_contraction(graph: &Graph, place: Place) -> Option<u64> {
    let instruction = graph.instruction(place);
    if instruction.opcode != "custom-call" {
        return None;
    }
    let config = || serde_json::from_slice::<Value>(&instruction.backend_config).ok();
    let lhs = shape(graph, place, 0)?;
    if instruction.custom_call_target.starts_with("__cublas$") {
        let config = config()?;
        let gemm = config.get("gemm_backend_config").unwrap_or(&config);
        let axes = gemm.get("dot_dimension_numbers")?.get("lhs_contracting_dimensions")?;
        // Numbers of 64 bits are strings in the JSON of protocol buffers.
        let axis = |v: &Value| v.as_i64().or_else(|| v.as_str()?.parse().ok());
        return product(lhs, axes.as_array()?.iter().map(axis).collect::<Option<Vec<i64>>>()?);
    }
    if instruction.custom_call_target == panel_dot::TARGET {
        let rows = (0..instruction.operand_ids.len()).step_by(2);
        let depths = rows.map(|i| shape(graph, place, i)?.dimensions.last().copied());
        return depths
            .map(|depth| u64::try_from(depth?).ok())
            .try_fold(0, |sum: u64, depth| sum.checked_add(depth?));
    }
    if instruction.custom_call_target == tall_dot::TARGET {
        return product(lhs, [0]);
    }
    if instruction.custom_call_target == "__onednn$matmul" {
        let config = config();
        let flag = config.as_ref().and_then(|c| c.get("onednn_matmul_config")?.get("transpose_a"));
        let is_transposed = flag.and_then(Value::as_bool).unwrap_or(false);
        let rank = lhs.dimensions.len() as i64;
        return product(lhs, [if is_transposed { rank - 2 } else { rank - 1 }]);
    }
    None
}

/// Each element of the result is a sum over the window and the input features of its group. What
/// the window has outside of the input is counted.
fn convolution(graph: &Graph, place: Place) -> Option<u64> {
    let instruction = graph.instruction(place);
    let numbers = instruction.convolution_dimension_numbers.as_ref()?;
    let kernel = shape(graph, place, 1)?;
    let features = product(kernel, [numbers.kernel_input_feature_dimension])?;
    let window = product(kernel, numbers.kernel_spatial_dimensions.iter().copied())?;
    let summed = features.saturating_mul(window);
    Some(result_elements(instruction)?.saturating_mul(summed).saturating_mul(2))
}
