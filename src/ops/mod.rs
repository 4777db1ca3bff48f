//! Operations, one file per family, *all* rules of an operation in one place.
//!
//! An operation is a struct with its attributes. [`Operation`] holds its rules as required
//! methods, [`Op`] is the closed enum of them, and [`Op::rules`] is the one `match` over it. What a
//! user calls (methods of [`Tensor`](crate::Tensor), functions such as [`scan`](crate::scan))
//! stands in the same file as the rules. How to add one is told in `docs/adding-an-op.md`.

use xla::XlaOp;

use crate::aval::Aval;
use crate::callback::Effect;
use crate::error::Result;
use crate::ir::parse::Parser;
use crate::ir::print::Printer;
use crate::ir::{Func, Value};
use crate::lower::Lowering;
use crate::tensor::Tensor;
use crate::trace::scope::library_scope;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::prune::{Effects, PrunedOp};
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::split::SplitOp;
use crate::transform::transpose::Input;
use crate::tree::Tree;

/// The rules of an operation.
pub(crate) trait Operation: Text {
    /// The types of the outputs for inputs of these types, or what is wrong with them. The number
    /// of inputs may be wrong too: the parser and the checker ask about any text.
    fn infer(&self, inputs: &[&Aval]) -> Result<Vec<Aval>>;

    /// The HLO of the operation. The inputs have types that [`infer`](Operation::infer) accepted,
    /// and `outputs` are the types it gave.
    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>>;

    /// Forward mode: the outputs, and the tangent of each, for tangents of the inputs. A tangent is
    /// `None` where it is zero; there is one that is not.
    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual>;

    /// Reverse mode, for the inputs in which the operation is linear: their cotangents, for those
    /// of the outputs. A cotangent is `None` where it is zero; there is one that is not. What is
    /// said of a known input is of no account.
    fn transpose(
        &self,
        cotangents: &[Option<Tensor>],
        inputs: &[Input],
    ) -> Result<Vec<Option<Tensor>>>;

    /// The outputs for each of `size` members of a batch, of which there are some in at least one
    /// input.
    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>>;

    /// Which of the `outputs` outputs differ between devices that run the program together, where
    /// these inputs do.
    fn varies(&self, inputs: &[bool], outputs: usize) -> Result<Vec<bool>> {
        Ok(vec![inputs.contains(&true); outputs])
    }

    /// The functions the operation owns.
    fn regions(&self) -> Vec<&Func> {
        Vec::new()
    }

    /// What it does on the host each time it runs, if it is there for that.
    fn effect(&self) -> Option<&dyn Effect> {
        None
    }

    /// Whether it must run even if nobody uses its outputs.
    fn has_effect(&self) -> bool {
        self.effect().is_some() || self.regions().iter().any(|region| region.has_effect())
    }

    /// Whether nothing is computed: the result has the elements of the inputs, or ones that are
    /// known when the operation is recorded, in another form.
    fn only_moves(&self) -> bool {
        false
    }

    /// Whether an element of the result costs no more than reading its operands.
    fn is_cheap(&self) -> bool {
        self.only_moves()
    }

    /// Whether it is linear in all of its inputs together: of sums it makes the sum.
    fn is_linear(&self) -> bool {
        false
    }

    /// Whether it is a product of matrices, which a checkpoint may keep.
    fn is_dot(&self) -> bool {
        false
    }

    /// How many multiplications it makes on inputs of these types, if it is a product of matrices.
    fn multiplications(&self, inputs: &[&Aval]) -> usize {
        let _ = inputs;
        0
    }

    /// Whether XLA:CPU can compile it to instructions alone, without calls of its runtime.
    fn is_plain(&self) -> bool {
        self.only_moves()
    }

    /// Whether it runs its regions again and again.
    fn is_loop(&self) -> bool {
        false
    }

    /// The part that needs no unknown input and the part that is left; `None` if all of it is left.
    fn split(&self, unknown: &[bool]) -> Result<Option<SplitOp>> {
        let _ = unknown;
        Ok(None)
    }

