//! Einstein summation and `tensordot`: products told by labels or axes, made of dot products,
//! sums and transposes.

use std::collections::BTreeMap;

use super::dot::Dot;
use super::reduce::{Fold, fold, total};
use super::select::select;
use super::{composed, resolve_axis};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::trace::{poison, record_one};

/// What stands for `...` while subscripts are read.
const ELLIPSIS: char = '…';

/// The label of the axis of `...` that is `i`-th from the right: a character that no text holds.
fn ellipsis_label(i: usize) -> Result<char> {
    let label = u32::try_from(i).ok().and_then(|i| char::from_u32(0xF0000 + i));
    label.ok_or_else(|| Error::shape("einsum: `...` stands for too many axes"))
}

/// A label for messages.
fn describe(label: char) -> String {
    match label.is_ascii() {
        true => format!("label `{label}`"),
        false => format!("axis {} of `...`", -1 - (label as i64 - 0xF0000)),
    }
}

/// Subscripts, with a label for each axis of each operand.
struct Plan {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
    sizes: BTreeMap<char, usize>,
}

impl Plan {
    fn new(subscripts: &str, avals: &[&Aval]) -> Result<Plan> {
        let text: String = subscripts.chars().filter(|c| !c.is_whitespace()).collect();
        if text.contains(ELLIPSIS) {
            return Err(no_label(ELLIPSIS));
        }
        let text = text.replace("...", &ELLIPSIS.to_string());
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(labels(output)?)),
            None => (&*text, None),
        };
        let terms = inputs.split(',').map(labels).collect::<Result<Vec<_>>>()?;
        if terms.len() != avals.len() {
            return Err(Error::argument(format!(
                "there are {} terms, but {} operands: write one term for each, with commas between \
                 them",
                terms.len(),
                avals.len(),
            )));
        }
        let mut longest = 0;
        let mut inputs = Vec::new();
        for (i, (term, aval)) in terms.iter().zip(avals).enumerate() {
            let (labels, stretch) = expand(term, i, aval)?;
            longest = longest.max(stretch);
            inputs.push(labels);
        }
        let sizes = sizes(&inputs, avals)?;
        let output = match output {
            Some(output) => explicit_output(&output, longest, &sizes)?,
            None => implicit_output(&inputs, longest)?,
        };
        Ok(Plan { inputs, output, sizes })
    }

    /// Multiplies the operands from the left to the right, and sums over each label as soon as
    /// nothing behind needs it.
    fn apply(&self, operands: Vec<Tensor>) -> Tensor {
        let mut result: Option<Term> = None;
        for (i, (tensor, labels)) in operands.into_iter().zip(&self.inputs).enumerate() {
            let term = Term { tensor, labels: labels.clone() };
            let term = term.diagonal().without_stretched(&self.sizes);
            let keep = |label| {
                let behind = &self.inputs[i + 1..];
                self.output.contains(&label) || behind.iter().any(|l| l.contains(&label))
            };
            result = Some(match result {
                None => term.summed(keep),
                Some(product) => product.times(term, keep),
            });
        }
        let result = result.expect("there are as many operands as terms, and at least one term");
        let order: Vec<isize> = self.output.iter().map(|&l| result.position(l) as isize).collect();
        if order.is_sorted() { result.tensor } else { result.tensor.transpose(order) }
    }
}

/// The labels of a term, with at most one [`ELLIPSIS`].
fn labels(term: &str) -> Result<Vec<char>> {
    let labels: Vec<char> = term.chars().collect();
    if let Some(other) = labels.iter().find(|&&c| c != ELLIPSIS && !c.is_ascii_alphabetic()) {
        return Err(no_label(*other));
    }
    if labels.iter().filter(|&&c| c == ELLIPSIS).count() > 1 {
        return Err(Error::argument("a term holds `...` at most once"));
    }
    Ok(labels)
}

fn no_label(c: char) -> Error {
    Error::argument(format!(
        "`{c}` is no label: a label is a letter, and `...` (three dots) stands for any number of axes"
    ))
}

/// A label for each axis of an operand, and the number of axes for which `...` stands.
fn expand(term: &[char], operand: usize, aval: &Aval) -> Result<(Vec<char>, usize)> {
    let named = term.iter().filter(|&&c| c != ELLIPSIS).count();
    let stretch = match (term.contains(&ELLIPSIS), aval.rank().checked_sub(named)) {
        (true, Some(stretch)) => stretch,
        (false, Some(0)) => 0,
        (has_ellipsis, _) => {
            let wanted = if has_ellipsis { "at least " } else { "" };
            let labels: String = term.iter().filter(|&&c| c != ELLIPSIS).collect();
            return Err(Error::shape(format!(
                "operand {operand} is {aval} of rank {}, but its labels `{labels}` stand for \
                 {wanted}{named} axes",
                aval.rank(),
            )));
        }
    };
    let mut expanded = Vec::new();
    for &label in term {
        match label {
            ELLIPSIS => {
                for i in (0..stretch).rev() {
                    expanded.push(ellipsis_label(i)?);
                }
            }
            label => expanded.push(label),
        }
    }
    Ok((expanded, stretch))
}

