//! Arrays of the host, for what a loop over indices says a result must be.

use half::{bf16, f16};
use onetrace::prelude::*;

use super::numbers;

/// An array of the host. `f64` holds every number used here.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Host {
    /// The array whose element at each index is what `f` says.
    pub fn build(shape: &[usize], mut f: impl FnMut(&[usize]) -> f64) -> Host {
        let size = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut data = Vec::new();
        for flat in 0..size {
            let mut rest: usize = flat;
            for (place, &d) in index.iter_mut().zip(shape).rev() {
                *place = rest % d;
                rest /= d;
            }
            data.push(f(&index));
        }
        Host { shape: shape.to_vec(), data }
    }

    pub fn flat(&self, index: &[usize]) -> usize {
        assert_eq!(index.len(), self.shape.len());
        index.iter().zip(&self.shape).fold(0, |flat, (&i, &d)| {
            assert!(i < d, "{index:?} is not in {:?}", self.shape);
            flat * d + i
        })
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        self.data[self.flat(index)]
    }

    pub fn tensor(&self, dtype: DType) -> Tensor {
        let data = &self.data;
        macro_rules! tensor {
            ($f:expr) => {
                Tensor::new(&data.iter().copied().map($f).collect::<Vec<_>>(), &self.shape)
            };
        }
        match dtype {
            DType::Bool => tensor!(|x| x != 0.0),
            DType::U8 => tensor!(|x| x as u8),
            DType::U32 => tensor!(|x| x as u32),
            DType::I32 => tensor!(|x| x as i32),
            DType::I64 => tensor!(|x| x as i64),
            DType::F16 => tensor!(f16::from_f64),
            DType::BF16 => tensor!(bf16::from_f64),
            DType::F32 => tensor!(|x| x as f32),
            DType::F64 => tensor!(|x| x),
        }
    }
}

/// Distinct small numbers that every dtype but `bool` holds.
pub fn sample(shape: &[usize], first: usize, dtype: DType) -> Host {
    let mut k = first;
    Host::build(shape, |_| {
        k += 1;
        let number = ((k * 37) % 101) as f64;
        if dtype == DType::Bool { f64::from(k.is_multiple_of(3)) } else { number }
    })
}

/// A tensor of `i32`.
pub fn ints(values: &[i32], shape: &[usize]) -> Tensor {
    Tensor::new(values, shape)
}

/// Panics unless the tensor has this dtype, shape and elements, NaN where NaN is expected.
#[track_caller]
pub fn assert_is(tensor: &Tensor, expected: &Host, dtype: DType, what: &str) {
    assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &expected.shape[..]), "{what}");
    let same = |(a, e): (f64, &f64)| a == *e || a.is_nan() && e.is_nan();
    let actual = numbers(tensor);
    assert!(
        actual.iter().copied().zip(&expected.data).all(same),
        "{what}: {dtype}: {actual:?} instead of {:?}",
        expected.data,
    );
}
