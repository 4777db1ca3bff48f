//! Abstract values: the dtype and shape of a tensor, without its data.
//!
//! An [`Aval`] prints as `f32[8,128]`, the notation of HLO, and parses back.

use std::fmt;

/// The element type of a tensor.
///
/// In the IR, in types and in messages they print in the short form, such as `bool`, `i64`, `f32`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    /// Booleans, one byte an element. HLO calls it `pred`.
    Bool,
    /// Unsigned 8-bit integers.
    U8,
    /// Unsigned 32-bit integers; random keys and bits.
    U32,
    /// Signed 32-bit integers, the default for indices and counts.
    I32,
    /// Signed 64-bit integers.
    I64,
    /// IEEE half precision.
    F16,
    /// bfloat16: the exponent of `f32` with eight bits of precision.
    BF16,
    /// IEEE single precision, the default for parameters.
    F32,
    /// IEEE double precision.
    F64,
}

impl DType {
    /// Every dtype: `bool`, the integers and the floats, each from narrow to wide.
    pub const ALL: [DType; 9] = [
        DType::Bool,
        DType::U8,
        DType::U32,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// The short name, as in `f32[8,128]`.
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::U32 => "u32",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// The dtype with this short name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::U32 | DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// Whether this is one of the floating types.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// Whether this is one of the float types of 16 bits. What is computed in one depends on where it
    /// is computed: XLA computes in single precision what it computes together, and rounds where it
    /// stores.
    pub(crate) fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// Whether this is one of the integer types; `bool` is not.
    pub fn is_int(self) -> bool {
        matches!(self, DType::U8 | DType::U32 | DType::I32 | DType::I64)
    }

    /// Whether this is an integer type with a sign.
    pub fn is_signed_int(self) -> bool {
        matches!(self, DType::I32 | DType::I64)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sizes of a tensor's axes.
pub type Shape = Vec<usize>;

/// A dtype and a shape: all that a trace knows of a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Aval {
    /// The element type.
    pub dtype: DType,
    /// The sizes of the axes; empty for a scalar.
    pub shape: Shape,
}

impl Aval {
    /// An abstract value of this dtype and shape.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Aval {
        Aval { dtype, shape: shape.into() }
    }

    /// A scalar of this dtype.
    pub fn scalar(dtype: DType) -> Aval {
        Aval::new(dtype, [])
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements; `usize::MAX` where it is larger than that.
    pub fn size(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Bytes the data takes, or `None` where that number, or a single size, does not fit in 63 bits
    /// (XLA's sizes are signed).
    pub fn byte_size(&self) -> Option<usize> {
        let fits = |n: &usize| i64::try_from(*n).is_ok();
        let bytes = self.shape.iter().try_fold(self.dtype.size(), |n, &d| n.checked_mul(d))?;
        (self.shape.iter().all(fits) && fits(&bytes)).then_some(bytes)
    }

    /// As [`byte_size`](Aval::byte_size), or more than any memory has.
    pub(crate) fn saturating_bytes(&self) -> usize {
        self.byte_size().unwrap_or(usize::MAX)
    }

    /// The same shape with another dtype.
    pub fn with_dtype(&self, dtype: DType) -> Aval {
        Aval::new(dtype, self.shape.clone())
    }

    /// The type of the parts along an axis.
    pub(crate) fn without_axis(&self, axis: usize) -> Aval {
        let mut shape = self.shape.clone();
        shape.remove(axis);
        self.with_shape(shape)
    }

    /// The type of `size` such parts along an axis.
    pub(crate) fn with_axis(&self, axis: usize, size: usize) -> Aval {
        let mut shape = self.shape.clone();
        shape.insert(axis, size);
        self.with_shape(shape)
    }

    /// The same dtype with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Aval {
        Aval::new(self.dtype, shape)
    }
}

impl fmt::Display for Aval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn avals_print_as_in_hlo() {
        assert_eq!(Aval::new(DType::F32, [8, 128]).to_string(), "f32[8,128]");
        assert_eq!(Aval::scalar(DType::Bool).to_string(), "bool[]");
    }

    #[test]
    fn byte_sizes_that_overflow_are_none() {
        assert_eq!(Aval::new(DType::F32, [8, 2]).byte_size(), Some(64));
        assert_eq!(Aval::new(DType::F64, [usize::MAX, 2]).byte_size(), None);
        assert_eq!(Aval::new(DType::U8, [usize::MAX]).byte_size(), None);
        assert_eq!(Aval::new(DType::U8, [0, 1 << 63]).byte_size(), None);
    }

    #[test]
    fn dtype_names_round_trip() {
        for d in DType::ALL {
            assert_eq!(DType::from_name(d.name()), Some(d));
        }
    }
}
