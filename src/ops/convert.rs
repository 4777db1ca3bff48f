//! Other dtypes: of the same numbers, and of the same bits.

use xla::XlaOp;

use super::{Operation, inputs, rules};
use crate::Tensor;
use crate::aval::{Aval, DType};
use crate::error::{Error, Result};
use crate::lower::{Lowering, element_type};
use crate::trace::record_one;
use crate::transform::batch::Batched;
use crate::transform::jvp::Dual;
use crate::transform::transpose::{Input, not_linear};
use crate::xla_ext;

operation! {
    /// The same numbers in another dtype. HLO's `convert`, except that a number becomes the `bool`
    /// that tells whether it is not zero, as in JAX.
    struct Convert = "convert" { dtype: DType }
}

impl Operation for Convert {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        Ok(vec![x.with_dtype(self.dtype)])
    }

    fn lower(&self, cx: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        let x = &inputs[0];
        if self.dtype == DType::Bool {
            let zero = cx.builder().zero(x.ty()?.element_type()?)?;
            return Ok(vec![x.ne(&zero)?]);
        }
        Ok(vec![x.convert(element_type(self.dtype).primitive_type())?])
    }

    fn jvp(&self, primals: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Dual> {
        match self.dtype.is_float() {
            true => rules::linear_jvp(self, 1, primals, tangents),
            false => rules::no_tangent(self, primals),
        }
    }

    fn transpose(&self, cts: &[Option<Tensor>], inputs: &[Input]) -> Result<Vec<Option<Tensor>>> {
        let dtype = inputs[0].aval().dtype;
        if !dtype.is_float() || !self.dtype.is_float() {
            return Err(not_linear("convert"));
        }
        Ok(vec![cts[0].as_ref().map(|ct| ct.astype(dtype))])
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    fn is_cheap(&self) -> bool {
        true
    }

    fn is_plain(&self) -> bool {
        true
    }
}

operation! {
    /// The same bits in another dtype of the same size. HLO's `bitcast-convert`.
    struct Bitcast = "bitcast" { dtype: DType }
}

impl Operation for Bitcast {
    fn infer(&self, avals: &[&Aval]) -> Result<Vec<Aval>> {
        let [x] = inputs(self, avals)?;
        if x.dtype.size() != self.dtype.size() {
            return Err(Error::dtype(format!(
                "bitcast: the dtypes must have the same size, but {x} has {} bits an element and \
                 {} has {}",
                x.dtype.size() * 8,
                self.dtype,
                self.dtype.size() * 8,
            )));
        }
        // Bits that are neither of its two values would be no `bool` at all.
        if (x.dtype == DType::Bool) != (self.dtype == DType::Bool) {
            return Err(Error::dtype(format!(
                "bitcast: {x} cannot be read as {}, for bool is no number of bits: convert with \
                 `astype`",
                self.dtype,
            )));
        }
        Ok(vec![x.with_dtype(self.dtype)])
    }

    fn lower(&self, _: &Lowering, inputs: &[XlaOp], _: &[Aval]) -> Result<Vec<XlaOp>> {
        Ok(vec![xla_ext::bitcast_convert(&inputs[0], element_type(self.dtype).primitive_type())?])
    }

    fn jvp(&self, primals: &[Tensor], _: &[Option<Tensor>]) -> Result<Dual> {
        rules::no_tangent(self, primals)
    }

    fn transpose(&self, _: &[Option<Tensor>], _: &[Input]) -> Result<Vec<Option<Tensor>>> {
        Err(not_linear("bitcast"))
    }

    fn batch(&self, size: usize, inputs: &[Batched]) -> Result<Vec<Batched>> {
        rules::elementwise_batch(self, size, inputs)
    }

    fn only_moves(&self) -> bool {
        true
    }
}

/// Dtypes.
impl Tensor {
    /// The same numbers in another dtype; `x.astype(dtype)` of NumPy, `lax.convert_element_type`.
    ///
    /// Floats become integers by dropping the fraction; what lies outside the range of the integer
    /// becomes the end of the range, and NaN zero. Integers that a narrower one cannot hold keep
    /// their low bits. Of `bool`, true is 1; a number is true if it is not zero.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let x = Tensor::new(&[-1.7f32, 0.0, 2.9], [3]);
    /// assert_eq!(x.astype(DType::I32).to_vec::<i32>()?, [-1, 0, 2]);
    /// assert_eq!(x.astype(DType::Bool).to_vec::<bool>()?, [true, false, true]);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn astype(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        record_one(Convert { dtype }, &[self])
    }

    /// The same bits in another dtype of the same size; `lax.bitcast_convert_type`.
    ///
    /// Fails if the sizes differ, and between `bool` and anything else.
    ///
    /// ```
    /// # use onetrace::prelude::*;
    /// let bits = Tensor::scalar(1.0, DType::F32).bitcast(DType::U32);
    /// assert_eq!(bits.item::<u32>()?, 0x3f80_0000);
    /// # Ok::<(), onetrace::Error>(())
    /// ```
    #[track_caller]
    pub fn bitcast(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        record_one(Bitcast { dtype }, &[self])
    }
}
