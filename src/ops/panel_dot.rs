//! Products with a packed matrix, by a kernel of ours.
//!
//! XLA:CPU has no product with a matrix that is packed once: each step of a loop packs the weights
//! again, or reads them in an order that is not that of memory. Here they are packed before the
//! loop, into panels of 32 columns each, row after row, and `xla_extension/shim/panel_dot.cc`
//! multiplies with those. The While loop stays what it is, and calls it.
//!
//! A [`Dot`] becomes such a product [behind fission](crate::ir::Func::packed), for CPUs alone and
//! where that is [worth it](is_worth_it).

use xla::XlaOp;

use super::cpu_kernel::{self, COLUMNS, made_after_transformations};
use super::dot::Dot;
use super::{Op, Operation, panels};
use crate::aval::{Aval, DType};
use crate::error::Result;
use crate::ir::Value;
use crate::lower::Lowering;
use crate::transform::simplify::Simplifier;

/// The name under which XLA knows the kernel.
pub(crate) const TARGET: &str = "onetrace_panel_dot";

/// A product of several rows is worth it from so many multiplications on.
const ENOUGH: usize = 1 << 15;

/// The product of one row is one of XLA's while the matrix is in the nearest caches: its loops are
/// compiled together with what is around them. From so many bytes on, several threads read it.
const LARGE: usize = 1 << 20;

/// From so many panels on, sums of products are one call. With fewer there is not enough for the
/// threads to share, and several calls at the same time are faster.
const PANELS_TO_SHARE: usize = 8;

operation! {
    /// The product of `f32[.., k]` and a matrix that is packed, `f32[p,k,32]`: `f32[.., 32 p]`. Of
    /// more pairs of operands it is the sum of their products.
    struct PanelDot = "panel_dot" {}
}

impl Operation for PanelDot {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let products = pairs(avals).map(|(x, panels)| product(x, panels));
        let products: Option<Vec<Aval>> = products.collect();
        match products.as_deref() {
            Some([first, others @ ..])
                if avals.len().is_multiple_of(2) && others.iter().all(|other| other == first) =>
            {
                Ok(vec![first.clone()])
            }
            _ => {
                let wanted = format!(
                    "pairs of f32[.., k] and f32[p,k,{COLUMNS}] that have the same product"
                );
                Err(cpu_kernel::wrong_operands(self, &wanted, avals))
            }
        }
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        cpu_kernel::call(TARGET, inputs, &outputs[0])
    }

    made_after_transformations!();

    fn is_dot(&self) -> bool {
        true
    }

    fn multiplications(&self, inputs: &[&Aval]) -> usize {
        let columns = |panels: &Aval| panels.shape[0].saturating_mul(COLUMNS);
        let products = pairs(inputs).map(|(x, panels)| x.size().saturating_mul(columns(panels)));
        products.fold(0, usize::saturating_add)
    }
}

/// The operands of the products.
fn pairs<'a>(avals: &[&'a Aval]) -> impl Iterator<Item = (&'a Aval, &'a Aval)> {
    avals.chunks_exact(2).map(|pair| (pair[0], pair[1]))
}

/// The type of a product, if it is one.
fn product(x: &Aval, panels: &Aval) -> Option<Aval> {
    let are_f32 = x.dtype == DType::F32 && panels.dtype == DType::F32;
    match (x.shape.split_last(), &panels.shape[..]) {
        (Some((k, rows)), &[count, depth, COLUMNS]) if are_f32 && *k == depth => {
            Some(x.with_shape([rows, &[count.saturating_mul(COLUMNS)]].concat()))
        }
        _ => None,
    }
}

/// What stands for a product at a step of a loop, with a matrix that is the same at every step.
pub(super) fn packed(dot: &Dot, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let (x, matrix, axis) = rows_and_matrix(dot, inputs, at)?;
    if !is_worth_it(at.aval(x), at.aval(matrix), axis) {
        return None;
    }
    let panels = panels::panels(matrix, axis, at);
    Some(at.record(PanelDot {}, vec![x, panels]))
}

/// What stands for the sum of two products with packed matrices that nothing else needs: one call
/// for both, which writes nothing in between, and each of whose threads always reads the same
/// columns of all the matrices.
pub(super) fn summed(inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let columns = at.aval(inputs[0]).shape.last()?;
    if *columns < PANELS_TO_SHARE * COLUMNS {
        return None;
    }
    let mut operands = Vec::new();
    for (i, &input) in inputs.iter().enumerate() {
        let equation = at.definition(input).filter(|_| at.is_only_use(i))?;
        operands.extend_from_slice(match &equation.op {
            Op::PanelDot(_) => equation.inputs(),
            _ => return None,
        });
    }
    Some(at.record(PanelDot {}, operands))
}

/// The operand with the rows, the matrix, and which of its axes is contracted.
fn rows_and_matrix(dot: &Dot, inputs: &[Value], at: &Simplifier) -> Option<(Value, Value, usize)> {
    let (&[left], &[right]) = (&dot.lhs_contract[..], &dot.rhs_contract[..]) else { return None };
    let (x, y) = (inputs[0], inputs[1]);
    let is_vector = at.aval(y).rank() == 1;
    let (x, x_axis, matrix, axis) = match (at.is_invariant(x), at.is_invariant(y)) {
        (false, true) => (x, left, y, right),
        // The result of a matrix and a vector is that of the vector and the matrix.
        (true, false) if is_vector => (y, right, x, left),
        _ => return None,
    };
    let fits =
        dot.lhs_batch.is_empty() && at.aval(matrix).rank() == 2 && x_axis + 1 == at.aval(x).rank();
    fits.then_some((x, matrix, axis))
}

/// Whether the product of these with axis `axis` of the matrix contracted is one for the kernel.
fn is_worth_it(x: &Aval, matrix: &Aval, axis: usize) -> bool {
    let (depth, columns) = (matrix.shape[axis], matrix.shape[1 - axis]);
    let work = x.size().saturating_mul(columns);
    let is_enough = match x.size() == depth {
        true => matrix.byte_size().is_some_and(|bytes| bytes >= LARGE),
        false => work >= ENOUGH,
    };
    x.dtype == DType::F32 && columns % COLUMNS == 0 && is_enough
}
