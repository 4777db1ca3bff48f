//! Element-wise arithmetic made of other operations. The names and formulas are those of
//! `jax.numpy`.

use super::binary::Operand;
use super::broadcast::broadcast_shapes;
use super::composed;
use super::domain::{Domain, require};
use super::select::select;
use crate::Tensor;
use crate::aval::DType;
use crate::error::{Error, Result};
use crate::trace::poison;

/// The right operand of an operation made of several, whose messages would not name it.
#[track_caller]
fn right_operand(name: &str, x: &Tensor, rhs: impl Operand) -> Result<Tensor> {
    let rhs = rhs.into_tensor(x);
    rhs.check()?;
    let (left, right) = (x.aval(), rhs.aval());
    if left.dtype != right.dtype {
        return Err(Error::dtype(format!(
            "{name}: the operands must have the same dtype, but they are {left} and {right}: \
             convert one of them with `astype`"
        )));
    }
    if left.dtype == DType::Bool {
        return Err(Error::dtype(format!(
            "{name}: the operands must have a floating or integer dtype, but they are {left} and \
             {right}"
        )));
    }
    let shapes = broadcast_shapes(&[left, right]);
    shapes.map_err(|error| Error::shape(format!("{name}: {}", error.message())))?;
    Ok(rhs)
}

/// Element-wise arithmetic. Shapes are broadcast as in `a + b`, and the dtypes must be the same.
impl Tensor {
    /// `x * x`; `jnp.square`.
    #[track_caller]
    pub fn square(&self) -> Tensor {
        self * self
    }

    /// `1 / x`; `jnp.reciprocal`. Floats.
    #[track_caller]
    pub fn reciprocal(&self) -> Tensor {
        or_poison!(require("reciprocal", self, Domain::Float), self);
        1.0 / self
    }

    /// `x` to the power of a fixed integer, by repeated multiplication; `lax.integer_pow`.
    ///
    /// Fails if the exponent is negative and the dtype is not a floating one.
    #[track_caller]
    pub fn powi(&self, exponent: i32) -> Tensor {
        or_poison!(require("powi", self, Domain::Number), self);
        if exponent < 0 && !self.dtype().is_float() {
            let message = format!(
                "powi: the exponent of integers must not be negative, but it is {exponent} for {}; \
                 convert the tensor with `astype`",
                self.aval(),
            );
            return poison(Error::dtype(message), &[self]);
        }
        composed("powi", self.clone(), |x| {
            let (mut left, mut square) = (exponent.unsigned_abs(), x.clone());
            let mut power: Option<Tensor> = None;
            while left > 0 {
                if left & 1 == 1 {
                    power = Some(power.map_or(square.clone(), |power| power * &square));
                }
                left >>= 1;
                if left > 0 {
                    square = &square * &square;
                }
            }
            match power {
                None => Tensor::ones(x.shape(), x.dtype()),
                Some(power) if exponent < 0 => 1.0 / power,
                Some(power) => power,
            }
        })
    }

    /// The part before the decimal point, with the sign; `jnp.trunc`. Floats.
    #[track_caller]
    pub fn trunc(&self) -> Tensor {
        or_poison!(require("trunc", self, Domain::Float), self);
        composed("trunc", self.clone(), |x| select(&x.lt(0), x.ceil(), x.floor()))
    }

    /// The largest whole number not above the quotient; `jnp.floor_divide`, `//` of Python. Floats
    /// and integers; integers are divided by zero as by [`div`](Tensor::div).
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[7, -7], [2]);
    /// assert_eq!(x.floor_divide(2).to_vec::<i32>()?, [3, -4]);
    /// assert_eq!((x / 2).to_vec::<i32>()?, [3, -3]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn floor_divide(&self, rhs: impl Operand) -> Tensor {
        let rhs = or_poison!(right_operand("floor_divide", self, rhs), self);
        composed("floor_divide", (self.clone(), rhs), |(x, y)| {
            let remainder = &x % &y;
            let quotient = match x.dtype().is_float() {
                // The remainder is exact, so that what is divided is a multiple of the divisor.
                true => select(&y.eq(0), &x, &x - &remainder) / &y,
                false => &x / &y,
            };
            if !x.dtype().is_float() && !x.dtype().is_signed_int() {
                return quotient;
            }
            let sign = if x.dtype().is_float() { remainder.sign() } else { x.sign() };
            let below = remainder.ne(0) & y.sign().ne(sign);
            let floor = select(&below, &quotient - 1, &quotient);
            if x.dtype().is_float() { floor.round() } else { floor }
        })
    }

    /// The remainder with the sign of the divisor, which belongs to
    /// [`floor_divide`](Tensor::floor_divide); `jnp.remainder`, `%` of Python. Floats and integers;
    /// the remainder of integers by zero is 0. (The operator `%` here has the sign of the dividend,
    /// as in Rust.)
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[7, -7], [2]);
    /// assert_eq!(x.remainder(3).to_vec::<i32>()?, [1, 2]);
    /// assert_eq!((x % 3).to_vec::<i32>()?, [1, -1]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn remainder(&self, rhs: impl Operand) -> Tensor {
        let rhs = or_poison!(right_operand("remainder", self, rhs), self);
        composed("remainder", (self.clone(), rhs), |(x, y)| {
            let y = if y.dtype().is_float() { y } else { select(&y.eq(0), 1, &y) };
            let remainder = x % &y;
            let wrong_sign = remainder.ne(0) & remainder.lt(0).ne(y.lt(0));
            select(&wrong_sign, &remainder + &y, &remainder)
        })
    }

    /// `log(exp(x) + exp(y))`, computed without overflow; `jnp.logaddexp`. Floats.
    #[track_caller]
    pub fn logaddexp(&self, rhs: impl Operand) -> Tensor {
        or_poison!(require("logaddexp", self, Domain::Float), self);
        let rhs = or_poison!(right_operand("logaddexp", self, rhs), self);
        composed("logaddexp", (self.clone(), rhs), |(x, y)| {
            // `maximum` and `abs` would do, but of what they are at ties no derivative of a higher
            // order is right; either branch of the select has all of them.
            let difference = &x - &y;
            let below = difference.lt(0);
            // The difference of infinities of one sign is NaN, as is what has a NaN: there the sum
            // is right, and the derivative of the other branch is kept finite.
            let nan = difference.is_nan();
            let distance = select(&nan, 0, select(&below, &difference, -&difference));
            let sum = select(&below, &y, &x) + distance.exp().log1p();
            select(&nan, x + y, sum)
        })
    }

    /// Whether `x` is NaN; `jnp.isnan`. The result is `bool`, and false for other dtypes than
    /// floating ones.
    #[track_caller]
    pub fn is_nan(&self) -> Tensor {
        self.ne(self)
    }

    /// Whether `x` is infinite, of either sign; `jnp.isinf`. Floats; the result is `bool`.
    #[track_caller]
    pub fn is_inf(&self) -> Tensor {
        or_poison!(require("is_inf", self, Domain::Float), self);
        composed("is_inf", self.clone(), |x| x.abs().eq(f64::INFINITY))
    }
}
