//! The general dot product, and the products made of it.

use xla::XlaOp;

use super::broadcast::Transpose;
use super::convert::Convert;
use super::{Operation, Text, inputs, panel_dot, rules, tall_dot};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::{Error, Result};
use crate::ir::Value;
use crate::lower::{Lowering, dims};
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::{self, Dual};
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::transpose::{Input, not_linear};

operation! {
    /// Sums products over the contracted axes, separately for each index of the batch axes. The
    /// axes of the result are the batch axes, the other ones of the left operand, and those of the
    /// right one. HLO's `dot`, `lax.dot_general`.
    struct Dot = "dot" {
        lhs_contract: Vec<usize>,
        rhs_contract: Vec<usize>,
        lhs_batch: Vec<usize>,
        rhs_batch: Vec<usize>,
    }
}

impl Operation for Dot {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x, y] = inputs(self, avals)?;
        if x.dtype != y.dtype {
            return Err(Error::dtype(format!(
                "dot: the operands must have the same dtype, but they are {x} and {y}: convert one \
                 of them with `astype`"
            )));
        }
        let lhs_free = free_axes(x, &self.lhs_contract, &self.lhs_batch)?;
        let rhs_free = free_axes(y, &self.rhs_contract, &self.rhs_batch)?;
        for (what, lhs, rhs) in [
            ("contracted", &self.lhs_contract, &self.rhs_contract),
            ("batch", &self.lhs_batch, &self.rhs_batch),
        ] {
            let sizes = |aval: &Aval, axes: &[usize]| -> Shape {
                axes.iter().map(|&axis| aval.shape[axis]).collect()
            };
            let (m, n) = (sizes(x, lhs), sizes(y, rhs));
            if m != n {
                return Err(Error::shape(format!(
                    "dot: the {what} axes of {x} and {y} differ: axes {lhs:?} of the left operand \
                     have sizes {m:?}, and axes {rhs:?} of the right one {n:?}"
                )));
            }
        }
        let mut shape: Shape = self.lhs_batch.iter().map(|&axis| x.shape[axis]).collect();
        shape.extend(lhs_free.iter().map(|&axis| x.shape[axis]));
        shape.extend(rhs_free.iter().map(|&axis| y.shape[axis]));
        Ok(vec![x.with_shape(shape)])
    }

    fn is_dot(&self) -> bool {
        true
    }

    fn multiplications(&self, inputs: &[&Aval]) -> usize {
        let Ok([x, y]) = self::inputs(self, inputs) else { return 0 };
        let used = |axis: &usize| self.rhs_contract.contains(axis) || self.rhs_batch.contains(axis);
        let free = (0..y.rank()).filter(|axis| !used(axis));
        free.fold(x.size(), |size, axis| size.saturating_mul(y.shape[axis]))
    }

    fn is_plain(&self) -> bool {
        true
    }

    /// A product in half precision is one in single precision that is rounded. XLA:CPU makes the
    /// same of it; but what is the same at every step is converted before the loop here.
    fn for_cpu(&self, cpu: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        let by_kernel = |inputs: &[Value], at: &mut Simplifier| match cpu.packs {
            true => {
                panel_dot::packed(self, inputs, at).or_else(|| tall_dot::tall(self, inputs, at))
            }
            false => None,
        };
        let dtype = at.aval(inputs[0]).dtype;
        if !dtype.is_half() {
            return by_kernel(inputs, at);
        }
        let single = Convert { dtype: DType::F32 };
        let inputs: Vec<Value> =
            inputs.iter().map(|&input| at.record(single.clone(), vec![input])[0]).collect();
        let product = by_kernel(&inputs, at).unwrap_or_else(|| at.record(self.clone(), inputs));
        Some(at.record(Convert { dtype }, product))
    }

    /// A vector times a matrix is lowered as the matrix times the vector. XLA:CPU stores a constant
    /// that is the *right* operand of such a product column by column, and then sums along columns,
    /// which is slower: 0.92 instead of 0.82 µs for a step of a GRU from 32 features to 64.
    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let lhs = (&inputs[0], dims(&self.lhs_contract), dims(&self.lhs_batch));
        let rhs = (&inputs[1], dims(&self.rhs_contract), dims(&self.rhs_batch));
        let vector_times_matrix =
            lhs.0.rank()? == 1 && rhs.0.rank()? == 2 && self.lhs_contract.len() == 1;
        let ((x, x_contract, x_batch), (y, y_contract, y_batch)) =
            if vector_times_matrix { (rhs, lhs) } else { (lhs, rhs) };
        Ok(vec![x.dot_general(y, &x_contract, &y_contract, &x_batch, &y_batch)?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        let product = |x: &Tensor, y: &Tensor| record_one(self.clone(), &[x, y]);
        let (x, y) = (&primals[0], &primals[1]);
        let along_x = tangents[0].as_ref().map(|t| product(t, y));
        let along_y = tangents[1].as_ref().map(|t| product(x, t));
        Ok(Dual::one(product(x, y), jvp::sum([along_x, along_y])))
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let Some(ct) = &cts[0] else { return Ok(vec![None, None]) };
        match (&inputs[0], &inputs[1]) {
            (Input::Linear(x), Input::Known(y)) => Ok(vec![Some(self.back(0, ct, x, y)?), None]),
            (Input::Known(x), Input::Linear(y)) => Ok(vec![None, Some(self.back(1, ct, y, x)?)]),
            _ => Err(not_linear(self.name())),
        }
    }

    /// A batch axis of one operand is one more of its axes that are not contracted, so that the
    /// other operand is not repeated; one of both is one more batch axis.
    fn batch(&self, _: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (x, y) = (&inputs[0], &inputs[1]);
        let mut op = self.clone();
        if let Some(place) = x.axis {
            op.lhs_contract = rules::shifted(&self.lhs_contract, place);
            op.lhs_batch = rules::shifted(&self.lhs_batch, place);
        }
        if let Some(place) = y.axis {
            op.rhs_contract = rules::shifted(&self.rhs_contract, place);
            op.rhs_batch = rules::shifted(&self.rhs_batch, place);
        }
        let batch = self.lhs_batch.len();
        let axis = match (x.axis, y.axis) {
            (Some(left), Some(right)) => {
                op.lhs_batch.insert(0, left);
                op.rhs_batch.insert(0, right);
                0
            }
            (Some(left), None) => {
                let free = free_axes(x.tensor.aval(), &op.lhs_contract, &op.lhs_batch)?;
                batch + free.partition_point(|&axis| axis < left)
            }
            (None, right) => {
                let lhs_free = free_axes(x.tensor.aval(), &op.lhs_contract, &op.lhs_batch)?;
                let free = free_axes(y.tensor.aval(), &op.rhs_contract, &op.rhs_batch)?;
                let right = right.unwrap_or(0);
                batch + lhs_free.len() + free.partition_point(|&axis| axis < right)
            }
        };
        let tensor = record_one(op, &[&x.tensor, &y.tensor]);
        Ok(vec![Batched { tensor, axis: Some(axis) }])
    }
}

