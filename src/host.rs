//! Arrays in the memory of the host, and the Rust types of their elements.

use std::hash::{Hash, Hasher};

use half::{bf16, f16};

use crate::aval::{Aval, DType};
use crate::error::{Error, Result};

/// A Rust type that can be an element of a tensor: `f64`, `f32`, [`half::bf16`], [`half::f16`],
/// `i64`, `i32`, `u32`, `u8` or `bool`.
pub trait Element: Copy + private::Sealed + 'static {
    /// The dtype of tensors with this element.
    const DTYPE: DType;

    #[doc(hidden)]
    fn to_bytes(values: &[Self]) -> Vec<u8>;

    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Vec<Self>;
}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($ty:ty: $dtype:ident),*) => {$(
        impl private::Sealed for $ty {}

        impl Element for $ty {
            const DTYPE: DType = DType::$dtype;

            fn to_bytes(values: &[Self]) -> Vec<u8> {
                bytemuck::cast_slice(values).to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Vec<Self> {
                bytemuck::pod_collect_to_vec(bytes)
            }
        }
    )*};
}

elements!(f64: F64, f32: F32, bf16: BF16, f16: F16, i64: I64, i32: I32, u32: U32, u8: U8);

impl private::Sealed for bool {}

impl Element for bool {
    const DTYPE: DType = DType::Bool;

    fn to_bytes(values: &[bool]) -> Vec<u8> {
        values.iter().map(|&b| u8::from(b)).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().map(|&b| b != 0).collect()
    }
}

/// A dense array in row-major order, as bytes in the byte order of the machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct HostArray {
    pub aval: Aval,
    pub bytes: Vec<u8>,
}

/// Of large arrays only the ends count: weights may have millions of elements, and functions that
/// hold them as constants are hashed at each compilation.
impl Hash for HostArray {
    fn hash<H: Hasher>(&self, state: &mut H) {
        const END: usize = 128;
        self.aval.hash(state);
        self.bytes[..self.bytes.len().min(END)].hash(state);
        self.bytes[self.bytes.len().saturating_sub(END)..].hash(state);
    }
}

impl HostArray {
    /// The array of these elements.
    pub fn new<T: Element>(values: &[T], shape: &[usize]) -> Result<HostArray> {
        let aval = Aval::new(T::DTYPE, shape);
        if aval.size() != values.len() {
            return Err(Error::shape(format!(
                "Tensor::new: shape {shape:?} does not hold the {} values given",
                values.len(),
            )));
        }
        if aval.byte_size().is_none() {
            return Err(Error::shape(format!("Tensor::new: {aval} is larger than any memory")));
        }
        Ok(HostArray { aval, bytes: T::to_bytes(values) })
    }

    /// The scalar `value`, converted to `dtype`.
    pub fn scalar(value: Scalar, dtype: DType) -> Result<HostArray> {
        let bytes = match value {
            Scalar::Float(x) if dtype.is_float() => float_bytes(x, dtype),
            Scalar::Int(i) if dtype.is_float() => float_bytes(i as f64, dtype),
            Scalar::Int(i) => int_bytes(i, dtype)?,
            Scalar::Bool(b) if dtype == DType::Bool => vec![u8::from(b)],
            other => {
                return Err(Error::dtype(format!(
                    "the number {other} cannot be used with a tensor of dtype {dtype}: convert \
                     the tensor with `astype`"
                )));
            }
        };
        Ok(HostArray { aval: Aval::scalar(dtype), bytes })
    }

    /// The array of `shape` with this scalar everywhere.
    pub fn repeated(&self, shape: &[usize]) -> Result<HostArray> {
        let aval = self.aval.with_shape(shape);
        let mut bytes = Vec::new();
        match aval.byte_size() {
            Some(size) if bytes.try_reserve_exact(size).is_ok() => {}
            _ => {
                return Err(Error::shape(format!(
                    "a tensor of type {aval} does not fit in memory"
                )));
            }
        }
        for _ in 0..aval.size() {
            bytes.extend_from_slice(&self.bytes);
        }
        Ok(HostArray { aval, bytes })
    }

    /// The part at `index` along `axis`, without that axis.
    pub fn part(&self, axis: usize, index: usize) -> HostArray {
        let aval = self.aval.without_axis(axis);
        let (outer, inner) = around(&self.aval, axis);
        let size = self.aval.shape[axis];
        let run = |i: usize| &self.bytes[(i * size + index) * inner..][..inner];
        HostArray { aval, bytes: (0..outer).flat_map(run).copied().collect() }
    }

    /// The array of type `aval` with these parts along `axis`.
    pub fn of_parts(aval: &Aval, axis: usize, parts: &[HostArray]) -> HostArray {
        let (outer, inner) = around(aval, axis);
        let mut bytes = Vec::with_capacity(outer * inner * parts.len());
        for i in 0..outer {
            for part in parts {
                bytes.extend_from_slice(&part.bytes[i * inner..][..inner]);
            }
        }
        HostArray { aval: aval.clone(), bytes }
    }

    /// The part at a position of the first `axes` axes, counted in row-major order, without them.
    pub fn member(&self, axes: usize, position: usize) -> HostArray {
        let aval = self.aval.with_shape(&self.aval.shape[axes..]);
        let size = aval.size() * aval.dtype.size();
        HostArray { bytes: self.bytes[position * size..][..size].to_vec(), aval }
    }

