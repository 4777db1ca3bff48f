//! Element types and shapes of HLO: their names, their sizes and how they print.

use std::fmt;

use super::proto::ShapeProto;
use crate::aval::DType;

/// XLA's `PrimitiveType`: its number, its name in HLO, and the bits of one element.
const ELEMENT_TYPES: [(i32, &str, u64); 31] = [
    (1, "pred", 8),
    (30, "s1", 1),
    (26, "s2", 2),
    (21, "s4", 4),
    (2, "s8", 8),
    (3, "s16", 16),
    (4, "s32", 32),
    (5, "s64", 64),
    (31, "u1", 1),
    (27, "u2", 2),
    (22, "u4", 4),
    (6, "u8", 8),
    (7, "u16", 16),
    (8, "u32", 32),
    (9, "u64", 64),
    (10, "f16", 16),
    (16, "bf16", 16),
    (11, "f32", 32),
    (12, "f64", 64),
    (32, "f4e2m1fn", 4),
    (19, "f8e5m2", 8),
    (28, "f8e4m3", 8),
    (20, "f8e4m3fn", 8),
    (23, "f8e4m3b11fnuz", 8),
    (29, "f8e3m4", 8),
    (24, "f8e5m2fnuz", 8),
    (25, "f8e4m3fnuz", 8),
    (33, "f8e8m0fnu", 8),
    (15, "c64", 64),
    (18, "c128", 128),
    (14, "opaque", 0),
];

/// `PrimitiveType::TUPLE`.
pub(crate) const TUPLE: i32 = 13;
/// `PrimitiveType::TOKEN`.
pub(crate) const TOKEN: i32 = 17;

/// The name of an element type and the bits of one element, if the number is one of an array type.
pub(crate) fn element_type(number: i32) -> Option<(&'static str, u64)> {
    let found = ELEMENT_TYPES.iter().find(|(n, ..)| *n == number);
    found.map(|&(_, name, bits)| (name, bits))
}

/// The bits of one element of the type with this name.
pub(crate) fn bits(name: &str) -> Option<u64> {
    ELEMENT_TYPES.iter().find(|(_, n, _)| *n == name).map(|&(.., bits)| bits)
}

/// The least and the greatest number of an integer type.
pub(crate) fn integer_range(number: i32) -> Option<(i128, i128)> {
    let (name, bits) = element_type(number)?;
    match name.split_at_checked(1)? {
        ("s", digits) if digits.parse() == Ok(bits) => {
            Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
        }
        ("u", digits) if digits.parse() == Ok(bits) => Some((0, (1 << bits) - 1)),
        _ => None,
    }
}

/// The dtype of an element type, if tensors of this library can have it.
pub(crate) fn dtype(number: i32) -> Option<DType> {
    match element_type(number)?.0 {
        "pred" => Some(DType::Bool),
        "s32" => Some(DType::I32),
        "s64" => Some(DType::I64),
        name => DType::from_name(name),
    }
}

impl ShapeProto {
    /// Whether this is a tuple.
    pub fn is_tuple(&self) -> bool {
        self.element_type == TUPLE
    }

    /// The number of elements of an array; none if it does not fit.
    pub fn elements(&self) -> Option<u64> {
        self.dimensions.iter().try_fold(1u64, |n, &d| n.checked_mul(u64::try_from(d).ok()?))
    }

    /// The bytes that an array takes, or the arrays of a tuple together; none if they do not fit.
    pub fn bytes(&self) -> Option<u64> {
        if self.is_tuple() {
            return self.tuple_shapes.iter().try_fold(0u64, |n, s| n.checked_add(s.bytes()?));
        }
        let bits = element_type(self.element_type).map_or(0, |(_, bits)| bits);
        Some(self.elements()?.checked_mul(bits)?.div_ceil(8))
    }
}

/// As in HLO, without layouts: `f32[8,128]`, `(s32[], f32[64])`.
impl fmt::Display for ShapeProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separated = |f: &mut fmt::Formatter<'_>, i: usize, separator: &str| {
            if i == 0 { Ok(()) } else { f.write_str(separator) }
        };
        if self.is_tuple() {
            f.write_str("(")?;
            for (i, shape) in self.tuple_shapes.iter().enumerate() {
                separated(f, i, ", ")?;
                write!(f, "{shape}")?;
            }
            return f.write_str(")");
        }
        let name = match self.element_type {
            TOKEN => "token",
            number => element_type(number).map_or("invalid", |(name, _)| name),
        };
        write!(f, "{name}[")?;
        for (i, size) in self.dimensions.iter().enumerate() {
            separated(f, i, ",")?;
            let bound = if self.is_dynamic_dimension.get(i) == Some(&true) { "<=" } else { "" };
            write!(f, "{bound}{size}")?;
        }
        f.write_str("]")
    }
}