/// The size of each label. Sizes of one stretch, as in broadcasting, but not along a diagonal.
fn sizes(inputs: &[Vec<char>], avals: &[&Aval]) -> Result<BTreeMap<char, usize>> {
    let mut found: BTreeMap<char, (usize, usize)> = BTreeMap::new();
    for (i, (labels, aval)) in inputs.iter().zip(avals).enumerate() {
        for (axis, (&label, &size)) in labels.iter().zip(&aval.shape).enumerate() {
            let earlier = labels[..axis].iter().position(|&l| l == label);
            if let Some(earlier) = earlier.filter(|&earlier| aval.shape[earlier] != size) {
                return Err(Error::shape(format!(
                    "{} names axes {earlier} and {axis} of operand {i}, {aval}: the axes of a \
                     diagonal must have the same size, but they have sizes {} and {size}",
                    describe(label),
                    aval.shape[earlier],
                )));
            }
            match found.get(&label) {
                Some(&(known, operand)) if known != size && known != 1 && size != 1 => {
                    return Err(Error::shape(format!(
                        "{} has size {known} in operand {operand}, {}, but size {size} in operand \
                         {i}, {aval}",
                        describe(label),
                        avals[operand],
                    )));
                }
                Some(&(known, _)) if known != 1 => {}
                _ => {
                    found.insert(label, (size, i));
                }
            }
        }
    }
    Ok(found.into_iter().map(|(label, (size, _))| (label, size)).collect())
}

fn explicit_output(
    output: &[char],
    ellipsis: usize,
    sizes: &BTreeMap<char, usize>,
) -> Result<Vec<char>> {
    if ellipsis > 0 && !output.contains(&ELLIPSIS) {
        return Err(Error::argument(format!(
            "`...` stands for {ellipsis} axes of the operands, so it must also stand in the \
             output: name the axes to sum them"
        )));
    }
    let mut expanded = Vec::new();
    for &label in output {
        match label {
            ELLIPSIS => {
                for i in (0..ellipsis).rev() {
                    expanded.push(ellipsis_label(i)?);
                }
            }
            label if !sizes.contains_key(&label) => {
                return Err(Error::argument(format!(
                    "label `{label}` of the output is in no operand"
                )));
            }
            label if expanded.contains(&label) => {
                return Err(Error::argument(format!(
                    "label `{label}` is in the output more than once"
                )));
            }
            label => expanded.push(label),
        }
    }
    Ok(expanded)
}

/// NumPy's output where none is given: the axes of `...`, and then the labels that are there once,
/// in alphabetical order.
fn implicit_output(inputs: &[Vec<char>], ellipsis: usize) -> Result<Vec<char>> {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for &label in inputs.iter().flatten() {
        *counts.entry(label).or_default() += 1;
    }
    let once = counts.into_iter().filter(|&(label, n)| label.is_ascii() && n == 1);
    let leading: Result<Vec<char>> = (0..ellipsis).rev().map(ellipsis_label).collect();
    Ok(leading?.into_iter().chain(once.map(|(label, _)| label)).collect())
}

/// A tensor with a label for each axis.
struct Term {
    tensor: Tensor,
    labels: Vec<char>,
}

impl Term {
    fn position(&self, label: char) -> usize {
        self.labels.iter().position(|&l| l == label).expect("the label is one of the term's")
    }

    /// Each label once: axes with the same label become their diagonal.
    fn diagonal(mut self) -> Term {
        while let Some((first, last)) = self.repeated() {
            let shape = self.tensor.shape();
            let index = |axis| Tensor::broadcasted_iota(shape, axis as isize, DType::I32);
            let masked = select(&index(first).eq(index(last)), &self.tensor, 0);
            self.tensor = fold(&masked, Fold::Sum, &[last], false);
            self.labels.remove(last);
        }
        self
    }

    fn repeated(&self) -> Option<(usize, usize)> {
        let labels = self.labels.iter().enumerate();
        labels.rev().find_map(|(last, label)| {
            let first = self.labels[..last].iter().position(|l| l == label)?;
            Some((first, last))
        })
    }