    /// The elements, if their type is `T`.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if T::DTYPE == self.aval.dtype {
            return Ok(T::from_bytes(&self.bytes));
        }
        Err(Error::dtype(format!(
            "to_vec: the elements of {} cannot be read as {}: convert it with `astype`",
            self.aval,
            T::DTYPE,
        )))
    }

    /// The first elements, at most `limit`, each as the text of a number that reads back exactly.
    pub fn element_texts(&self, limit: usize) -> Vec<String> {
        fn texts<T: Element>(bytes: &[u8], text: impl Fn(T) -> String) -> Vec<String> {
            T::from_bytes(bytes).into_iter().map(text).collect()
        }
        let shown = self.aval.size().min(limit) * self.aval.dtype.size();
        let bytes = &self.bytes[..shown];
        macro_rules! floats {
            ($ty:ident as $wide:ident) => {
                texts(bytes, |x: $ty| match x.to_bits() {
                    // There are many NaNs, and `NaN` reads back as one of them.
                    bits if x.is_nan() && bits != $ty::NAN.to_bits() => format!("NaN_{bits:x}"),
                    _ => format!("{:?}", $wide::from(x)),
                })
            };
        }
        match self.aval.dtype {
            DType::Bool => texts(bytes, |x: bool| x.to_string()),
            DType::U8 => texts(bytes, |x: u8| x.to_string()),
            DType::U32 => texts(bytes, |x: u32| x.to_string()),
            DType::I32 => texts(bytes, |x: i32| x.to_string()),
            DType::I64 => texts(bytes, |x: i64| x.to_string()),
            DType::F16 => floats!(f16 as f32),
            DType::BF16 => floats!(bf16 as f32),
            DType::F32 => floats!(f32 as f32),
            DType::F64 => floats!(f64 as f64),
        }
    }

    /// The bytes of one element, from the text that [`element_texts`](Self::element_texts) makes.
    pub fn parse_element(text: &str, dtype: DType) -> Option<Vec<u8>> {
        fn bytes<T: Element + std::str::FromStr>(text: &str) -> Option<Vec<u8>> {
            Some(T::to_bytes(&[text.parse().ok()?]))
        }
        if let Some(digits) = text.strip_prefix("NaN_") {
            return nan_bytes(u64::from_str_radix(digits, 16).ok()?, dtype);
        }
        match dtype {
            DType::Bool => bytes::<bool>(text),
            DType::U8 => bytes::<u8>(text),
            DType::U32 => bytes::<u32>(text),
            DType::I32 => bytes::<i32>(text),
            DType::I64 => bytes::<i64>(text),
            DType::F16 => Some(f16::to_bytes(&[f16::from_f32(text.parse().ok()?)])),
            DType::BF16 => Some(bf16::to_bytes(&[bf16::from_f32(text.parse().ok()?)])),
            DType::F32 => bytes::<f32>(text),
            DType::F64 => bytes::<f64>(text),
        }
    }
}

/// How many times an index runs along `axis`, and the bytes that stand together at each index.
fn around(aval: &Aval, axis: usize) -> (usize, usize) {
    let outer = aval.shape[..axis].iter().product();
    let inner: usize = aval.shape[axis + 1..].iter().product();
    (outer, inner * aval.dtype.size())
}

/// The bytes of the NaN with these bits.
fn nan_bytes(bits: u64, dtype: DType) -> Option<Vec<u8>> {
    macro_rules! nan {
        ($ty:ident) => {{
            let x = $ty::from_bits(bits.try_into().ok()?);
            x.is_nan().then(|| $ty::to_bytes(&[x]))
        }};
    }
    match dtype {
        DType::F16 => nan!(f16),
        DType::BF16 => nan!(bf16),
        DType::F32 => nan!(f32),
        DType::F64 => nan!(f64),
        _ => None,
    }
}

impl std::fmt::Debug for HostArray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} bytes)", self.aval, self.bytes.len())
    }
}

fn float_bytes(x: f64, dtype: DType) -> Vec<u8> {
    match dtype {
        DType::F16 => f16::to_bytes(&[f16::from_f64(x)]),
        DType::BF16 => bf16::to_bytes(&[bf16::from_f64(x)]),
        DType::F32 => f32::to_bytes(&[x as f32]),
        _ => f64::to_bytes(&[x]),
    }
}

fn int_bytes(i: i64, dtype: DType) -> Result<Vec<u8>> {
    let bytes = match dtype {
        DType::U8 => u8::try_from(i).ok().map(|i| u8::to_bytes(&[i])),
        DType::U32 => u32::try_from(i).ok().map(|i| u32::to_bytes(&[i])),
        DType::I32 => i32::try_from(i).ok().map(|i| i32::to_bytes(&[i])),
        DType::I64 => Some(i64::to_bytes(&[i])),
        _ => None,
    };
    bytes.ok_or_else(|| Error::dtype(format!("the number {i} is not a value of dtype {dtype}")))
}

/// A number of the host that an operation combines with a tensor. It takes the tensor's dtype:
/// there is no promotion, and so no weak types.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// A floating-point number; only floating tensors take it.
    Float(f64),
    /// An integer; every tensor but `bool` takes it, if it is in range.
    Int(i64),
    /// A truth value; only `bool` tensors take it.
    Bool(bool),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scalar::Float(x) => write!(f, "{x:?}"),
            Scalar::Int(i) => write!(f, "{i}"),
            Scalar::Bool(b) => write!(f, "{b}"),
        }
    }
}

macro_rules! scalars {
    ($($ty:ty: $variant:ident as $wide:ty),*) => {$(
        impl From<$ty> for Scalar {
            fn from(x: $ty) -> Scalar {
                Scalar::$variant(x as $wide)
            }
        }
    )*};
}

scalars!(f32: Float as f64, f64: Float as f64, i32: Int as i64, i64: Int as i64, u8: Int as i64,
         u32: Int as i64, bool: Bool as bool);