impl Dot {
    /// The sum of the products of the members of two batches, which stand along the first axes.
    pub fn over_first_axis(&self) -> Dot {
        let with_first = |axes: &[usize]| [&[0], &rules::shifted(axes, 0)[..]].concat();
        Dot {
            lhs_contract: with_first(&self.lhs_contract),
            rhs_contract: with_first(&self.rhs_contract),
            lhs_batch: rules::shifted(&self.lhs_batch, 0),
            rhs_batch: rules::shifted(&self.rhs_batch, 0),
        }
    }

    /// The axis of the result that `axis` of operand `side` (0 is the left one) becomes, for
    /// operands of these ranks; none if it is contracted or of the batch.
    pub fn axis_of_result(&self, side: usize, axis: usize, ranks: [usize; 2]) -> Option<usize> {
        let free = |side: usize| {
            let [contract, batch] = match side {
                0 => [&self.lhs_contract, &self.lhs_batch],
                _ => [&self.rhs_contract, &self.rhs_batch],
            };
            (0..ranks[side]).filter(move |axis| !contract.contains(axis) && !batch.contains(axis))
        };
        let before = self.lhs_batch.len() + if side == 0 { 0 } else { free(0).count() };
        free(side).position(|free| free == axis).map(|place| before + place)
    }