    /// The term without the axes of size one that other terms have larger.
    fn without_stretched(self, sizes: &BTreeMap<char, usize>) -> Term {
        let stretched =
            |axis: &usize| self.tensor.shape()[*axis] == 1 && sizes[&self.labels[*axis]] != 1;
        let axes: Vec<isize> =
            (0..self.labels.len()).filter(stretched).map(|axis| axis as isize).collect();
        let kept = (0..self.labels.len()).filter(|axis| !stretched(axis));
        let labels = kept.map(|axis| self.labels[axis]).collect();
        Term { tensor: self.tensor.squeeze(axes), labels }
    }

    /// The term, summed over the axes whose labels are not to be kept.
    fn summed(self, keep: impl Fn(char) -> bool) -> Term {
        let axes: Vec<usize> =
            (0..self.labels.len()).filter(|&axis| !keep(self.labels[axis])).collect();
        if axes.is_empty() {
            return self;
        }
        let dtype = self.tensor.dtype();
        let tensor = total(&self.tensor, Fold::Sum, &axes, false).astype(dtype);
        Term { tensor, labels: self.labels.into_iter().filter(|&label| keep(label)).collect() }
    }

    /// The product of two terms, summed over the labels that are not to be kept.
    fn times(self, other: Term, keep: impl Fn(char) -> bool) -> Term {
        let lhs = self.labels.clone();
        let rhs = other.labels.clone();
        let x = self.summed(|label| keep(label) || rhs.contains(&label));
        let y = other.summed(|label| keep(label) || lhs.contains(&label));
        let shared: Vec<char> =
            x.labels.iter().copied().filter(|label| y.labels.contains(label)).collect();
        let (batch, contract): (Vec<char>, Vec<char>) =
            shared.iter().partition(|&&label| keep(label));
        let axes = |term: &Term, labels: &[char]| -> Vec<usize> {
            labels.iter().map(|&label| term.position(label)).collect()
        };
        let op = Dot {
            lhs_contract: axes(&x, &contract),
            rhs_contract: axes(&y, &contract),
            lhs_batch: axes(&x, &batch),
            rhs_batch: axes(&y, &batch),
        };
        let free = x.labels.iter().chain(&y.labels).filter(|label| !shared.contains(label));
        let labels = batch.iter().chain(free).copied().collect();
        Term { tensor: record_one(op, &[&x.tensor, &y.tensor]), labels }
    }
}

/// Sums products as told by labels, one letter for each axis, in Einstein's notation; `jnp.einsum`.
///
/// `subscripts` names the axes of each operand and, behind `->`, those of the result: `"ij,jk->ik"`
/// is the matrix product. Labels that are not in the result are summed over. A label twice in one
/// operand is its diagonal. `...` stands for any number of axes, which are broadcast. Without `->`,
/// the result has the axes of `...` and then the labels that are there once, in alphabetical order.
/// Any number of operands are multiplied from the left to the right.
///
/// Fails if the subscripts are not of that form, do not fit the ranks of the operands, give a label
/// two sizes (other than one), or if the dtypes differ or are `bool`.
///
/// # Examples
/// ```
/// use onetrace::{einsum, prelude::*};
/// let a = Tensor::ones([2, 3, 4], DType::F32);
/// let b = Tensor::ones([2, 4, 5], DType::F32);
/// assert_eq!(einsum("bij,bjk->bik", &[&a, &b]).shape(), [2, 3, 5]);
/// let matrix = Tensor::new(&[1, 2, 3, 4], [2, 2]);
/// assert_eq!(einsum("ii", &[&matrix]).item::<i32>()?, 5);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn einsum(subscripts: &str, operands: &[&Tensor]) -> Tensor {
    if let Some(error) = operands.iter().find_map(|operand| operand.check().err()) {
        return poison(error, operands);
    }
    let avals: Vec<&Aval> = operands.iter().map(|operand| operand.aval()).collect();
    let plan = match check_dtypes(&avals).and_then(|()| Plan::new(subscripts, &avals)) {
        Ok(plan) => plan,
        Err(error) => {
            let message = format!("einsum {subscripts:?}: {}", error.message());
            return poison(Error::new(error.kind(), message), operands);
        }
    };
    let operands: Vec<Tensor> = operands.iter().map(|&operand| operand.clone()).collect();
    composed("einsum", operands, |operands| plan.apply(operands))
}

fn check_dtypes(avals: &[&Aval]) -> Result<()> {
    let list = || avals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if avals.iter().any(|aval| aval.dtype == DType::Bool) {
        return Err(Error::dtype(format!(
            "the operands must have a floating or integer dtype, but they are {}; convert them \
             with `astype`",
            list(),
        )));
    }
    if avals.iter().any(|aval| aval.dtype != avals[0].dtype) {
        return Err(Error::dtype(format!(
            "the operands must have the same dtype, but they are {}; convert them with `astype`",
            list(),
        )));
    }
    Ok(())
}

