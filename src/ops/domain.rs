//! What the tables of element-wise operations are made of: the dtypes that operations take and
//! give, and what tells one entry from another.

use crate::Tensor;
use crate::aval::DType;
use crate::error::{Error, Result};

/// A set of dtypes that an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    Any,
    Float,
    Number,
    Int,
    SignedNumber,
    BoolOrInt,
}

impl Domain {
    pub fn contains(self, dtype: DType) -> bool {
        match self {
            Domain::Any => true,
            Domain::Float => dtype.is_float(),
            Domain::Number => dtype != DType::Bool,
            Domain::Int => dtype.is_int(),
            Domain::SignedNumber => dtype.is_float() || dtype.is_signed_int(),
            Domain::BoolOrInt => dtype == DType::Bool || dtype.is_int(),
        }
    }

    /// For messages: which dtypes these are.
    pub fn describe(self) -> &'static str {
        match self {
            Domain::Any => "any dtype",
            Domain::Float => "a floating dtype",
            Domain::Number => "a floating or integer dtype",
            Domain::Int => "an integer dtype",
            Domain::SignedNumber => "a floating or signed integer dtype",
            Domain::BoolOrInt => "bool or an integer dtype",
        }
    }
}

/// How the result of an element-wise operation follows one of its operands.
#[derive(Clone, Copy)]
pub(super) enum Slope<F> {
    /// Not at all, but for jumps.
    Zero,
    /// As the operand goes.
    One,
    /// The other way.
    Minus,
    /// Linearly, for a given other operand: what becomes of a tangent.
    Linear(fn(tangent: &Tensor, other: &Tensor) -> Tensor),
    /// By this factor, which follows from the operands and the result.
    Times(F),
    /// In a way for which there is no formula here: it is a mistake to ask.
    Unknown,
}

/// The error of an operation called `name` that was asked for a slope it does not have.
pub(super) fn no_slope(name: &str) -> Error {
    Error::argument(format!(
        "{name}: there is no derivative by this operand: let the differentiated function capture it"
    ))
}

/// An error if the dtype of the operand of `name` is not one of these.
pub(super) fn require(name: &str, x: &Tensor, domain: Domain) -> Result<()> {
    if domain.contains(x.dtype()) {
        return Ok(());
    }
    Err(Error::dtype(format!(
        "{name}: the operand must have {}, but it is {}; convert it with `astype`",
        domain.describe(),
        x.aval(),
    )))
}

/// The dtype of a result as a table gives it: nothing stands for that of the operands.
macro_rules! result_dtype {
    () => {
        None
    };
    ($dtype:ident) => {
        Some(DType::$dtype)
    };
}
pub(super) use result_dtype;

/// An operation that is an entry of a table is what its name is: the impls for one of type `$Name`.
macro_rules! told_by_name {
    ($Name:ident) => {
        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0.name)
            }
        }

        impl PartialEq for $Name {
            fn eq(&self, other: &$Name) -> bool {
                self.0.name == other.0.name
            }
        }

        impl Eq for $Name {}

        impl std::hash::Hash for $Name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.0.name.hash(state);
            }
        }

        impl $crate::ops::Text for $Name {
            fn names() -> Vec<&'static str> {
                table::ALL.iter().map(|def| def.name).collect()
            }

            fn name(&self) -> &'static str {
                self.0.name
            }

            fn print_attributes(&self, _: &mut $crate::ir::print::Printer) {}

            fn parse(
                name: &str,
                _: &mut $crate::ir::parse::Parser<'_>,
            ) -> Option<$crate::Result<$Name>> {
                table::ALL.iter().find(|def| def.name == name).map(|def| Ok($Name(def)))
            }
        }
    };
}
pub(super) use told_by_name;