    /// How many rows the operand `side` (0 is the left one) has: the elements of the axes that are
    /// not contracted.
    pub fn rows(&self, operand: &Aval, side: usize) -> usize {
        let contract = [&self.lhs_contract, &self.rhs_contract][side];
        let sizes = operand.shape.iter().enumerate().filter(|(axis, _)| !contract.contains(axis));
        sizes.map(|(_, size)| size).product()
    }

    /// The cotangent of the operand `side` (0 is the left one), of type `wanted`, where the other
    /// operand is known: the product of the result's cotangent and that one over the axes that they
    /// share. The operands stand in the order that gives the axes of the result theirs, if one
    /// does.
    fn back(&self, side: usize, ct: &Tensor, wanted: &Aval, other: &Tensor) -> Result<Tensor> {
        let contract = [&self.lhs_contract, &self.rhs_contract];
        let batch = [&self.lhs_batch, &self.rhs_batch];
        let free = free_axes(wanted, contract[side], batch[side])?;
        let other_free = free_axes(other.aval(), contract[1 - side], batch[1 - side])?;
        let start = batch[side].len() + if side == 0 { free.len() } else { 0 };
        let shared: Vec<usize> = (start..start + other_free.len()).collect();
        let ct_batch: Vec<usize> = (0..batch[side].len()).collect();

        // Which axes of the operand the axes of the product are.
        let mut pairs: Vec<(usize, usize)> =
            contract[1 - side].iter().copied().zip(contract[side].iter().copied()).collect();
        pairs.sort_unstable();
        let contracted: Vec<usize> = pairs.into_iter().map(|(_, axis)| axis).collect();
        let other_first = [&batch[side][..], &contracted, &free].concat();
        if other_first.is_sorted() {
            return Ok(other.dot_general(ct, (&other_free, &shared), (batch[1 - side], &ct_batch)));
        }
        let ct_first = [&batch[side][..], &free, &contracted].concat();
        let product = ct.dot_general(other, (&shared, &other_free), (&ct_batch, batch[1 - side]));
        if ct_first.is_sorted() {
            return Ok(product);
        }
        let mut permutation = vec![0; ct_first.len()];
        ct_first.iter().enumerate().for_each(|(from, &to)| permutation[to] = from);
        Ok(record_one(Transpose { permutation }, &[&product]))
    }
}

/// The axes that are neither contracted nor batch axes.
fn free_axes(aval: &Aval, contract: &[usize], batch: &[usize]) -> Result<Vec<usize>> {
    let mut used = vec![false; aval.rank()];
    for &axis in contract.iter().chain(batch) {
        match used.get_mut(axis) {
            Some(used) if !*used => *used = true,
            Some(_) => {
                return Err(Error::shape(format!("dot: axis {axis} of {aval} is named twice")));
            }
            None => {
                let rank = aval.rank();
                return Err(Error::shape(format!(
                    "dot: axis {axis} is out of range for {aval} of rank {rank}"
                )));
            }
        }
    }
    Ok((0..aval.rank()).filter(|&axis| !used[axis]).collect())
}

