//! Tensors joined along an axis, and the repetitions and rotations made of it.

use std::borrow::Borrow;

use xla::XlaOp;

use super::broadcast::{Broadcast, Reshape};
use super::{Operation, check_size, composed, resolve_axis, rules, tall_dot};
use crate::Tensor;
use crate::aval::{Aval, Shape};
use crate::error::{Error, Result};
use crate::ir::Value;
use crate::lower::Lowering;
use crate::trace::{poison, record_one};
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::simplify::{Cpu, Simplifier};
use crate::transform::transpose::Input;

operation! {
    /// The operands one after the other along `axis`. HLO's `concatenate`.
    struct Concatenate = "concatenate" { axis: usize }
}

impl Operation for Concatenate {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let axis = self.axis;
        let Some((&first, rest)) = avals.split_first() else {
            return Err(Error::argument("concatenate: there must be at least one tensor"));
        };
        if axis >= first.rank() {
            return Err(Error::shape(format!(
                "concatenate: axis {axis} is out of range for {first} of rank {}",
                first.rank(),
            )));
        }
        let mut result = first.clone();
        for (i, &aval) in rest.iter().enumerate() {
            let differ = |what: &str| {
                format!(
                    "concatenate: the tensors must have the same {what}, but tensor 0 is {first} \
                     and tensor {} is {aval}",
                    i + 1,
                )
            };
            if aval.dtype != first.dtype {
                return Err(Error::dtype(differ("dtype") + ": convert with `astype`"));
            }
            let others = |a: &Aval| {
                a.shape
                    .iter()
                    .take(axis)
                    .chain(a.shape.iter().skip(axis + 1))
                    .copied()
                    .collect::<Shape>()
            };
            if aval.rank() != first.rank() || others(aval) != others(first) {
                return Err(Error::shape(differ(&format!("shape except along axis {axis}"))));
            }
            result.shape[axis] = result.shape[axis].saturating_add(aval.shape[axis]);
        }
        Ok(vec![result])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![inputs[0].concat_in_dim(&inputs[1..], self.axis as i64)?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        rules::linear_jvp(self, primals.len(), primals, tangents)
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let mut start = 0;
        let part = |input: &Input| {
            let range = start..start + input.aval().shape[self.axis];
            start = range.end;
            let ct = cts[0].as_ref().filter(|_| input.is_linear())?;
            Some(ct.slice_in_dim(range, self.axis as isize))
        };
        Ok(inputs.iter().map(part).collect())
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        let (tensors, place) = rules::aligned(size, inputs);
        let axis = self.axis + usize::from(self.axis >= place);
        let tensor = rules::apply_one(&Concatenate { axis }, &tensors);
        Ok(vec![Batched { tensor, axis: Some(place) }])
    }

    fn only_moves(&self) -> bool {
        true
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn for_cpu(&self, _: Cpu, inputs: &[Value], at: &mut Simplifier) -> Option<Vec<Value>> {
        tall_dot::beside(self.axis, inputs, at)
    }
}

/// The tensors one after the other along an axis they have; `jnp.concatenate`.
///
/// Shapes may differ along that axis only. Fails if they differ along another one, if the dtypes
/// differ, or if there is no tensor.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (a, b) = (Tensor::zeros([1, 2], DType::F32), Tensor::ones([2, 2], DType::F32));
/// assert_eq!(concatenate(&[a, b], 0).to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn concatenate<T: Borrow<Tensor>>(tensors: &[T], axis: isize) -> Tensor {
    let tensors: Vec<&Tensor> = tensors.iter().map(T::borrow).collect();
    // Without a tensor there is no rank; the operation says that.
    let rank = tensors.first().map_or(1, |first| first.rank());
    match resolve_axis("concatenate", axis, rank.max(usize::from(tensors.is_empty()))) {
        Ok(axis) => record_one(Concatenate { axis }, &tensors),
        Err(error) => poison(error, &tensors),
    }
}

/// The tensors, all of one type, along a new axis; `jnp.stack`.
///
/// Fails if their types differ, or if there is no tensor.
///
/// # Examples
/// ```
/// use onetrace::prelude::*;
/// let (a, b) = (Tensor::zeros([2], DType::F32), Tensor::ones([2], DType::F32));
/// assert_eq!(stack(&[&a, &b], 0).to_vec::<f32>()?, [0.0, 0.0, 1.0, 1.0]);
/// assert_eq!(stack(&[&a, &b], 1).to_vec::<f32>()?, [0.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn stack<T: Borrow<Tensor>>(tensors: &[T], axis: isize) -> Tensor {
    let tensors: Vec<&Tensor> = tensors.iter().map(T::borrow).collect();
    let axis = match axis_of_stack(&tensors, axis) {
        Ok(axis) => axis,
        Err(error) => return poison(error, &tensors),
    };
    let tensors: Vec<Tensor> = tensors.into_iter().cloned().collect();
    composed("stack", tensors, |tensors| {
        let slices: Vec<Tensor> = tensors.iter().map(|t| t.expand_dims(axis)).collect();
        concatenate(&slices, axis)
    })
}

