//! Cumulative sums and their kin: what has been folded so far, at each position along an axis.

use xla::{XlaBuilder, XlaOp};

use super::associative_scan::AssociativeScan;
use super::domain::Domain;
use super::reduce::Fold;
use super::{Operation, inputs, resolve_axis, rules};
use crate::Tensor;
use crate::autodiff::jvp;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::ir::parse::Parser;
use crate::ir::print::{Attribute, Printer};
use crate::lower::{Lowering, dims};
use crate::trace::record_one;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

/// What a [`Cumulative`] folds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Accumulation {
    Sum,
    Prod,
    Max,
    Min,
    LogSumExp,
}

impl Accumulation {
    const ALL: [Accumulation; 5] = [
        Accumulation::Sum,
        Accumulation::Prod,
        Accumulation::Max,
        Accumulation::Min,
        Accumulation::LogSumExp,
    ];

    fn name(self) -> &'static str {
        self.fold().map_or("logsumexp", Fold::name)
    }

    /// The reduction of the same kind, if there is one.
    fn fold(self) -> Option<Fold> {
        match self {
            Accumulation::Sum => Some(Fold::Sum),
            Accumulation::Prod => Some(Fold::Prod),
            Accumulation::Max => Some(Fold::Max),
            Accumulation::Min => Some(Fold::Min),
            Accumulation::LogSumExp => None,
        }
    }

    fn domain(self) -> Domain {
        if self == Accumulation::LogSumExp { Domain::Float } else { Domain::Number }
    }

    fn neutral(self, builder: &XlaBuilder, dtype: DType) -> Result<XlaOp> {
        self.fold().unwrap_or(Fold::Max).neutral(builder, dtype)
    }

    fn combine(self, x: &XlaOp, y: &XlaOp) -> Result<XlaOp> {
        match self.fold() {
            Some(fold) => fold.combine(x, y),
            None => log_add_exp(x, y),
        }
    }
}

/// `log(exp(x) + exp(y))`. Where the difference is NaN, they are infinities of one sign or one of
/// them is NaN, and the sum is right.
fn log_add_exp(x: &XlaOp, y: &XlaOp) -> Result<XlaOp> {
    let difference = x.sub_(y)?;
    let sum = x.max(y)?.add_(&difference.abs()?.neg()?.exp()?.log1p()?)?;
    Ok(difference.ne(&difference)?.select(&x.add_(y)?, &sum)?)
}

impl Attribute for Accumulation {
    fn print(&self, printer: &mut Printer) {
        printer.push(self.name());
    }

    fn parse(parser: &mut Parser<'_>) -> Result<Accumulation> {
        let start = parser.start();
        let name = parser.word();
        let found = Accumulation::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| parser.error_at(start, "sum, prod, max, min or logsumexp"))
    }
}

operation! {
    /// At each position along `axis`, the elements up to it (from it on, if `reverse`), folded. A
    /// window of HLO's `reduce-window`, which XLA computes in time linear in the size.
    struct Cumulative = "cumulative" { kind: Accumulation, axis: usize, reverse: bool }
}