/// Products.
impl Tensor {
    /// The dot product as `jnp.dot`: the sum of products over the last axis of `self` and the last
    /// but one of `rhs` (its only one, if it is a vector). With a scalar, the product.
    ///
    /// Shapes `[.., k] · [.., k, n] -> [.., .., n]`. Fails if the sizes of the contracted axes or
    /// the dtypes differ.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let a = Tensor::ones([2, 3], DType::F32);
    /// let b = Tensor::ones([3], DType::F32);
    /// assert_eq!(a.dot(&b).to_vec::<f32>()?, [3.0, 3.0]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn dot(&self, rhs: &Tensor) -> Tensor {
        if self.rank() == 0 || rhs.rank() == 0 {
            return self * rhs;
        }
        let contract = (self.rank() - 1, rhs.rank().saturating_sub(2));
        self.dot_general(rhs, (&[contract.0], &[contract.1]), (&[], &[]))
    }

    /// The matrix product as `jnp.matmul`: the last two axes are matrices, those before them are
    /// batch axes and are broadcast; a vector stands for a matrix of one row or column, and that
    /// axis is not in the result.
    ///
    /// Shapes `[.., m, k] @ [.., k, n] -> [.., m, n]`, with a vector `[k] @ [.., k, n] -> [.., n]`
    /// and `[.., m, k] @ [k] -> [.., m]`. Fails if an operand is a scalar, if the sizes `k` or the
    /// dtypes differ, or if the batch axes cannot be broadcast together.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let (x, w) = (Tensor::ones([8, 5, 3], DType::F32), Tensor::ones([3, 4], DType::F32));
    /// assert_eq!(x.matmul(&w).shape(), [8, 5, 4]);
    /// ```
    #[track_caller]
    pub fn matmul(&self, rhs: &Tensor) -> Tensor {
        if self.rank() == 0 || rhs.rank() == 0 {
            let message = format!(
                "matmul: the operands must have an axis, but they are {} and {}",
                self.aval(),
                rhs.aval()
            );
            return poison(Error::shape(message), &[self, rhs]);
        }
        // One matrix serves all of the batch: to repeat it would take memory and time for nothing.
        if rhs.rank() <= 2 {
            return self.dot(rhs);
        }
        if self.rank() == 1 {
            let batch = rhs.rank() - 2;
            return self.dot_general(rhs, (&[0], &[batch]), (&[], &[]));
        }
        let batch = |t: &Tensor| t.aval().with_shape(&t.shape()[..t.rank() - 2]);
        let shape = match super::broadcast::broadcast_shapes(&[&batch(self), &batch(rhs)]) {
            Ok(shape) => shape,
            Err(error) => {
                return poison(Error::shape(format!("matmul: {}", error.message())), &[self, rhs]);
            }
        };
        let stretch =
            |t: &Tensor| t.broadcast_to(&[&shape[..], &t.shape()[t.rank() - 2..]].concat());
        let axes: Vec<usize> = (0..shape.len()).collect();
        let contract = (shape.len() + 1, shape.len());
        stretch(self).dot_general(&stretch(rhs), (&[contract.0], &[contract.1]), (&axes, &axes))
    }

    /// The general dot product, `lax.dot_general`: sums products over the axes `contract` (those of
    /// `self`, those of `rhs`), separately for each index of the axes `batch`.
    ///
    /// The axes of the result are the batch axes, the other axes of `self`, and those of `rhs`.
    /// Axes are counted from the front, and paired in the order in which they are named.
    ///
    /// Fails if an axis is out of range or named twice, if there are not as many of the one operand
    /// as of the other or their sizes differ, or if the dtypes do.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let (x, y) = (Tensor::ones([8, 5, 3], DType::F32), Tensor::ones([8, 4, 3], DType::F32));
    /// assert_eq!(x.dot_general(&y, (&[2], &[2]), (&[0], &[0])).shape(), [8, 5, 4]);
    /// ```
    #[track_caller]
    pub fn dot_general(
        &self,
        rhs: &Tensor,
        contract: (&[usize], &[usize]),
        batch: (&[usize], &[usize]),
    ) -> Tensor {
        let op = Dot {
            lhs_contract: contract.0.to_vec(),
            rhs_contract: contract.1.to_vec(),
            lhs_batch: batch.0.to_vec(),
            rhs_batch: batch.1.to_vec(),
        };
        record_one(op, &[self, rhs])
    }
}
