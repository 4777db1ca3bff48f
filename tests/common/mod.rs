//! What the integration tests share: the inputs of the golden data, the golden files themselves,
//! and running a function both ways, eagerly and compiled.

#![allow(dead_code, reason = "each test uses a part of it")]

pub mod derived;
pub mod host;
pub mod laws;
pub mod messages;
pub mod packed;
pub mod wire;

use std::path::Path;

use onetrace::Aval;
use onetrace::ir::{Equation, Func, parse, print};
use onetrace::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// The hash behind every input of the golden data, one value for each flat index.
pub fn ramp_bits(shape: &[usize], salt: u32) -> Vec<u32> {
    let hash = |k: usize| {
        let mut h =
            (k as u32).wrapping_add(salt.wrapping_mul(0x9E37_79B9)).wrapping_mul(2_654_435_761);
        h ^= h >> 15;
        h = h.wrapping_mul(0x85EB_CA6B);
        h ^ (h >> 13)
    };
    (0..shape.iter().product()).map(hash).collect()
}

/// The numbers in [-1, 1) that are the inputs of the golden data, in row-major order.
pub fn ramp(shape: &[usize], salt: u32) -> Vec<f32> {
    let number = |h: u32| (h >> 8) as f32 * 2f32.powi(-23) - 1.0;
    ramp_bits(shape, salt).into_iter().map(number).collect()
}

/// [`ramp`] as a tensor.
pub fn ramp_tensor(shape: &[usize], salt: u32) -> Tensor {
    Tensor::new(&ramp(shape, salt), shape)
}

/// A file of golden data; see `tests/golden/README.md`.
pub struct Golden {
    family: &'static str,
    bytes: Vec<u8>,
    /// The cases: each has a `name` and says how it was made.
    pub cases: Vec<Value>,
}

impl Golden {
    pub fn read(family: &'static str) -> Golden {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let bytes = std::fs::read(directory.join(format!("{family}.safetensors"))).unwrap();
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let cases = &metadata.metadata().as_ref().unwrap()["cases"];
        let cases: Vec<Value> = serde_json::from_str(cases).unwrap();
        assert!(!cases.is_empty(), "{family}: the file has no cases");
        Golden { family, bytes, cases }
    }

    /// The array `key` of the case `name`, if there is one.
    pub fn find(&self, name: &str, key: &str) -> Option<Tensor> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(&format!("{}/{name}/{key}", self.family)).ok()?;
        Some(from_bytes(view.dtype(), view.shape(), view.data()))
    }

    /// The keys of all arrays of the case `name`, in alphabetical order.
    pub fn keys(&self, name: &str) -> Vec<String> {
        let prefix = format!("{}/{name}/", self.family);
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let keys = file.names().into_iter().filter_map(|full| full.strip_prefix(&prefix));
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// The array `key` of the case `name`.
    pub fn array(&self, name: &str, key: &str) -> Tensor {
        self.find(name, key).unwrap_or_else(|| panic!("{}/{name}/{key} is missing", self.family))
    }

    /// The outputs of a case: `out`, or `out0`, `out1` and so on.
    pub fn outputs(&self, name: &str) -> Vec<Tensor> {
        if let Some(out) = self.find(name, "out") {
            return vec![out];
        }
        let outputs: Vec<Tensor> =
            (0..).map_while(|i| self.find(name, &format!("out{i}"))).collect();
        assert!(!outputs.is_empty(), "{}/{name} has no outputs", self.family);
        outputs
    }
}

fn from_bytes(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Tensor {
    macro_rules! read {
        ($ty:ty) => {{
            let element = |b: &[u8]| <$ty>::from_le_bytes(b.try_into().unwrap());
            bytes.chunks_exact(size_of::<$ty>()).map(element).collect::<Vec<$ty>>()
        }};
    }
    match dtype {
        Dtype::BOOL => Tensor::new(&bytes.iter().map(|&b| b != 0).collect::<Vec<_>>(), shape),
        Dtype::U8 => Tensor::new(bytes, shape),
        Dtype::U32 => Tensor::new(&read!(u32), shape),
        Dtype::I32 => Tensor::new(&read!(i32), shape),
        Dtype::I64 => Tensor::new(&read!(i64), shape),
        Dtype::F16 => {
            let bits = read!(u16).into_iter().map(half::f16::from_bits).collect::<Vec<_>>();
            Tensor::new(&bits, shape)
        }
        Dtype::BF16 => {
            let bits = read!(u16).into_iter().map(half::bf16::from_bits).collect::<Vec<_>>();
            Tensor::new(&bits, shape)
        }
        Dtype::F32 => Tensor::new(&read!(f32), shape),
        Dtype::F64 => Tensor::new(&read!(f64), shape),
        other => panic!("golden data has no {other:?}"),
    }
}

/// The elements of a tensor of any dtype. `f64` holds those of every dtype but large `i64`.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    macro_rules! read {
        ($ty:ty, $wide:expr) => {
            tensor.to_vec::<$ty>().unwrap().into_iter().map($wide).collect()
        };
    }
    match tensor.dtype() {
        DType::Bool => read!(bool, |x| f64::from(u8::from(x))),
        DType::U8 => read!(u8, f64::from),
        DType::U32 => read!(u32, f64::from),
        DType::I32 => read!(i32, f64::from),
        DType::I64 => read!(i64, |x| x as f64),
        DType::F16 => read!(half::f16, f64::from),
        DType::BF16 => read!(half::bf16, f64::from),
        DType::F32 => read!(f32, f64::from),
        DType::F64 => read!(f64, |x| x),
    }
}