impl Operation for Cumulative {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        let name = self.kind.name();
        if self.axis >= x.rank() {
            return Err(Error::shape(format!(
                "cum{name}: axis {} is out of range for {x} of rank {}",
                self.axis,
                x.rank(),
            )));
        }
        if !self.kind.domain().contains(x.dtype) {
            let wanted = self.kind.domain().describe();
            return Err(Error::dtype(format!(
                "cum{name}: the operand must have {wanted}, but it is {x}; convert it with `astype`"
            )));
        }
        Ok(vec![x.clone()])
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], outputs: &[Aval]) -> Result<Vec<XlaOp>> {
        let x = &outputs[0];
        if x.size() == 0 {
            return Ok(inputs.to_vec());
        }
        let scalar = Aval::scalar(x.dtype);
        let pair = [scalar.clone(), scalar];
        let computation = Lowering::computation(self.kind.name(), &pair, |_, params| {
            self.kind.combine(&params[0], &params[1])
        })?;
        let neutral = self.kind.neutral(cx.builder(), x.dtype)?;
        let (sizes, axis) = (dims(&x.shape), self.axis);
        xla_ext::cumulative(&inputs[0], &neutral, &computation, &sizes, axis, self.reverse)
            .map(|op| vec![op])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let (x, y) = (&primals[0], rules::apply_one(self, primals));
        let tangent = tangents[0].as_ref().map(|t| match self.kind {
            Accumulation::Sum => rules::apply_one(self, std::slice::from_ref(t)),
            Accumulation::Prod => self.tangent(x, t, |a, b| a * b),
            Accumulation::Max => self.tangent(x, t, |a, b| a.maximum(b)),
            Accumulation::Min => self.tangent(x, t, |a, b| a.minimum(b)),
            Accumulation::LogSumExp => self.tangent(x, t, |a, b| a.logaddexp(b)),
        });
        Ok(Dual::one(y, tangent))
    }

    fn transpose(&self, cts: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        if self.kind != Accumulation::Sum {
            return Err(not_linear(&format!("cum{}", self.kind.name())));
        }
        let back = Cumulative { reverse: !self.reverse, ..self.clone() };
        Ok(vec![cts[0].as_ref().map(|ct| record_one(back, &[ct]))])
    }

    fn batch(&self, _: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, place) = rules::only(inputs);
        let axis = self.axis + usize::from(self.axis >= place);
        let tensor = record_one(Cumulative { axis, ..self.clone() }, &[x]);
        Ok(vec![Batched { tensor, axis: Some(place) }])
    }
}

impl Cumulative {
    /// The tangent, as in JAX: that of the associative scan with `combine`, each step of which has
    /// one. It divides by nothing, so that zeros may be among the factors.
    fn tangent(&self, x: &Tensor, t: &Tensor, combine: fn(&Tensor, &Tensor) -> Tensor) -> Tensor {
        let scan = AssociativeScan::new().axis(self.axis as isize).reverse(self.reverse);
        let step = |(a, s): (Tensor, Tensor), (b, t): (Tensor, Tensor)| {
            jvp(|(a, b): (Tensor, Tensor)| combine(&a, &b), (a, b), (s, t))
        };
        scan.run(step, (x.clone(), t.clone())).1
    }
}

#[track_caller]
fn cumulative(name: &str, x: &Tensor, kind: Accumulation, axis: isize, reverse: bool) -> Tensor {
    let axis = or_poison!(resolve_axis(name, axis, x.rank()), x);
    record_one(Cumulative { kind, axis, reverse }, &[x])
}

/// Cumulative functions: at each position along `axis`, of the elements up to and with it; with
/// `reverse`, of those from it on. The shape and the dtype stay. All fail if `axis` is out of
/// range, and take numbers only: `bool` is to be converted first.
impl Tensor {
    /// The sums; `lax.cumsum`.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[1, 2, 3], [3]);
    /// assert_eq!(x.cumsum(0, false).to_vec::<i32>()?, [1, 3, 6]);
    /// assert_eq!(x.cumsum(0, true).to_vec::<i32>()?, [6, 5, 3]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn cumsum(&self, axis: isize, reverse: bool) -> Tensor {
        cumulative("cumsum", self, Accumulation::Sum, axis, reverse)
    }

    /// The products; `lax.cumprod`.
    #[track_caller]
    pub fn cumprod(&self, axis: isize, reverse: bool) -> Tensor {
        cumulative("cumprod", self, Accumulation::Prod, axis, reverse)
    }

    /// The largest elements, NaN if there is one; `lax.cummax`.
    #[track_caller]
    pub fn cummax(&self, axis: isize, reverse: bool) -> Tensor {
        cumulative("cummax", self, Accumulation::Max, axis, reverse)
    }

    /// The smallest elements, NaN if there is one; `lax.cummin`.
    #[track_caller]
    pub fn cummin(&self, axis: isize, reverse: bool) -> Tensor {
        cumulative("cummin", self, Accumulation::Min, axis, reverse)
    }

    /// The logarithms of the sums of `exp(x)`, computed without overflow; `lax.cumlogsumexp`.
    /// Floats.
    #[track_caller]
    pub fn cumlogsumexp(&self, axis: isize, reverse: bool) -> Tensor {
        cumulative("cumlogsumexp", self, Accumulation::LogSumExp, axis, reverse)
    }
}