/// The axes that [`tensordot`](Tensor::tensordot) sums over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensordotAxes {
    /// The last axes of the left operand with the first ones of the right one, so many.
    Last(usize),
    /// These axes of the left operand with those of the right one.
    Pairs(Vec<isize>, Vec<isize>),
}

impl From<usize> for TensordotAxes {
    fn from(count: usize) -> TensordotAxes {
        TensordotAxes::Last(count)
    }
}

impl<const M: usize, const N: usize> From<([isize; M], [isize; N])> for TensordotAxes {
    fn from((lhs, rhs): ([isize; M], [isize; N])) -> TensordotAxes {
        TensordotAxes::Pairs(lhs.to_vec(), rhs.to_vec())
    }
}

impl From<(&[isize], &[isize])> for TensordotAxes {
    fn from((lhs, rhs): (&[isize], &[isize])) -> TensordotAxes {
        TensordotAxes::Pairs(lhs.to_vec(), rhs.to_vec())
    }
}

impl TensordotAxes {
    /// The axes of tensors of these types, whose dtypes and sizes fit.
    fn resolve(&self, x: &Aval, y: &Aval) -> Result<(Vec<usize>, Vec<usize>)> {
        if x.dtype != y.dtype {
            return Err(Error::dtype(format!(
                "tensordot: the operands must have the same dtype, but they are {x} and {y}: \
                 convert one of them with `astype`"
            )));
        }
        let (lhs, rhs) = self.in_range(x, y)?;
        for (&i, &j) in lhs.iter().zip(&rhs) {
            let (m, n) = (x.shape[i], y.shape[j]);
            if m != n {
                return Err(Error::shape(format!(
                    "tensordot: axis {i} of {x} has size {m}, but axis {j} of {y}, over which it \
                     is summed, has size {n}"
                )));
            }
        }
        Ok((lhs, rhs))
    }

    fn in_range(&self, x: &Aval, y: &Aval) -> Result<(Vec<usize>, Vec<usize>)> {
        match self {
            TensordotAxes::Last(count) if *count > x.rank().min(y.rank()) => {
                Err(Error::shape(format!(
                    "tensordot: {count} axes cannot be summed over, for the operands are {x} and \
                     {y}: at most {} can",
                    x.rank().min(y.rank()),
                )))
            }
            TensordotAxes::Last(count) => {
                Ok(((x.rank() - count..x.rank()).collect(), (0..*count).collect()))
            }
            TensordotAxes::Pairs(lhs, rhs) if lhs.len() != rhs.len() => {
                Err(Error::argument(format!(
                    "tensordot: the axes are summed over in pairs, but {} are named of the left \
                     operand, {lhs:?}, and {} of the right one, {rhs:?}",
                    lhs.len(),
                    rhs.len(),
                )))
            }
            TensordotAxes::Pairs(lhs, rhs) => Ok((different(lhs, x)?, different(rhs, y)?)),
        }
    }
}

/// The axes that are named, each of them once.
fn different(axes: &[isize], aval: &Aval) -> Result<Vec<usize>> {
    let mut resolved = Vec::new();
    for &axis in axes {
        let axis = resolve_axis("tensordot", axis, aval.rank())?;
        if resolved.contains(&axis) {
            return Err(Error::shape(format!(
                "tensordot: axis {axis} of {aval} is named twice in {axes:?}"
            )));
        }
        resolved.push(axis);
    }
    Ok(resolved)
}

/// Products over any axes.
impl Tensor {
    /// The sum of products over the last axes of `self` and the first ones of `rhs`, so many, or
    /// over pairs of axes; `jnp.tensordot`. The axes of the result are the other ones of `self` and
    /// then those of `rhs`.
    ///
    /// Fails if an axis is out of range or named twice, or if sizes or dtypes differ.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let a = Tensor::ones([3, 4, 5], DType::F32);
    /// assert_eq!(a.tensordot(&Tensor::ones([4, 5, 6], DType::F32), 2).shape(), [3, 6]);
    /// assert_eq!(a.tensordot(&Tensor::ones([5, 3], DType::F32), ([0, 2], [1, 0])).shape(), [4]);
    /// ```
    #[track_caller]
    pub fn tensordot(&self, rhs: &Tensor, axes: impl Into<TensordotAxes>) -> Tensor {
        let axes = axes.into();
        let resolved = axes.resolve(self.aval(), rhs.aval());
        let (lhs_contract, rhs_contract) = or_poison!(resolved, self, rhs);
        let (lhs_batch, rhs_batch) = (Vec::new(), Vec::new());
        record_one(Dot { lhs_contract, rhs_contract, lhs_batch, rhs_batch }, &[self, rhs])
    }
}
