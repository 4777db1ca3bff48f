//! Constants: data of the host inside a computation.

use std::sync::Arc;

use xla::XlaOp;

use super::{Op, Operation, inputs, rules};
use crate::Tensor;
use crate::aval::Aval;
use crate::error::Result;
use crate::host::HostArray;
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, LARGE_CONSTANT, Printer};
use crate::ir::{Equation, Value};
use crate::lower::{Lowering, element_type};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};

operation! {
    /// A tensor whose elements are known when the computation is built.
    struct Constant = "constant" {
        value: Arc<HostArray>,
        /// The name of the parameter it is, such as `dense_i.kernel`; may be empty.
        name: String,
    }
}

impl Operation for Constant {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [] = inputs(self, avals)?;
        Ok(vec![self.value.aval.clone()])
    }

    fn lower(&self, cx: &Lowering, _: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let HostArray { aval, bytes } = &*self.value;
        let literal = xla::Literal::create_from_shape_and_untyped_data(
            element_type(aval.dtype),
            &aval.shape,
            bytes,
        )?;
        Ok(vec![cx.builder().constant_literal(&literal)?])
    }

    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("constant"))
    }

    fn batch(&self, _: usize, _: &[Batched]) -> Result<Vec<Batched>> {
        Ok(rules::apply(self, &[]).into_iter().map(Batched::same).collect())
    }

    fn only_moves(&self) -> bool {
        true
    }
}

/// Whether a value is a constant of zeros, or such a one repeated. `definition` gives the equation
/// that defines a value.
pub(super) fn is_zero<'a>(
    value: Value,
    definition: &impl Fn(Value) -> Option<&'a Equation>,
) -> bool {
    match definition(value).map(|equation| (&equation.op, equation.inputs())) {
        Some((Op::Constant(constant), _)) => constant.value.bytes.iter().all(|&byte| byte == 0),
        Some((Op::Broadcast(_), &[inner])) => is_zero(inner, definition),
        _ => false,
    }
}

impl Attribute for Arc<HostArray> {
    fn print(&self, printer: &mut Printer) {
        printer.push(format_args!("{}(", self.aval));
        if self.aval.size() > LARGE_CONSTANT && !printer.options.full_constants {
            printer.push("...");
        } else {
            printer.list(self.element_texts(self.aval.size()), |p, text| p.push(text));
        }
        printer.push(")");
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Arc<HostArray>> {
        let aval = parser.aval()?;
        parser.expect("(")?;
        let first = parser.start();
        if parser.eat("...") {
            let wanted = "the elements of the constant (print with `full_constants`)";
            return Err(parser.error_at(first, wanted));
        }
        let elements = parser.list(")", |p| {
            let start = p.start();
            let element = HostArray::parse_element(p.word(), aval.dtype);
            element.ok_or_else(|| p.error_at(start, &format!("an element of dtype {}", aval.dtype)))
        })?;
        if elements.len() != aval.size() {
            return Err(parser.error_at(first, &format!("the {} elements of {aval}", aval.size())));
        }
        Ok(Arc::new(HostArray { aval, bytes: elements.concat() }))
    }
}
