//! Element-wise functions of one tensor. The table is the whole family: one entry is an operation.

use xla::XlaOp;

use super::domain::{Domain, Slope, no_slope, result_dtype, told_by_name};
use super::select::select;
use super::{Operation, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::Lowering;
use crate::trace::record_one;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

/// What tells one of these operations from another.
pub(crate) struct UnaryDef {
    name: &'static str,
    domain: Domain,
    /// The dtype of the result, where it is not that of the operand.
    result: Option<DType>,
    lower: fn(&XlaOp) -> Result<XlaOp>,
    slope: Slope<fn(x: &Tensor, y: &Tensor) -> Tensor>,
}

/// An element-wise function of one tensor.
#[derive(Clone, Copy)]
pub(crate) struct Unary(&'static UnaryDef);

macro_rules! unary_operations {
    ($(
        $(#[$doc:meta])*
        $name:ident: $domain:ident $(-> $result:ident)? = $lower:expr, $slope:expr;
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
                    slope: $slope,
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
    neg: SignedNumber = |x| Ok(x.neg()?), Slope::Minus;
    /// The absolute value. Signed integers and floats.
    abs: SignedNumber = |x| Ok(x.abs()?), Slope::Times(|x, _| direction(x));
    /// -1, 0 or 1 with the sign of `x`; NaN stays NaN. Signed integers and floats.
    sign: SignedNumber = |x| Ok(x.sign()?), Slope::Zero;
    /// The largest whole number not above `x`. Floats.
    floor: Float = |x| Ok(x.floor()?), Slope::Zero;
    /// The smallest whole number not below `x`. Floats.
    ceil: Float = |x| Ok(x.ceil()?), Slope::Zero;
    /// The nearest whole number, halves to the even one, as `jnp.round`. Floats.
    round: Float = |x| xla_ext::unary("round_nearest_even", x), Slope::Zero;
    /// e to the power of `x`. Floats.
    exp: Float = |x| Ok(x.exp()?), Slope::Times(|_, y| y.clone());
    /// 2 to the power of `x`. Floats.
    exp2: Float = |x| xla_ext::unary("exp2", x), Slope::Times(|_, y| y * std::f64::consts::LN_2);
    /// `exp(x) - 1`, accurate near zero. Floats.
    expm1: Float = |x| Ok(x.expm1()?), Slope::Times(|_, y| y + 1.0);
    /// The natural logarithm. Floats.
    log: Float = |x| Ok(x.log()?), Slope::Times(|x, _| 1.0 / x);
    /// `log(1 + x)`, accurate near zero. Floats.
    log1p: Float = |x| Ok(x.log1p()?), Slope::Times(|x, _| 1.0 / (x + 1.0));
    /// The square root. Floats.
    sqrt: Float = |x| Ok(x.sqrt()?), Slope::Times(|_, y| 0.5 / y);
    /// `1 / sqrt(x)`. Floats.
    rsqrt: Float = |x| Ok(x.rsqrt()?), Slope::Times(|x, y| y / x * -0.5);
    /// The cube root. Floats.
    cbrt: Float = |x| Ok(x.cbrt()?), Slope::Times(|x, y| y / (x * 3.0));
    /// The sine of an angle in radians. Floats.
    sin: Float = |x| Ok(x.sin()?), Slope::Times(|x, _| x.cos());
    /// The cosine of an angle in radians. Floats.
    cos: Float = |x| Ok(x.cos()?), Slope::Times(|x, _| -x.sin());
    /// The tangent of an angle in radians. Floats.
    tan: Float = |x| xla_ext::unary("tan", x), Slope::Times(|_, y| y * y + 1.0);
    /// The angle in radians whose sine is `x`. Floats.
    asin: Float = |x| xla_ext::unary("asin", x), Slope::Times(|x, _| (1.0 - x * x).rsqrt());
    /// The angle in radians whose cosine is `x`. Floats.
    acos: Float = |x| xla_ext::unary("acos", x), Slope::Times(|x, _| -(1.0 - x * x).rsqrt());
    /// The angle in radians whose tangent is `x`. Floats.
    atan: Float = |x| xla_ext::unary("atan", x), Slope::Times(|x, _| 1.0 / (x * x + 1.0));
    /// The hyperbolic sine. Floats.
    sinh: Float = |x| xla_ext::unary("sinh", x), Slope::Times(|x, _| x.cosh());
    /// The hyperbolic cosine. Floats.
    cosh: Float = |x| xla_ext::unary("cosh", x), Slope::Times(|x, _| x.sinh());
    /// The hyperbolic tangent. Floats.
    tanh: Float = |x| Ok(x.tanh()?), Slope::Times(|_, y| 1.0 - y * y);
    /// The inverse of [`sinh`](Tensor::sinh). Floats.
    asinh: Float = |x| xla_ext::unary("asinh", x), Slope::Times(|x, _| (x * x + 1.0).rsqrt());
    /// The inverse of [`cosh`](Tensor::cosh). Floats.
    acosh: Float = |x| xla_ext::unary("acosh", x), Slope::Times(|x, _| ((x - 1.0) * (x + 1.0)).rsqrt());
    /// The inverse of [`tanh`](Tensor::tanh). Floats.
    atanh: Float = |x| xla_ext::unary("atanh", x), Slope::Times(|x, _| 1.0 / ((1.0 - x) * (x + 1.0)));
    /// The logistic function `1 / (1 + exp(-x))`, `jax.nn.sigmoid`. Floats.
    sigmoid: Float = |x| Ok(x.logistic()?), Slope::Times(|_, y| y * (1.0 - y));
    /// The error function. Floats.
    erf: Float = |x| Ok(x.erf()?), Slope::Times(|x, _| (-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI);
    /// `1 - erf(x)`, accurate where it is small. Floats.
    erfc: Float = |x| xla_ext::unary("erfc", x), Slope::Times(|x, _| (-(x * x)).exp() * -std::f64::consts::FRAC_2_SQRT_PI);
    /// The inverse of [`erf`](Tensor::erf), by the polynomials of Giles (2012). Floats.
    erf_inv: Float = |x| xla_ext::unary("erf_inv", x), Slope::Times(|_, y| (y * y).exp() / std::f64::consts::FRAC_2_SQRT_PI);
    /// The logarithm of the absolute value of the gamma function. Floats.
    lgamma: Float = |x| xla_ext::unary("lgamma", x), Slope::Times(|x, _| x.digamma());
    /// The derivative of [`lgamma`](Tensor::lgamma). Floats.
    digamma: Float = |x| xla_ext::unary("digamma", x), Slope::Times(|x, _| Tensor::ones(x.shape(), x.dtype()).polygamma(x));
    /// Whether `x` is neither infinite nor NaN. Floats; the result is `bool`.
    is_finite: Float -> Bool = |x| Ok(x.is_finite()?), Slope::Zero;
    /// Logical not of `bool`, bitwise complement of integers.
    logical_not: BoolOrInt = |x| Ok(x.not()?), Slope::Zero;
    /// The number of leading zero bits. Integers.
    count_leading_zeros: Int = |x| Ok(x.clz()?), Slope::Zero;
    /// The number of bits that are one, `lax.population_count`. Integers.
    population_count: Int = |x| xla_ext::unary("population_count", x), Slope::Zero;
}

/// The derivative of the absolute value, which is 1 at zero, as in JAX.
fn direction(x: &Tensor) -> Tensor {
    let one = Tensor::ones([], x.dtype());
    select(&x.ge(0.0), &one, -&one)
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

    fn is_plain(&self) -> bool {
        true
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![(self.0.lower)(&inputs[0])?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let (x, y) = (&primals[0], rules::apply_one(self, primals));
        let tangent = match (&tangents[0], self.0.slope) {
            (None, _) | (_, Slope::Zero) => None,
            (Some(t), Slope::One) => Some(t.clone()),
            (Some(t), Slope::Minus) => Some(-t),
            (Some(t), Slope::Linear(along)) => Some(along(t, x)),
            (Some(t), Slope::Times(factor)) => Some(t * factor(x, &y)),
            (Some(_), Slope::Unknown) => return Err(no_slope(self.0.name)),
        };
        Ok(Dual::one(y, tangent))
    }

    fn transpose(&self, cts: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        match self.0.slope {
            Slope::One => Ok(cts.to_vec()),
            Slope::Minus => Ok(vec![cts[0].as_ref().map(|ct| -ct)]),
            _ => Err(not_linear(self.0.name)),
        }
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    /// What has a derivative with factors that must be computed is a function such as `exp`.
    fn is_cheap(&self) -> bool {
        !matches!(self.0.slope, Slope::Times(_))
    }

    fn is_linear(&self) -> bool {
        matches!(self.0.slope, Slope::One | Slope::Minus)
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