fn axis_of_stack(tensors: &[&Tensor], axis: isize) -> Result<isize> {
    let Some((first, rest)) = tensors.split_first() else {
        return Err(Error::argument("stack: there must be at least one tensor"));
    };
    if let Some(i) = rest.iter().position(|t| t.aval() != first.aval()) {
        return Err(Error::shape(format!(
            "stack: the tensors must have the same type, but tensor 0 is {} and tensor {} is {}",
            first.aval(),
            i + 1,
            rest[i].aval(),
        )));
    }
    Ok(resolve_axis("stack", axis, first.rank() + 1)? as isize)
}

/// Repetitions and rotations.
impl Tensor {
    /// The tensor repeated `reps[i]` times along axis `i`; `jnp.tile`.
    ///
    /// If there are fewer repetitions than axes, they are those of the last axes; if there are
    /// more, the tensor gets new leading axes. Fails if the result is too large for any memory.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!(Tensor::arange(2, DType::I32).tile([2]).to_vec::<i32>()?, [0, 1, 0, 1]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn tile(&self, reps: impl AsRef<[usize]>) -> Tensor {
        let reps = reps.as_ref();
        let rank = self.rank().max(reps.len());
        let pad = |list: &[usize]| [&vec![1; rank - list.len()], list].concat();
        let (reps, shape) = (pad(reps), pad(self.shape()));
        let product = |(&r, &d): (&usize, &usize)| d.saturating_mul(r);
        let tiled: Shape = reps.iter().zip(&shape).map(product).collect();
        if let Err(error) = check_size("tile", &self.aval().with_shape(&tiled[..])) {
            return poison(error, &[self]);
        }
        let pairs: Shape = reps.iter().zip(&shape).flat_map(|(&r, &d)| [r, d]).collect();
        // An axis of the tensor is the second of its pair; new leading axes have none.
        let axes = (rank - self.rank()..rank).map(|axis| 2 * axis + 1).collect();
        composed("tile", self.clone(), |x| {
            let repeated = record_one(Broadcast { shape: pairs, axes }, &[&x]);
            record_one(Reshape { shape: tiled }, &[&repeated])
        })
    }

    /// Each element along an axis, `repeats` times in a row; `jnp.repeat`.
    ///
    /// Fails if the axis is out of range, or if the result is too large for any memory.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!(Tensor::arange(2, DType::I32).repeat(2, 0).to_vec::<i32>()?, [0, 0, 1, 1]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn repeat(&self, repeats: usize, axis: isize) -> Tensor {
        let axis = match resolve_axis("repeat", axis, self.rank()) {
            Ok(axis) => axis,
            Err(error) => return poison(error, &[self]),
        };
        let mut repeated = self.shape().to_vec();
        repeated[axis] = repeated[axis].saturating_mul(repeats);
        if let Err(error) = check_size("repeat", &self.aval().with_shape(&repeated[..])) {
            return poison(error, &[self]);
        }
        let mut pairs = self.shape().to_vec();
        pairs.insert(axis + 1, repeats);
        let axes = (0..=self.rank()).filter(|&i| i != axis + 1).collect();
        composed("repeat", self.clone(), |x| {
            let copies = record_one(Broadcast { shape: pairs, axes }, &[&x]);
            record_one(Reshape { shape: repeated }, &[&copies])
        })
    }

    /// The elements moved by `shift` places along an axis; those that leave at one end come in at
    /// the other. `jnp.roll`.
    ///
    /// Fails if the axis is out of range.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// assert_eq!(Tensor::arange(4, DType::I32).roll(1, 0).to_vec::<i32>()?, [3, 0, 1, 2]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn roll(&self, shift: isize, axis: isize) -> Tensor {
        let axis = match resolve_axis("roll", axis, self.rank()) {
            Ok(axis) => axis,
            Err(error) => return poison(error, &[self]),
        };
        let size = self.shape()[axis];
        let shift = match size {
            0 => 0,
            _ => (shift as i128).rem_euclid(size as i128) as usize,
        };
        if shift == 0 {
            return self.clone();
        }
        let axis = axis as isize;
        composed("roll", self.clone(), |x| {
            let cut = size - shift;
            concatenate(&[x.slice_in_dim(cut.., axis), x.slice_in_dim(..cut, axis)], axis)
        })
    }
}
