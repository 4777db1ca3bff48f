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

use super::binary::Binary;
use super::cpu_kernel::{self, COLUMNS, made_after_transformations};
use super::dot::Dot;
use super::{Op, Operation, panels};
use crate::aval::{Aval, DType};
use crate::error::Result;
use crate::ir::Value;
use crate::lower::Lowering;
use crate::transform::simplify::Simplifier;

/// The name under which XLA knows the kernel, and `tasks_in_order.cc` its calls.
pub(crate) const TARGET: &str = "onetrace_panel_dot";

/// A product of several rows is worth it from so many multiplications on.
const ENOUGH: usize = 1 << 15;

/// The product of one row is one of XLA's while its matrices are in the nearest caches: its loops
/// are compiled together with what is around them. From so many bytes on two threads share it: half
/// as many elements are `kMultiplicationsOfRow` in `panel_dot.cc`.
const LARGE: usize = 704 << 10;

/// From so many panels on, sums of products are one call. With fewer there is not enough for the
/// threads to share, and one call takes as long as several, or up to 6 % more.
const PANELS_TO_SHARE: usize = 8;

/// A sum of more additions than this is not looked through.
const MANY_ADDITIONS: usize = 16;

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

/// The factors of a product at a step of a loop: rows, and a matrix that is the same at every step.
pub(super) struct Factors {
    /// `f32[.., k]`.
    pub x: Value,
    pub matrix: Value,
    /// The axis of the matrix that is contracted.
    pub axis: usize,
}

impl Factors {
    /// Those of a product of `inputs`, of these types, of which some are the same at every step; none
    /// if it is one that the kernel does not compute.
    pub fn of(
        dot: &Dot,
        inputs: &[Value],
        avals: [&Aval; 2],
        is_invariant: [bool; 2],
    ) -> Option<Factors> {
        let (&[left], &[right]) = (&dot.lhs_contract[..], &dot.rhs_contract[..]) else {
            return None;
        };
        let (side, x_axis, axis) = match is_invariant {
            [false, true] => (0, left, right),
            // The result of a matrix and a vector is that of the vector and the matrix.
            [true, false] if avals[1].rank() == 1 => (1, right, left),
            _ => return None,
        };
        let (x, matrix) = (avals[side], avals[1 - side]);
        let fits = x.dtype == DType::F32
            && dot.lhs_batch.is_empty()
            && x_axis + 1 == x.rank()
            && matrix.rank() == 2
            && matrix.shape[1 - axis].is_multiple_of(COLUMNS);
        fits.then_some(Factors { x: inputs[side], matrix: inputs[1 - side], axis })
    }

    /// Those of a product in the body that is rewritten.
    fn of_step(dot: &Dot, inputs: &[Value], at: &Simplifier) -> Option<Factors> {
        let avals = [0, 1].map(|side| at.aval(inputs[side]));
        Factors::of(dot, inputs, avals, [0, 1].map(|side| at.is_invariant(inputs[side])))
    }
}

/// Whether the product with a matrix of so many columns is one for the kernel.
pub(super) fn is_worth_it(x: &Aval, columns: usize) -> bool {
    let depth = x.shape.last().copied().unwrap_or(1);
    match x.size() == depth {
        true => depth.saturating_mul(columns) >= LARGE / size_of::<f32>(),
        false => x.size().saturating_mul(columns) >= ENOUGH,
    }
}

/// What stands for a product at a step of a loop, with a matrix that is the same at every step.
pub(super) fn packed(dot: &Dot, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let Factors { x, matrix, axis } = Factors::of_step(dot, inputs, at)?;
    if !is_worth_it(at.aval(x), at.aval(matrix).shape[1 - axis]) {
        return None;
    }
    let panels = panels::panels(matrix, axis, at);
    Some(at.record(PanelDot {}, vec![x, panels]))
}

/// What stands for the sum of products that nothing else needs: one call for all of them, which
/// writes nothing in between, and each of whose threads always reads the same columns of all the
/// matrices.
pub(super) fn summed(inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
    let sum = at.aval(inputs[0]).clone();
    let columns = *sum.shape.last()?;
    if columns < PANELS_TO_SHARE * COLUMNS {
        return None;
    }
    let (mut operands, mut factors) = (Vec::new(), Vec::new());
    let mut terms: Vec<Value> = inputs.iter().rev().copied().collect();
    let mut looked_at = 0;
    while let Some(term) = terms.pop() {
        looked_at += 1;
        let equation = at.definition_used_once(term).filter(|_| looked_at <= MANY_ADDITIONS)?;
        match &equation.op {
            Op::PanelDot(_) => operands.extend_from_slice(equation.inputs()),
            Op::Dot(dot) => factors.push(Factors::of_step(dot, equation.inputs(), at)?),
            Op::Binary(op) if *op == Binary::add() => terms.extend(equation.inputs().iter().rev()),
            _ => return None,
        }
    }
    // Products that are not worth it alone may be so together, if they are those of one row.
    if !factors.is_empty() {
        let elements = |panels: &Value| at.aval(*panels).size();
        let packed: usize = operands.iter().skip(1).step_by(2).map(elements).sum();
        let plain: usize = factors.iter().map(|factors| at.aval(factors.matrix).size()).sum();
        if sum.size() != columns || packed + plain < LARGE / size_of::<f32>() {
            return None;
        }
    }
    for Factors { x, matrix, axis } in factors {
        operands.extend([x, panels::panels(matrix, axis, at)]);
    }
    Some(at.record(PanelDot {}, operands))
}
