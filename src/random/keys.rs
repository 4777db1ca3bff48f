//! Keys, and the bits that every other draw is made of.

use super::{check_key, draw, reshaped};
use crate::Tensor;
use crate::aval::{Aval, DType, Shape};
use crate::error::Error;
use crate::ops::binary::Operand;
use crate::ops::concatenate::stack;
use crate::ops::threefry::{threefry2x32, threefry2x32_on_host};
use crate::ops::{check_size, composed};
use crate::tensor::Repr;
use crate::trace::{self, poison};

/// The key of a seed, `u32[2]`; `jax.random.key`.
///
/// The low 32 bits of the seed count, as in JAX with 32-bit types.
///
/// ```
/// # use onetrace::random;
/// assert_eq!(random::key(42).to_vec::<u32>()?, [0, 42]);
/// # Ok::<(), onetrace::Error>(())
/// ```
pub fn key(seed: i64) -> Tensor {
    key_of([0, seed as u32])
}

/// Derives a key from a key and a number, such as the number of a step; `jax.random.fold_in`.
///
/// `data` is an integer that `u32` holds, or an integer scalar, of which the low 32 bits count.
///
/// ```
/// # use onetrace::random;
/// let key = random::fold_in(&random::key(42), 0);
/// assert_eq!(key.to_vec::<u32>()?, [1832780943, 270669613]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn fold_in(key: &Tensor, data: impl Operand) -> Tensor {
    let data = data.into_tensor(&Tensor::zeros([], DType::U32));
    // Keys are often made one by one: on the host that takes no compiled program.
    if let (Some(key), Some([data])) = (words_on_host(key, &[2]), words_on_host(&data, &[])) {
        return key_of(threefry2x32_on_host(key, [0, data]));
    }
    let checked = data.check().and_then(|()| match data.rank() {
        0 if data.dtype().is_int() => Ok(data.clone()),
        _ => Err(Error::argument(format!(
            "fold_in: the data must be an integer scalar, but it is {}",
            data.aval(),
        ))),
    });
    draw("fold_in", key, checked, |key, data| {
        let data = data.astype(DType::U32);
        let zero = Tensor::zeros([], DType::U32);
        stack(&threefry2x32([&key.index(0), &key.index(1)], [&zero, &data]), 0)
    })
}

/// Makes `n` new keys of one, shape `u32[n,2]`; `jax.random.split`. See also [`split_into`].
///
/// ```
/// # use onetrace::{prelude::*, random};
/// let keys = random::split(&random::key(0), 10);
/// let (_, rows) = scan(|(), key| ((), random::normal(&key, [4], DType::F32)), (), keys);
/// assert_eq!(rows.shape(), [10, 4]);
/// ```
#[track_caller]
pub fn split(key: &Tensor, n: usize) -> Tensor {
    let checked = check_size("split", &Aval::new(DType::U32, [n, 2]));
    if let (Some(key), 0..=MAX_ON_HOST) = (words_on_host(key, &[2]), n) {
        let words = (0..n as u32).flat_map(|i| threefry2x32_on_host(key, [0, i]));
        return Tensor::new(&words.collect::<Vec<u32>>(), [n, 2]);
    }
    draw("split", key, checked, |key, ()| stack(&hashes(key, &counter(&[n])), 1))
}

/// Makes `N` new keys of one, as [`split`], to be taken apart.
///
/// ```
/// # use onetrace::{prelude::*, random};
/// let [key, dropout_key] = random::split_into(&random::key(0));
/// assert_eq!(key.to_vec::<u32>()?, [1797259609, 2579123966]);
/// assert_eq!(dropout_key.to_vec::<u32>()?, [928981903, 3453687069]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn split_into<const N: usize>(key: &Tensor) -> [Tensor; N] {
    if let Some(key) = words_on_host(key, &[2]) {
        return std::array::from_fn(|i| key_of(threefry2x32_on_host(key, [0, i as u32])));
    }
    if let Err(error) = check_key("split_into", key) {
        let bad = poison(error, &[key]);
        return std::array::from_fn(|_| bad.clone());
    }
    composed("split_into", key.clone(), |key| {
        let keys = stack(&hashes(&key, &counter(&[N])), 1);
        std::array::from_fn(|i| keys.index(i))
    })
}

