//! Element-wise functions of two tensors, and the operators `+ - * / % & | ^ << >>`.
//!
//! The operations themselves take operands of one type. What a user calls brings them there: shapes
//! are broadcast by NumPy's rules, and numbers of the host take the dtype of the tensor.

use xla::{ElementType, XlaOp};

use super::broadcast::broadcast_shapes;
use super::domain::{Domain, Slope, no_slope, result_dtype, told_by_name};
use super::select::select;
use super::{Operation, inputs, pad, panel_dot, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::host::Scalar;
use crate::ir::Value;
use crate::lower::{Lowering, dims};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::{self, Dual};
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

/// What a tangent of an operand `x` or `y` is multiplied by, for the result `z`.
type Factor = fn(x: &Tensor, y: &Tensor, z: &Tensor) -> Tensor;

/// What tells one of these operations from another.
pub(crate) struct BinaryDef {
    name: &'static str,
    domain: Domain,
    /// The dtype of the result, where it is not that of the operands.
    result: Option<DType>,
    lower: fn(&XlaOp, &XlaOp) -> Result<XlaOp>,
    slopes: [Slope<Factor>; 2],
}

/// An element-wise function of two tensors of the same type.
#[derive(Clone, Copy)]
pub(crate) struct Binary(&'static BinaryDef);

/// What can stand at the side of a tensor in an operation: a tensor, or a number that takes the
/// tensor's dtype.
pub trait Operand {
    /// The tensor, or the number made a scalar of the dtype of `like`.
    #[doc(hidden)]
    fn into_tensor(self, like: &Tensor) -> Tensor;

    /// The tensor, if it is one.
    #[doc(hidden)]
    fn as_tensor(&self) -> Option<&Tensor> {
        None
    }
}

impl Operand for Tensor {
    fn into_tensor(self, _: &Tensor) -> Tensor {
        self
    }

    fn as_tensor(&self) -> Option<&Tensor> {
        Some(self)
    }
}

impl Operand for &Tensor {
    fn into_tensor(self, _: &Tensor) -> Tensor {
        self.clone()
    }

    fn as_tensor(&self) -> Option<&Tensor> {
        Some(self)
    }
}

macro_rules! scalar_operands {
    ($($ty:ty)*) => {$(
        impl Operand for $ty {
            #[track_caller]
            fn into_tensor(self, like: &Tensor) -> Tensor {
                Tensor::scalar_of(Scalar::from(self), like.dtype())
            }
        }
    )*};
}

scalar_operands!(f32 f64 i32 i64 u8 u32 bool);

/// Broadcasts the operands to one shape and records the operation.
#[track_caller]
fn apply(def: &'static BinaryDef, x: &Tensor, y: &Tensor) -> Tensor {
    if x.shape() == y.shape() {
        return record_one(Binary(def), &[x, y]);
    }
    match broadcast_shapes(&[x.aval(), y.aval()]) {
        Ok(shape) => record_one(Binary(def), &[&x.broadcast_to(&shape), &y.broadcast_to(&shape)]),
        Err(error) => poison(Error::shape(format!("{}: {}", def.name, error.message())), &[x, y]),
    }
}

macro_rules! binary_operations {
    ($(
        $(#[$doc:meta])*
        $name:ident: $domain:ident $(-> $result:ident)? = $lower:expr, $slopes:expr;
    )*) => {
        #[allow(non_upper_case_globals, reason = "each is named as the method it belongs to")]
        mod table {
            use super::*;
            $(
                pub(super) static $name: BinaryDef = BinaryDef {
                    name: stringify!($name),
                    domain: Domain::$domain,
                    result: result_dtype!($($result)?),
                    lower: $lower,
                    slopes: $slopes,
                };
            )*
            pub(super) static ALL: &[&BinaryDef] = &[$(&$name),*];
        }

        /// Element-wise functions of two tensors, or of a tensor and a number. Shapes are broadcast
        /// by NumPy's rules; the dtypes must be the same; where nothing else is said, the result
        /// has it too.
        impl Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name(&self, rhs: impl Operand) -> Tensor {
                    apply(&table::$name, self, &rhs.into_tensor(self))
                }
            )*
        }
    };
}

use Slope::{Linear, Minus, One, Times, Unknown, Zero};

binary_operations! {
    /// The sum; of `bool`, logical or. Also `+`.
    add: Any = |x, y| Ok(x.add_(y)?), [One, One];
    /// The difference. Also `-`.
    sub: Number = |x, y| Ok(x.sub_(y)?), [One, Minus];
    /// The product; of `bool`, logical and. Also `*`.
    mul: Any = |x, y| Ok(x.mul_(y)?), [Linear(product), Linear(product)];
    /// The quotient; of integers, rounded towards zero as `lax.div`. Also `/`.
    div: Number = |x, y| Ok(x.div_(y)?), [Linear(|t, y| t / y), Times(|_, y, z| -(z / y))];
    /// The remainder with the sign of the dividend, as `lax.rem`. Also `%`.
    rem: Number = |x, y| Ok(x.rem_(y)?), [One, Times(|x, y, _| -truncated(&(x / y)))];
    /// `self` to the power of `rhs`. Floats and integers.
    ///
    /// Zero to the power of zero is one, and a negative float to the power of what is no whole
    /// number is NaN. Powers of integers wrap around, as products do. An integer to a negative
    /// power is what `1 / x` is, rounded towards zero: 0, unless `x` is 1 or -1 (zero too gives 0).
    /// For a power that is known when the program is written, see [`powi`](Tensor::powi).
    pow: Number = power, [Times(power_slope), Times(exponent_slope)];
    /// The larger one; NaN if either is.
    maximum: Any = |x, y| Ok(x.max(y)?), [Times(share), Times(|x, y, z| share(y, x, z))];
    /// The smaller one; NaN if either is.
    minimum: Any = |x, y| Ok(x.min(y)?), [Times(share), Times(|x, y, z| share(y, x, z))];
    /// The angle of the point (`rhs`, `self`), which are its x and y, in radians: from -π to π, and
    /// 0 at the origin. Floats; fails for other dtypes.
    atan2: Float = |x, y| Ok(x.atan2(y)?), [Times(|x, y, _| y / (x * x + y * y)), Times(|x, y, _| -(x / (x * x + y * y)))];
    /// The next number after `self` in the direction of `rhs`. Floats.
    nextafter: Float = |x, y| xla_ext::binary("nextafter", x, y), [One, Zero];
    /// The `self`-th derivative of [`digamma`](Tensor::digamma) at `rhs`, for whole numbers from 0
    /// on; `lax.polygamma`. Floats.
    polygamma: Float = |n, x| xla_ext::binary("polygamma", &plain(n)?, &plain(x)?),
        [Unknown, Times(|n, x, _| (n + 1.0).polygamma(x))];
    /// Logical and of `bool`, bitwise and of integers. Also `&`.
    logical_and: BoolOrInt = |x, y| Ok(x.and(y)?), [Zero, Zero];
    /// Logical or of `bool`, bitwise or of integers. Also `|`.
    logical_or: BoolOrInt = |x, y| Ok(x.or(y)?), [Zero, Zero];
    /// Exclusive or of `bool`, bitwise of integers. Also `^`.
    logical_xor: BoolOrInt = |x, y| Ok(x.xor(y)?), [Zero, Zero];
    /// The bits moved left; zero where `rhs` is not less than the number of bits. Integers. Also
    /// `<<`.
    shift_left: Int = |x, y| xla_ext::binary("shift_left", x, y), [Zero, Zero];
    /// The bits moved right, zeros coming in. Integers.
    shift_right_logical: Int = |x, y| xla_ext::binary("shift_right_logical", x, y), [Zero, Zero];
    /// The bits moved right, copies of the sign coming in. Integers.
    shift_right_arithmetic: Int = |x, y| xla_ext::binary("shift_right_arithmetic", x, y), [Zero, Zero];
    /// Whether they are equal; NaN is equal to nothing. The result is `bool`.
    eq: Any -> Bool = |x, y| Ok(x.eq(y)?), [Zero, Zero];
    /// Whether they differ. The result is `bool`.
    ne: Any -> Bool = |x, y| Ok(x.ne(y)?), [Zero, Zero];
    /// Whether `self` is less. The result is `bool`.
    lt: Any -> Bool = |x, y| Ok(x.lt(y)?), [Zero, Zero];
    /// Whether `self` is less or equal. The result is `bool`.
    le: Any -> Bool = |x, y| Ok(x.le(y)?), [Zero, Zero];
    /// Whether `self` is greater. The result is `bool`.
    gt: Any -> Bool = |x, y| Ok(x.gt(y)?), [Zero, Zero];
    /// Whether `self` is greater or equal. The result is `bool`.
    ge: Any -> Bool = |x, y| Ok(x.ge(y)?), [Zero, Zero];
}

fn product(tangent: &Tensor, other: &Tensor) -> Tensor {
    tangent * other
}

/// The whole number next to `x` on the side of zero.
fn truncated(x: &Tensor) -> Tensor {
    x.sign() * x.abs().floor()
}

/// What part of a change of `x` goes to `z`, the larger or the smaller one of `x` and `y`: half of
/// it where they are equal, as in JAX.
fn share(x: &Tensor, y: &Tensor, z: &Tensor) -> Tensor {
    let (whole, half) = (Tensor::ones([], z.dtype()), Tensor::full([], 0.5, z.dtype()));
    let tied = select(&x.eq(y), &half, &whole);
    select(&x.eq(z), &tied, 0.0)
}

/// The derivative of `x` to the power of `y` by `x`; 0 for the power of zero, whatever `x` is.
fn power_slope(x: &Tensor, y: &Tensor, _: &Tensor) -> Tensor {
    let less = select(&y.eq(0.0), 1.0, y - 1.0);
    y * x.pow(less)
}

/// The derivative of `x` to the power of `y` by `y`. It is that of 0, too, where the power is.
fn exponent_slope(x: &Tensor, _: &Tensor, z: &Tensor) -> Tensor {
    select(&x.eq(0.0), 1.0, x).log() * z
}

/// The same tensor in the usual layout. Operations such as a transpose infer another one, and XLA
/// refuses a polygamma of operands that differ in it.
fn plain(x: &XlaOp) -> Result<XlaOp> {
    Ok(x.reshape(&dims(&x.dims()?))?)
}

/// The power. That of integers is made of products here: XLA's looks at six bits of the exponent,
/// so that 0 to the power of 64 is 1, and what it makes of negative exponents depends on how it
/// compiles.
fn power(x: &XlaOp, y: &XlaOp) -> Result<XlaOp> {
    let ty = x.ty()?.element_type()?;
    let bits = match ty {
        ElementType::U8 => 8,
        ElementType::U32 | ElementType::S32 => 32,
        ElementType::S64 => 64,
        _ => return Ok(x.pow(y)?),
    };
    let (zero, one) = (x.zeros_like()?, x.zeros_like()?.add_(&x.builder().one(ty)?)?);
    let (mut result, mut square, mut left) = (one.clone(), x.clone(), y.clone());
    for bit in 0..bits {
        let odd = left.and(&one)?.eq(&one)?;
        result = odd.select(&result.mul_(&square)?, &result)?;
        if bit + 1 < bits {
            square = square.mul_(&square)?;
            left = xla_ext::binary("shift_right_logical", &left, &one)?;
        }
    }
    if matches!(ty, ElementType::U8 | ElementType::U32) {
        return Ok(result);
    }
    // What was computed for a negative exponent has the right sign, if it is 1 or -1.
    let vanishes = y.lt(&zero)?.and(&x.abs()?.ne(&one)?)?;
    Ok(vanishes.select(&zero, &result)?)
}

/// Shifts.
impl Tensor {
    /// The bits moved right: copies of the sign come in for signed integers, and zeros for unsigned
    /// ones, as in Rust; `jnp.right_shift`. Also `>>`.
    ///
    /// Where `rhs` is not less than the number of bits, only copies of the sign or zeros are left.
    /// Shapes are broadcast, and the dtypes must be the same; fails if they are not integers.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!((Tensor::scalar(-8, DType::I32) >> 1).item::<i32>()?, -4);
    /// assert_eq!((Tensor::scalar(0xFFFF_FFF8u32, DType::U32) >> 1).item::<u32>()?, 0x7FFF_FFFC);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[doc(alias = "right_shift")]
    #[track_caller]
    pub fn shift_right(&self, rhs: impl Operand) -> Tensor {
        match self.dtype().is_signed_int() {
            true => self.shift_right_arithmetic(rhs),
            false => self.shift_right_logical(rhs),
        }
    }
}

impl Binary {
    /// The sum.
    pub fn add() -> Binary {
        Binary(&table::add)
    }
}

impl Operation for Binary {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, y] = inputs(self, avals)?;
        let name = self.0.name;
        if x.dtype != y.dtype {
            return Err(Error::dtype(format!(
                "{name}: the operands must have the same dtype, but they are {x} and {y}: convert \
                 one of them with `astype`"
            )));
        }
        if x.shape != y.shape {
            return Err(Error::shape(format!("{name}: the shapes of {x} and {y} differ")));
        }
        if !self.0.domain.contains(x.dtype) {
            let wanted = self.0.domain.describe();
            return Err(Error::dtype(format!(
                "{name}: the operands must have {wanted}, but they are {x} and {y}"
            )));
        }
        Ok(vec![x.with_dtype(self.0.result.unwrap_or(x.dtype))])
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn for_cpu(&self, _: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let summed = if *self == Binary::add() { panel_dot::summed(inputs, at) } else { None };
        summed.or_else(|| self.simplify(inputs, at))
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![(self.0.lower)(&inputs[0], &inputs[1])?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let (x, y) = (&primals[0], &primals[1]);
        let z = rules::apply_one(self, primals);
        let part = |i: usize| {
            Ok(match (&tangents[i], self.0.slopes[i]) {
                (None, _) | (_, Zero) => None,
                (Some(t), One) => Some(t.clone()),
                (Some(t), Minus) => Some(-t),
                (Some(t), Linear(along)) => Some(along(t, &primals[1 - i])),
                (Some(t), Times(factor)) => Some(t * factor(x, y, &z)),
                (Some(_), Unknown) => return Err(no_slope(self.0.name)),
            })
        };
        let tangent = jvp::sum([part(0)?, part(1)?]);
        Ok(Dual::one(z, tangent))
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let Some(ct) = &cts[0] else { return Ok(vec![None, None]) };
        let part = |i: usize| {
            if !inputs[i].is_linear() {
                return Ok(None);
            }
            match self.0.slopes[i] {
                One => Ok(Some(ct.clone())),
                Minus => Ok(Some(-ct)),
                Linear(along) => Ok(Some(along(ct, inputs[1 - i].known(self.0.name)?))),
                Zero | Times(_) | Unknown => Err(not_linear(self.0.name)),
            }
        };
        Ok(vec![part(0)?, part(1)?])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    /// A sum of parts of a tensor, each padded with zeros to its place, is the parts joined.
    fn simplify(&self, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let is_sum = *self == Binary::add();
        is_sum.then(|| pad::joined(inputs, at)).flatten().map(|value| vec![value])
    }

    /// What has a derivative with factors that must be computed is a function such as `exp`.
    fn is_cheap(&self) -> bool {
        !self.0.slopes.iter().any(|slope| matches!(slope, Times(_) | Unknown))
    }

    fn is_linear(&self) -> bool {
        self.0.slopes.iter().all(|slope| matches!(slope, One | Minus))
    }
}

told_by_name!(Binary);

macro_rules! operators {
    ($($Trait:ident::$method:ident = $name:ident;)*) => {$(
        impl<R: Operand> std::ops::$Trait<R> for Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                Tensor::$name(&self, rhs)
            }
        }

        impl<R: Operand> std::ops::$Trait<R> for &Tensor {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                Tensor::$name(self, rhs)
            }
        }

        // One type for each kind of literal: with more, `1.0 - x` would have no type until late.
        operators!(@left $Trait::$method = $name: f64 i32);
    )*};
    (@left $Trait:ident::$method:ident = $name:ident: $($scalar:ty)*) => {$(
        impl std::ops::$Trait<Tensor> for $scalar {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, rhs: Tensor) -> Tensor {
                Tensor::$name(&self.into_tensor(&rhs), rhs)
            }
        }

        impl std::ops::$Trait<&Tensor> for $scalar {
            type Output = Tensor;

            #[track_caller]
            fn $method(self, rhs: &Tensor) -> Tensor {
                Tensor::$name(&self.into_tensor(rhs), rhs)
            }
        }
    )*};
}

operators! {
    Add::add = add;
    Sub::sub = sub;
    Mul::mul = mul;
    Div::div = div;
    Rem::rem = rem;
    BitAnd::bitand = logical_and;
    BitOr::bitor = logical_or;
    BitXor::bitxor = logical_xor;
    Shl::shl = shift_left;
    Shr::shr = shift_right;
}
