//! Lowering: a [`Func`] as an [`XlaComputation`], with `XlaBuilder`.
//!
//! How an operation looks in HLO is told by its own [`lower`](crate::ops::Operation::lower); here
//! is what they share: parameters, equations in order, metadata, and computations inside
//! computations.

use std::cell::{OnceCell, RefCell};

use xla::{ArrayShape, ElementType, Shape, XlaBuilder, XlaComputation, XlaOp};

use crate::aval::{Aval, DType};
use crate::device;
use crate::error::{Error, Result};
use crate::ir::{Equation, Func};
use crate::transform::Env;
use crate::xla_ext;

/// XLA's element type for a dtype.
pub(crate) fn element_type(dtype: DType) -> ElementType {
    match dtype {
        DType::Bool => ElementType::Pred,
        DType::U8 => ElementType::U8,
        DType::U32 => ElementType::U32,
        DType::I32 => ElementType::S32,
        DType::I64 => ElementType::S64,
        DType::F16 => ElementType::F16,
        DType::BF16 => ElementType::Bf16,
        DType::F32 => ElementType::F32,
        DType::F64 => ElementType::F64,
    }
}

/// Sizes as XLA takes them.
pub(crate) fn dims(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|&d| d as i64).collect()
}

fn xla_shape(aval: &Aval) -> Shape {
    Shape::Array(ArrayShape::new_with_type(element_type(aval.dtype), dims(&aval.shape)))
}

/// A computation under construction.
pub(crate) struct Lowering {
    builder: XlaBuilder,
    /// An operation of this builder: metadata can be set only through one.
    some_op: OnceCell<XlaOp>,
    /// The equation that is being lowered, for metadata.
    current: RefCell<Option<Metadata>>,
    /// What the last call of the host gave.
    last_call: RefCell<Option<XlaOp>>,
}

/// What HLO is told of the equation that an operation comes from.
#[derive(Clone)]
struct Metadata {
    operation: &'static str,
    /// The operation's name behind the scopes around it.
    name: String,
    file: &'static str,
    line: u32,
}

impl Metadata {
    fn of(equation: &Equation) -> Metadata {
        let operation = equation.name();
        let name = match &equation.source().scope {
            Some(scope) => format!("{scope}/{operation}"),
            None => operation.to_owned(),
        };
        let (file, line) = equation.source().location.map_or(("", 0), |l| (l.file(), l.line()));
        Metadata { operation, name, file, line }
    }
}

impl Lowering {
    fn new(name: &str) -> Lowering {
        Lowering {
            builder: XlaBuilder::new(name),
            some_op: OnceCell::new(),
            current: RefCell::new(None),
            last_call: RefCell::new(None),
        }
    }

    /// The builder of the computation.
    pub fn builder(&self) -> &XlaBuilder {
        &self.builder
    }

    /// The operations of `func`, applied to `inputs`, in this computation.
    pub fn inline(&self, func: &Func, inputs: &[XlaOp]) -> Result<Vec<XlaOp>> {
        let mut env = Env::with_params(func, inputs.iter().cloned());
        let around = self.current.borrow().clone();
        for equation in func.equations() {
            let inputs = env.get_all(equation.inputs());
            let avals = func.avals(equation.outputs());
            self.set_metadata(Some(Metadata::of(equation)), inputs.first());
            let outputs = equation.op.rules().lower(self, &inputs, &avals)?;
            if cfg!(debug_assertions) {
                check_types(equation, &outputs, &avals)?;
            }
            if let Some(op) = outputs.first() {
                self.some_op.get_or_init(|| op.clone());
            }
            env.set_all(equation.outputs(), outputs);
        }
        self.set_metadata(around, inputs.first());
        Ok(env.get_all(func.results()))
    }

    /// Tells HLO which equation the next operations come from.
    fn set_metadata(&self, metadata: Option<Metadata>, input: Option<&XlaOp>) {
        if let Some(op) = input.or(self.some_op.get()) {
            match &metadata {
                Some(m) => xla_ext::set_op_metadata(op, m.operation, &m.name, m.file, m.line),
                None => xla_ext::set_op_metadata(op, "", "", "", 0),
            }
        }
        self.current.replace(metadata);
    }

    /// Adds a call of the host, behind those that there are: it gets the result of the one before
    /// it as an operand, for XLA:CPU runs side by side what does not depend on one another.
    pub fn in_order(&self, call: impl FnOnce(&XlaOp) -> Result<XlaOp>) -> Result<()> {
        let before = match self.last_call.take() {
            Some(before) => before,
            None => self.builder.zero(ElementType::U8)?,
        };
        self.last_call.replace(Some(call(&before)?));
        Ok(())
    }