/// Random bits; `jax.random.bits`. The dtype is `u8`, `u32`, or `i64` for 64 bits.
///
/// ```
/// # use onetrace::{prelude::*, random};
/// let bits = random::bits(&random::key(0), [2], DType::U32);
/// assert_eq!(bits.to_vec::<u32>()?, [4070199207, 4202968722]);
/// # Ok::<(), onetrace::Error>(())
/// ```
#[track_caller]
pub fn bits(key: &Tensor, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let shape = shape.into();
    let checked = match dtype {
        DType::U8 | DType::U32 | DType::I64 => check_size("bits", &Aval::new(dtype, &*shape)),
        _ => Err(Error::dtype(format!(
            "bits: the dtype must be u8, u32, or i64 for 64 bits, but it is {dtype}"
        ))),
    };
    draw("bits", key, checked, |key, ()| match dtype {
        DType::I64 => bits64(key, &counter(&shape)),
        _ => bits32(key, &counter(&shape)).astype(dtype),
    })
}

/// The number of each element of a tensor of this shape: what the hash is taken of.
#[track_caller]
pub(super) fn counter(shape: &[usize]) -> Tensor {
    let n = shape.iter().product();
    reshaped(&Tensor::arange(n, counter_dtype(n)), shape)
}

/// The numbers that the elements of a matrix have in its transpose.
#[track_caller]
pub(super) fn transposed_counter([rows, columns]: [usize; 2]) -> Tensor {
    let dtype = counter_dtype(rows * columns);
    let index = |axis| Tensor::broadcasted_iota([rows, columns], axis, dtype);
    index(1) * rows as i64 + index(0)
}

fn counter_dtype(n: usize) -> DType {
    if u32::try_from(n).is_ok() { DType::U32 } else { DType::I64 }
}

/// 32 random bits for each number of a counter, `u32`.
#[track_caller]
pub(super) fn bits32(key: &Tensor, counter: &Tensor) -> Tensor {
    let [high, low] = hashes(key, counter);
    high ^ low
}

/// 64 random bits for each number of a counter, `i64`.
#[track_caller]
pub(super) fn bits64(key: &Tensor, counter: &Tensor) -> Tensor {
    let [high, low] = hashes(key, counter).map(|half| half.astype(DType::I64));
    (high << 32) | low
}

/// The hashes of the numbers of a counter as 64-bit numbers.
#[track_caller]
fn hashes(key: &Tensor, counter: &Tensor) -> [Tensor; 2] {
    let shape = counter.shape();
    let [high, low] = match counter.dtype() {
        DType::U32 => [Tensor::zeros(shape, DType::U32), counter.clone()],
        _ => [counter.shift_right_logical(32), counter.clone()].map(|x| x.astype(DType::U32)),
    };
    let [k0, k1] = [0, 1].map(|i| key.index(i).broadcast_to(shape));
    threefry2x32([&k0, &k1], [&high, &low])
}

/// The most keys that are made on the host rather than by a compiled program.
const MAX_ON_HOST: usize = 1 << 16;

fn key_of(words: [u32; 2]) -> Tensor {
    Tensor::new(&words, [2])
}

/// The words of a `u32` tensor of this shape that was made on the host, outside of a trace: there
/// is nothing to record, and no device to wait for.
fn words_on_host<const N: usize>(tensor: &Tensor, shape: &[usize]) -> Option<[u32; N]> {
    match &tensor.0 {
        Repr::Concrete(array) if array.is_of_host() && !trace::is_tracing() => {
            let fits = array.aval().dtype == DType::U32 && array.aval().shape == shape;
            if fits { tensor.to_vec().ok()?.try_into().ok() } else { None }
        }
        _ => None,
    }
}
