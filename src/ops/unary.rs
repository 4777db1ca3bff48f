//! Element-wise functions of one tensor. The table is the whole family: one entry is an operation.

use xla::XlaOp;

use super::domain::{Domain, result_dtype, told_by_name};
use super::{Operation, inputs};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::Lowering;
use crate::trace::record_one;
use crate::xla_ext;

/// What tells one of these operations from another.
pub(crate) struct UnaryDef {
    name: &'static str,
    domain: Domain,
    /// The dtype of the result, where it is not that of the operand.
    result: Option<DType>,
    lower: fn(&XlaOp) -> Result<XlaOp>,
}

/// An element-wise function of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct Unary(&'static UnaryDef);

macro_rules! unary_operations {
    ($(
        $(#[$doc:meta])*
        $name:ident: $domain:ident $(-> $result:ident)? = $lower:expr;
    )*) => {
        #[allow(non_upper_case_globals, reason = "each is named as the method it belongs to")]
        mod table {
            use super::*;
            $(
                pub(super) static $name: UnaryDef = UnaryDef {
                    name: stringify!($name),
                    domain: Domain::$domain,
                    result: result_dtype!($($result)?),
                    lower: $lower,
                };
            )*
            pub(super) static ALL: &[&UnaryDef] = &[$(&$name),*];
        }

        /// Element-wise functions. The result has the shape of the tensor and, where nothing else
        /// is said, its dtype.
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self) -> Tensor {
                    record_one(Unary(&table::$name), &[self])
                }
            )*
        }
    };
}

unary_operations! {
    /// Negation, `-x`. Signed integers and floats.
    neg: SignedNumber = |x| Ok(x.neg()?);
    /// The absolute value. Signed integers and floats.
    abs: SignedNumber = |x| Ok(x.abs()?);
    /// -1, 0 or 1 with the sign of `x`; NaN stays NaN. Signed integers and floats.
    sign: SignedNumber = |x| Ok(x.sign()?);
    /// The largest whole number not above `x`. Floats.
    floor: Float = |x| Ok(x.floor()?);
    /// The smallest whole number not below `x`. Floats.
    ceil: Float = |x| Ok(x.ceil()?);
    /// The nearest whole number, halves to the even one, as `jnp.round`. Floats.
    round: Float = |x| xla_ext::unary("round_nearest_even", x);
    /// e to the power of `x`. Floats.
    exp: Float = |x| Ok(x.exp()?);
    /// 2 to the power of `x`. Floats.
    exp2: Float = |x| xla_ext::unary("exp2", x);
    /// `exp(x) - 1`, accurate near zero. Floats.
    expm1: Float = |x| Ok(x.expm1()?);
    /// The natural logarithm. Floats.
    log: Float = |x| Ok(x.log()?);
    /// `log(1 + x)`, accurate near zero. Floats.
    log1p: Float = |x| Ok(x.log1p()?);
    /// The square root. Floats.
    sqrt: Float = |x| Ok(x.sqrt()?);
    /// `1 / sqrt(x)`. Floats.
    rsqrt: Float = |x| Ok(x.rsqrt()?);
    /// The cube root. Floats.
    cbrt: Float = |x| Ok(x.cbrt()?);
    /// The sine of an angle in radians. Floats.
    sin: Float = |x| Ok(x.sin()?);
    /// The cosine of an angle in radians. Floats.
    cos: Float = |x| Ok(x.cos()?);
    /// The tangent of an angle in radians. Floats.
    tan: Float = |x| xla_ext::unary("tan", x);
    /// The angle in radians whose sine is `x`. Floats.
    asin: Float = |x| xla_ext::unary("asin", x);
    /// The angle in radians whose cosine is `x`. Floats.
    acos: Float = |x| xla_ext::unary("acos", x);
    /// The angle in radians whose tangent is `x`. Floats.
    atan: Float = |x| xla_ext::unary("atan", x);
    /// The hyperbolic sine. Floats.
    sinh: Float = |x| xla_ext::unary("sinh", x);
    /// The hyperbolic cosine. Floats.
    cosh: Float = |x| xla_ext::unary("cosh", x);
    /// The hyperbolic tangent. Floats.
    tanh: Float = |x| Ok(x.tanh()?);
    /// The inverse of [`sinh`](Tensor::sinh). Floats.
    asinh: Float = |x| xla_ext::unary("asinh", x);
    /// The inverse of [`cosh`](Tensor::cosh). Floats.
    acosh: Float = |x| xla_ext::unary("acosh", x);
    /// The inverse of [`tanh`](Tensor::tanh). Floats.
    atanh: Float = |x| xla_ext::unary("atanh", x);
    /// The logistic function `1 / (1 + exp(-x))`, `jax.nn.sigmoid`. Floats.
    sigmoid: Float = |x| Ok(x.logistic()?);
    /// The error function. Floats.
    erf: Float = |x| Ok(x.erf()?);
    /// `1 - erf(x)`, accurate where it is small. Floats.
    erfc: Float = |x| xla_ext::unary("erfc", x);
    /// The inverse of [`erf`](Tensor::erf), by the polynomials of Giles (2012). Floats.
    erf_inv: Float = |x| xla_ext::unary("erf_inv", x);
    /// The logarithm of the absolute value of the gamma function. Floats.
    lgamma: Float = |x| xla_ext::unary("lgamma", x);
    /// The derivative of [`lgamma`](Tensor::lgamma). Floats.
    digamma: Float = |x| xla_ext::unary("digamma", x);
    /// Whether `x` is neither infinite nor NaN. Floats; the result is `bool`.
    is_finite: Float -> Bool = |x| Ok(x.is_finite()?);
    /// Logical not of `bool`, bitwise complement of integers.
    logical_not: BoolOrInt = |x| Ok(x.not()?);
    /// The number of leading zero bits. Integers.
    count_leading_zeros: Int = |x| Ok(x.clz()?);
    /// The number of bits that are one, `lax.population_count`. Integers.
    population_count: Int = |x| xla_ext::unary("population_count", x);
}

impl Operation for Unary {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        if !self.0.domain.contains(x.dtype) {
            let (name, wanted) = (self.0.name, self.0.domain.describe());
            return Err(Error::dtype(format!(
                "{name}: the operand must have {wanted}, but it is {x}; convert it with `astype`"
            )));
        }
        Ok(vec![x.with_dtype(self.0.result.unwrap_or(x.dtype))])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![(self.0.lower)(&inputs[0])?])
    }
}

told_by_name!(Unary);

impl std::ops::Neg for Tensor {
    type Output = Tensor;

    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(&self)
    }
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;

    #[track_caller]
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}

impl std::ops::Not for Tensor {
    type Output = Tensor;

    #[track_caller]
    fn not(self) -> Tensor {
        self.logical_not()
    }
}

impl std::ops::Not for &Tensor {
    type Output = Tensor;

    #[track_caller]
    fn not(self) -> Tensor {
        self.logical_not()
    }
}