    fn tuple_parameter(&self, params: &[Aval]) -> Result<Vec<XlaOp>> {
        let shape = Shape::tuple(params.iter().map(xla_shape).collect());
        let tuple = self.builder.parameter_s(0, &shape, "state")?;
        self.some_op.get_or_init(|| tuple.clone());
        untuple(&tuple, params.len())
    }

    /// A computation of one tuple of parameters that returns a tuple: what `while` and
    /// `conditional` take.
    pub fn tuple_computation(
        name: &str,
        params: &[Aval],
        body: impl FnOnce(&Lowering, Vec<XlaOp>) -> Result<Vec<XlaOp>>,
    ) -> Result<XlaComputation> {
        let cx = Lowering::new(name);
        let inputs = cx.tuple_parameter(params)?;
        let outputs = body(&cx, inputs)?;
        Ok(cx.builder.build(&cx.builder.tuple(&outputs)?)?)
    }

    /// The condition of a `while`: a computation of one tuple of parameters that returns a `bool`.
    pub fn tuple_condition(
        name: &str,
        params: &[Aval],
        body: impl FnOnce(&Lowering, Vec<XlaOp>) -> Result<XlaOp>,
    ) -> Result<XlaComputation> {
        let cx = Lowering::new(name);
        let inputs = cx.tuple_parameter(params)?;
        let output = body(&cx, inputs)?;
        Ok(cx.builder.build(&output)?)
    }

    /// A computation of parameters of these types that returns one array: what `reduce`, `sort`
    /// and `scatter` take.
    pub fn computation(
        name: &str,
        params: &[Aval],
        body: impl FnOnce(&Lowering, Vec<XlaOp>) -> Result<XlaOp>,
    ) -> Result<XlaComputation> {
        let cx = Lowering::new(name);
        let mut inputs = Vec::with_capacity(params.len());
        for (i, aval) in params.iter().enumerate() {
            inputs.push(cx.builder.parameter_s(i as i64, &xla_shape(aval), &format!("p{i}"))?);
        }
        let output = body(&cx, inputs)?;
        Ok(cx.builder.build(&output)?)
    }
}

/// Checks that the types an operation infers are those that XLA infers from its lowering.
fn check_types(equation: &Equation, outputs: &[XlaOp], avals: &[Aval]) -> Result<()> {
    for (op, aval) in outputs.iter().zip(avals) {
        let shape = op.array_shape()?;
        let wanted = element_type(aval.dtype).primitive_type();
        if shape.dims() != dims(&aval.shape) || shape.primitive_type() != wanted {
            let name = equation.name();
            return Err(Error::ir(format!("{name}: inferred {aval}, but XLA infers {shape:?}")));
        }
    }
    assert_eq!(outputs.len(), avals.len(), "{}: the number of outputs", equation.name());
    Ok(())
}

/// The elements of a tuple.
pub(crate) fn untuple(tuple: &XlaOp, len: usize) -> Result<Vec<XlaOp>> {
    (0..len).map(|i| Ok(tuple.get_tuple_element(i as i64)?)).collect()
}

/// The path of a parameter as a name of HLO, where a number behind a dot tells apart what has the
/// same name and is chosen by XLA.
fn parameter_name(path: &str) -> String {
    let mut name = crate::ir::identifier(path);
    for digit in '0'..='9' {
        name = name.replace(&format!(".{digit}"), &format!("_{digit}"));
    }
    name
}

/// `func` as a computation: its parameters are the computation's, and it returns a tuple of its
/// results. `aliases` are pairs (result, parameter) that may share memory: the parameter is
/// donated.
pub(crate) fn lower(func: &Func, aliases: &[(usize, usize)]) -> Result<XlaComputation> {
    device::settle()?;
    let cx = Lowering::new(func.name());
    let mut inputs = Vec::new();
    for (i, (value, name)) in func.params().enumerate() {
        let name = if name.is_empty() { format!("p{i}") } else { parameter_name(name) };
        inputs.push(cx.builder.parameter_s(i as i64, &xla_shape(func.aval(value)), &name)?);
    }
    if let Some(op) = inputs.first() {
        cx.some_op.get_or_init(|| op.clone());
    }
    let outputs = cx.inline(func, &inputs)?;
    let root = cx.builder.tuple(&outputs)?;
    for &(result, param) in aliases {
        cx.builder.setup_alias(result as i64, param as i64);
    }
    Ok(cx.builder.build(&root)?)
}