    /// What stands for the outputs for these inputs, recorded in `at`, where there is something
    /// simpler than the operation itself; `None` if there is not. Derivatives are of no account any
    /// more.
    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let _ = (inputs, at);
        None
    }

    /// As [`simplify`](Operation::simplify), behind it, with what may leave a loop although that
    /// takes more memory and sums are associated in another way.
    fn fission(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        self.simplify(inputs, at)
    }

    /// As [`simplify`](Operation::simplify), behind fission, with what a CPU computes faster in
    /// another form.
    fn for_cpu(&self, cpu: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let _ = cpu;
        self.simplify(inputs, at)
    }

    /// What is left of the operation if only these outputs are used; `None` if all of it is.
    fn prune(&self, used: &[bool], effects: Effects) -> Option<PrunedOp> {
        let _ = (used, effects);
        None
    }
}

/// The text form of an operation: its name and attributes. [`operation!`] writes it for a struct.
pub(crate) trait Text {
    /// The names of all operations of this type.
    fn names() -> Vec<&'static str>
    where
        Self: Sized;

    fn name(&self) -> &'static str;

    fn print_attributes(&self, printer: &mut Printer);

    /// The operation called `name` with the attributes that `parser` stands before, or `None` if
    /// this is not its name.
    fn parse(name: &str, parser: &mut Parser<'_>) -> Option<Result<Self>>
    where
        Self: Sized;
}

/// Declares the struct of an operation, and its text form from its name and fields.
macro_rules! operation {
    (
        $(#[$meta:meta])*
        struct $Name:ident = $name:literal {
            $($(#[$field_meta:meta])* $field:ident: $ty:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub(crate) struct $Name {
            $($(#[$field_meta])* pub $field: $ty),*
        }

        impl $crate::ops::Text for $Name {
            fn names() -> Vec<&'static str> {
                vec![$name]
            }

            fn name(&self) -> &'static str {
                $name
            }

            #[allow(unused, reason = "an operation may have no attribute, and the last one is not first")]
            fn print_attributes(&self, printer: &mut $crate::ir::print::Printer) {
                let mut first = true;
                $(
                    printer.attribute(first, stringify!($field), &self.$field);
                    first = false;
                )*
            }

            #[allow(unused, reason = "as above")]
            fn parse(
                name: &str,
                parser: &mut $crate::ir::parse::Parser<'_>,
            ) -> Option<$crate::Result<Self>> {
                const FIELDS: &[&str] = &[$(stringify!($field)),*];
                if name != $name {
                    return None;
                }
                let mut index = 0;
                let mut attributes = || {
                    Ok($Name {
                        $($field: {
                            index += 1;
                            let last = index == FIELDS.len();
                            parser.attribute(index == 1, last, stringify!($field))?
                        }),*
                    })
                };
                Some(attributes())
            }
        }
    };
}

/// Declares [`Op`] with one variant for each operation, and the one dispatch over it.
macro_rules! operations {
    ($($module:ident::$Name:ident),* $(,)?) => {
        /// Any operation.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Op {
            $($Name($module::$Name)),*
        }

        impl Op {
            /// The rules of this operation: the one place that tells operations apart.
            pub fn rules(&self) -> &dyn Operation {
                match self {
                    $(Op::$Name(op) => op),*
                }
            }

            /// The names of all operations.
            pub fn names() -> Vec<&'static str> {
                [$(<$module::$Name as Text>::names()),*].concat()
            }

            /// The operation called `name`, with its attributes.
            pub fn parse(name: &str, parser: &mut Parser<'_>) -> Option<Result<Op>> {
                $(
                    if let Some(op) = <$module::$Name as Text>::parse(name, parser) {
                        return Some(op.map(Op::$Name));
                    }
                )*
                None
            }
        }

        $(
            impl From<$module::$Name> for Op {
                fn from(op: $module::$Name) -> Op {
                    Op::$Name(op)
                }
            }
        )*
    };
}

/// The value of a `Result`; its error makes the method return a tensor poisoned with it, of the
/// type of the first of the inputs.
macro_rules! or_poison {
    ($result:expr, $($input:expr),+) => {
        match $result {
            Ok(value) => value,
            Err(error) => return $crate::trace::poison(error, &[$($input),+]),
        }
    };
}

pub(crate) mod activation;
pub(crate) mod arithmetic;
pub(crate) mod associative_scan;
pub(crate) mod axes;
pub(crate) mod binary;
pub(crate) mod broadcast;
pub(crate) mod call;
pub(crate) mod checkpoint;
pub(crate) mod collective;
pub(crate) mod concatenate;
pub(crate) mod constant;
pub(crate) mod control;
pub(crate) mod convert;
pub(crate) mod cpu_kernel;
pub(crate) mod cumulative;
pub(crate) mod custom;
pub(crate) mod debug_print;
pub(crate) mod domain;
pub(crate) mod dot;
pub(crate) mod dynamic_slice;
pub(crate) mod einsum;
pub(crate) mod gather;
pub(crate) mod iota;
mod joined_dots;
pub(crate) mod pad;
pub(crate) mod panel_dot;
mod panels;
pub(crate) mod progress;
pub(crate) mod reduce;
mod rules;
pub(crate) mod scan;
pub(crate) mod scatter;
pub(crate) mod select;
pub(crate) mod slice;
pub(crate) mod sort;
pub(crate) mod stop_gradient;
pub(crate) mod switch;
pub(crate) mod tall_dot;
pub(crate) mod threefry;
pub(crate) mod unary;
pub(crate) mod while_loop;

operations! {
    binary::Binary,
    broadcast::Broadcast,
    broadcast::Reshape,
    broadcast::Transpose,
    call::Call,
    checkpoint::CheckpointOp,
    collective::AllReduce,
    concatenate::Concatenate,
    constant::Constant,
    convert::Bitcast,
    convert::Convert,
    cumulative::Cumulative,
    custom::CustomJvp,
    custom::CustomLinear,
    custom::CustomVjp,
    debug_print::DebugPrint,
    dot::Dot,
    dynamic_slice::DynamicSlice,
    dynamic_slice::DynamicUpdateSlice,
    gather::Gather,
    iota::Iota,
    pad::Pad,
    panel_dot::PanelDot,
    panels::Panels,
    progress::Progress,
    reduce::Reduce,
    scan::ScanOp,
    scatter::Scatter,
    select::Select,
    slice::Reverse,
    slice::Slice,
    sort::Sort,
    sort::TopK,
    stop_gradient::StopGradient,
    switch::SwitchOp,
    tall_dot::TallDot,
    threefry::Threefry2x32,
    unary::Unary,
    while_loop::WhileOp,
}

/// Applies a function of the library that is made of several operations: all stand in a scope
/// called `name`, come from the call of the caller, which must be `#[track_caller]`, and are one
/// program where nothing is traced.
#[track_caller]
pub(crate) fn composed<A: Tree, R: Tree>(name: &str, inputs: A, f: impl FnOnce(A) -> R) -> R {
    library_scope(name, || call::composite(name, inputs, f))
}

/// The inputs of `op`, which takes exactly `N` of them.
pub(crate) fn inputs<'a, const N: usize>(
    op: &impl Operation,
    inputs: &[&'a Aval],
) -> Result<[&'a Aval; N]> {
    inputs.try_into().map_err(|_| {
        let (name, given) = (op.name(), inputs.len());
        crate::Error::argument(format!(
            "{name}: the number of inputs must be {N}, but it is {given}"
        ))
    })
}

/// An error if a result of this type is larger than any memory. Recording an operation checks it
/// too; what is made of several operations checks it first, so that the message names the right
/// one.
pub(crate) fn check_size(what: &str, result: &Aval) -> Result<()> {
    match result.byte_size() {
        Some(_) => Ok(()),
        None => Err(crate::Error::shape(format!(
            "{what}: the result would be {result}, which no memory can hold"
        ))),
    }
}

/// The axis that `axis` names in a tensor of `rank` axes; negative ones count from the back.
pub(crate) fn resolve_axis(what: &str, axis: isize, rank: usize) -> Result<usize> {
    let resolved = if axis < 0 { axis + rank as isize } else { axis };
    if (0..rank as isize).contains(&resolved) {
        return Ok(resolved as usize);
    }
    if rank == 0 {
        return Err(crate::Error::shape(format!(
            "{what}: axis {axis} is out of range: a scalar has no axes",
        )));
    }
    Err(crate::Error::shape(format!(
        "{what}: axis {axis} is out of range for a tensor of rank {rank}: it must be in {}..{rank}",
        -(rank as isize),
    )))
}