/// How far a number may lie from the one expected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    pub relative: f64,
    pub absolute: f64,
}

/// Equal, NaN to NaN and zeros to those of one sign.
pub const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };

/// What is wrong with `actual`, if anything is: its type, or the element farthest off.
pub fn difference(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Option<String> {
    if actual.aval() != expected.aval() {
        return Some(format!("type {}, expected {}", actual.aval(), expected.aval()));
    }
    let pairs = numbers(actual).into_iter().zip(numbers(expected)).enumerate();
    let excess = |(_, (a, e)): &(usize, (f64, f64))| {
        let same_sign = a.is_sign_negative() == e.is_sign_negative();
        if a == e && (same_sign || tolerance != EXACT) || a.is_nan() && e.is_nan() {
            return 0.0;
        }
        let excess = (a - e).abs() / (tolerance.absolute + tolerance.relative * e.abs());
        if excess.is_nan() { f64::INFINITY } else { excess }
    };
    let worst = pairs.max_by(|a, b| excess(a).total_cmp(&excess(b)))?;
    (excess(&worst) > 1.0).then(|| {
        let (i, (a, e)) = worst;
        format!("element {i} is {a:?}, expected {e:?} ({:.2} of {tolerance:?})", excess(&worst))
    })
}

/// Panics unless `actual` is `expected` within `tolerance`.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    if let Some(difference) = difference(actual, expected, tolerance) {
        panic!("{difference}");
    }
}

/// Runs `check` on every case, on as many threads as there are cores: most of the time goes into
/// compiling. A panic of one case is a panic of the whole.
pub fn for_each_in_parallel<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for first in 0..threads {
            let check = &check;
            scope.spawn(move || cases.iter().skip(first).step_by(threads).for_each(check));
        }
    });
}

/// [`assert_close`] that says what was compared.
#[track_caller]
pub fn assert_close_in(what: &str, actual: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    if let Some(difference) = difference(actual, expected, tolerance) {
        panic!("{what}: {difference}");
    }
}

/// What `f` gives for these inputs, computed operation by operation, and what it gives as one
/// compiled program. The IR of the program must read back as it was printed.
pub fn eager_and_jitted(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Vec<Tensor>,
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let eager = f(inputs);
    eager.iter().try_for_each(Tensor::check)?;
    let lowered = jit(|inputs: Vec<Tensor>| f(&inputs)).lower(inputs.to_vec())?;
    let text =
        print::print(lowered.func(), print::Options { full_constants: true, locations: false });
    let parsed = parse::parse(&text)?;
    assert_eq!(&parsed, lowered.func(), "the IR reads back as another function:\n{text}");
    let jitted = lowered.compile()?.call(inputs.to_vec())?;
    Ok((eager, jitted))
}

/// All equations of a function, those of its regions included, each with the function it is in.
pub fn all_equations(func: &Func) -> Vec<(&Func, &Equation)> {
    let mut found = Vec::new();
    for equation in func.equations() {
        found.push((func, equation));
        found.extend(equation.regions().into_iter().flat_map(all_equations));
    }
    found
}

/// The types of all values that a function and its regions compute.
pub fn all_avals(func: &Func) -> impl Iterator<Item = &Aval> {
    all_equations(func)
        .into_iter()
        .flat_map(|(func, equation)| equation.outputs().iter().map(move |&value| func.aval(value)))
}

/// The error that a tensor carries.
#[track_caller]
pub fn error_of(tensor: &Tensor) -> Error {
    match tensor.check() {
        Err(error) => error,
        Ok(()) => panic!("expected an error, but got {tensor:?}"),
    }
}

/// Checks that the text of an equation on `%0: f32[2,3]` is refused with this message.
#[track_caller]
pub fn check_refused(equation: &str, message: &str) {
    let text = format!("func @f(%0: f32[2,3]) -> () {{\n  {equation}\n  return \n}}\n");
    let error = parse::parse(&text).unwrap_err();
    assert!(error.message().contains(message), "{equation}: {error}");
}
