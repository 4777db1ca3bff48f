//! Single operations, on the inputs of `tests/golden/ops.safetensors`, against what JAX computes:
//! operation by operation and as one compiled program.

mod common;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Golden, Tolerance, difference, eager_and_jitted, ramp, ramp_bits};
use onetrace::prelude::*;
use onetrace::{Axes, concatenate, einsum, keepdims, select, stack};
use serde_json::Value;

/// Operations of JAX that are not here, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("lax.round", "it rounds halves away from zero; `round` rounds them to even, as jnp.round"),
    ("at.multiply", "there is no scatter that multiplies"),
];

/// How far the result of an operation may lie from JAX's: units of the last place of numbers near
/// the expected one, and of those near 1. What is not listed must be equal.
///
/// XLA evaluates elementary functions by polynomials that are good to a few units, and other ones
/// in other versions; it contracts products and sums where the processor can; and sums of many
/// terms depend on the order. Half precision is computed in single precision, and rounded.
fn units(op: &str, dtype: DType) -> (f64, f64) {
    let (relative, absolute): (f64, f64) = match op {
        "lax.exp" | "lax.exp2" | "lax.expm1" | "lax.log" | "lax.log1p" | "lax.rsqrt"
        | "lax.cbrt" | "lax.sin" | "lax.cos" | "lax.tan" | "lax.asin" | "lax.acos" | "lax.atan"
        | "lax.sinh" | "lax.cosh" | "lax.tanh" | "lax.asinh" | "lax.acosh" | "lax.atanh"
        | "lax.logistic" | "lax.erf" | "lax.erfc" | "lax.erf_inv" | "lax.pow" | "jnp.power"
        | "lax.atan2" | "jnp.arctan2" => (4.0, 1.0),
        "lax.lgamma" | "lax.digamma" => (16.0, 16.0),
        "nn.gelu" | "nn.silu" | "nn.softplus" | "nn.log_sigmoid" | "nn.elu" | "jnp.logaddexp"
        | "nn.logsumexp" | "nn.softmax" | "nn.log_softmax" => (4.0, 4.0),
        "jnp.sum" | "jnp.mean" | "jnp.prod" | "jnp.var" | "jnp.std" | "lax.cumsum"
        | "lax.cumprod" | "lax.cumlogsumexp" | "jnp.einsum" | "jnp.dot" | "jnp.matmul"
        | "jnp.tensordot" | "lax.dot_general" | "at.add" | "at.add_pairs" => (8.0, 8.0),
        "jnp.linspace" => (1.0, 1.0),
        _ => (0.0, 0.0),
    };
    let half = matches!(dtype, DType::F16 | DType::BF16);
    if half { (relative.min(1.0), 0.0) } else { (relative, absolute) }
}

fn tolerance(op: &str, dtype: DType) -> Tolerance {
    let unit = match dtype {
        DType::F32 => f64::from(f32::EPSILON),
        DType::F16 => f64::from(half::f16::EPSILON),
        DType::BF16 => f64::from(half::bf16::EPSILON),
        _ => 0.0,
    };
    let (relative, absolute) = units(op, dtype);
    Tolerance { relative: relative * unit, absolute: absolute * unit }
}

#[test]
fn every_case_agrees_with_jax() {
    let golden = Golden::read("ops");
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = golden.cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(message) = check(&golden, case) {
                        failures.lock().unwrap().push(format!("{case}\n    {message}"));
                    }
                }
            });
        }
    });
    for (op, _) in LEFT_OUT {
        assert!(golden.cases.iter().any(|case| case["op"] == *op), "{op} is no case any more");
    }
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} cases fail:\n{}",
        failures.len(),
        golden.cases.len(),
        failures.join("\n"),
    );
}

fn check(golden: &Golden, case: &Value) -> Result<(), String> {
    let (name, op) = (text(&case["name"]), text(&case["op"]));
    if LEFT_OUT.iter().any(|(left_out, _)| *left_out == op) {
        return Ok(());
    }
    let inputs: Vec<Tensor> = list(&case["inputs"]).iter().map(input).collect();
    let attributes = Attributes(&case["attrs"]);
    let run = |xs: &[Tensor]| {
        apply(op, xs, &attributes).unwrap_or_else(|| panic!("no operation is called {op}"))
    };
    let (eager, jitted) = eager_and_jitted(&inputs, run).map_err(|error| error.to_string())?;
    let expected = golden.outputs(name);
    if eager.len() != expected.len() {
        return Err(format!("{} results, expected {}", eager.len(), expected.len()));
    }
    for ((eager, jitted), expected) in eager.iter().zip(&jitted).zip(&expected) {
        let dtype = expected.dtype();
        // A product and a sum that are fused may be rounded once instead of twice.
        let fused = if dtype == DType::F32 { f64::from(f32::EPSILON) } else { 0.0 };
        let fused = Tolerance { relative: fused, absolute: 0.0 };
        for (what, actual, expected, tolerance) in [
            ("eager, against JAX", eager, expected, tolerance(op, dtype)),
            ("compiled, against JAX", jitted, expected, tolerance(op, dtype)),
            ("compiled, against eager", jitted, eager, fused),
        ] {
            if let Some(difference) = difference(actual, expected, tolerance) {
                return Err(format!("{what}: {difference}"));
            }
        }
    }
    Ok(())
}

/// What the operation that JAX calls `op` gives; none if there is no such operation here.
fn apply(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Vec<Tensor>> {
    let families = [unary, binary, conversion, reduction, indexing, product, shape, creation];
    if let Some(result) = families.iter().find_map(|family| family(op, xs, a)) {
        return Some(vec![result]);
    }
    Some(match op {
        "lax.sort" => {
            let operands: Vec<&Tensor> = xs.iter().collect();
            onetrace::sort(&operands, a.int("dimension"), a.size("num_keys"))
        }
        "lax.top_k" => {
            let (values, indices) = xs[0].top_k(a.size("k"));
            vec![values, indices]
        }
        "jnp.split" => match &a["indices_or_sections"] {
            Value::Array(_) => xs[0].split_at(&a.sizes("indices_or_sections"), a.int("axis")),
            _ => xs[0].split(a.size("indices_or_sections"), a.int("axis")),
        },
        _ => return None,
    })
}

fn unary(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    let x = xs.first()?;
    Some(match op {
        "lax.exp" => x.exp(),
        "lax.exp2" => x.exp2(),
        "lax.expm1" => x.expm1(),
        "lax.log" => x.log(),
        "lax.log1p" => x.log1p(),
        "lax.sqrt" => x.sqrt(),
        "lax.rsqrt" => x.rsqrt(),
        "lax.cbrt" => x.cbrt(),
        "lax.sin" => x.sin(),
        "lax.cos" => x.cos(),
        "lax.tan" => x.tan(),
        "lax.asin" => x.asin(),
        "lax.acos" => x.acos(),
        "lax.atan" => x.atan(),
        "lax.sinh" => x.sinh(),
        "lax.cosh" => x.cosh(),
        "lax.tanh" => x.tanh(),
        "lax.asinh" => x.asinh(),
        "lax.acosh" => x.acosh(),
        "lax.atanh" => x.atanh(),
        "lax.logistic" => x.sigmoid(),
        "lax.erf" => x.erf(),
        "lax.erfc" => x.erfc(),
        "lax.erf_inv" => x.erf_inv(),
        "lax.floor" => x.floor(),
        "lax.ceil" => x.ceil(),
        "jnp.round" => x.round(),
        "jnp.trunc" => x.trunc(),
        "lax.sign" => x.sign(),
        "lax.abs" => x.abs(),
        "lax.neg" => -x,
        "lax.is_finite" => x.is_finite(),
        "jnp.isnan" => x.is_nan(),
        "jnp.isinf" => x.is_inf(),
        "lax.square" => x.square(),
        "lax.reciprocal" => x.reciprocal(),
        "lax.lgamma" => x.lgamma(),
        "lax.digamma" => x.digamma(),
        "lax.integer_pow" => x.powi(a.int("y") as i32),
        "lax.bitwise_not" => !x,
        "lax.population_count" => x.population_count(),
        "lax.clz" => x.count_leading_zeros(),
        "nn.relu" => x.relu(),
        "nn.gelu" if a["approximate"] == false => x.gelu_exact(),
        "nn.gelu" => x.gelu(),
        "nn.silu" => x.silu(),
        "nn.softplus" => x.softplus(),
        "nn.log_sigmoid" => x.log_sigmoid(),
        "nn.elu" => x.elu(1.0),
        "nn.leaky_relu" => x.leaky_relu(0.01),
        _ => return None,
    })
}

fn binary(op: &str, xs: &[Tensor], _: &Attributes) -> Option<Tensor> {
    let [x, y] = xs else { return None };
    Some(match op {
        "lax.add" | "jnp.add" => x + y,
        "lax.sub" | "jnp.subtract" => x - y,
        "lax.mul" | "jnp.multiply" => x * y,
        "lax.div" | "jnp.divide" => x / y,
        "lax.rem" | "jnp.fmod" => x % y,
        "lax.pow" | "jnp.power" => x.pow(y),
        "lax.atan2" | "jnp.arctan2" => x.atan2(y),
        "lax.max" | "jnp.maximum" => x.maximum(y),
        "lax.min" | "jnp.minimum" => x.minimum(y),
        "lax.nextafter" => x.nextafter(y),
        "jnp.floor_divide" => x.floor_divide(y),
        "jnp.remainder" => x.remainder(y),
        "jnp.logaddexp" => x.logaddexp(y),
        "lax.bitwise_and" => x & y,
        "lax.bitwise_or" => x | y,
        "lax.bitwise_xor" => x ^ y,
        "lax.shift_left" => x << y,
        "lax.shift_right_arithmetic" => x.shift_right_arithmetic(y),
        "lax.shift_right_logical" => x.shift_right_logical(y),
        "jnp.equal" => x.eq(y),
        "jnp.not_equal" => x.ne(y),
        "jnp.less" | "lax.lt" => x.lt(y),
        "jnp.less_equal" => x.le(y),
        "jnp.greater" => x.gt(y),
        "jnp.greater_equal" => x.ge(y),
        _ => return None,
    })
}

fn conversion(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    match op {
        "lax.convert_element_type" => Some(xs[0].astype(a.dtype("new_dtype"))),
        "lax.bitcast_convert_type" => Some(xs[0].bitcast(a.dtype("new_dtype"))),
        _ => None,
    }
}

fn reduction(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    let x = xs.first()?;
    let axes = || a.axes("axis");
    let running = || (a.int("axis"), a["reverse"] == true);
    let descending = a["descending"] == true;
    Some(match op {
        "jnp.sum" => x.sum(axes()),
        "jnp.mean" => x.mean(axes()),
        "jnp.max" => x.max(axes()),
        "jnp.min" => x.min(axes()),
        "jnp.prod" => x.prod(axes()),
        "jnp.argmax" => x.argmax(axes()),
        "jnp.argmin" => x.argmin(axes()),
        "jnp.any" => x.any(axes()),
        "jnp.all" => x.all(axes()),
        "jnp.var" => x.var(axes(), a.size("ddof")),
        "jnp.std" => x.std(axes(), a.size("ddof")),
        "nn.logsumexp" => x.logsumexp(axes()),
        "nn.softmax" => x.softmax(axes()),
        "nn.log_softmax" => x.log_softmax(axes()),
        "lax.cumsum" => x.cumsum(running().0, running().1),
        "lax.cumprod" => x.cumprod(running().0, running().1),
        "lax.cummax" => x.cummax(running().0, running().1),
        "lax.cummin" => x.cummin(running().0, running().1),
        "lax.cumlogsumexp" => x.cumlogsumexp(running().0, running().1),
        "jnp.sort" if descending => x.sort_descending(a.int("axis")),
        "jnp.sort" => x.sort(a.int("axis")),
        "jnp.argsort" if descending => x.argsort_descending(a.int("axis")),
        "jnp.argsort" => x.argsort(a.int("axis")),
        _ => return None,
    })
}

fn indexing(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    let x = xs.first()?;
    let flat = |i: &Tensor, j: &Tensor| i * x.shape()[1] as i32 + j;
    let starts = || -> Vec<Tensor> {
        a.ints("start_indices").iter().map(|&i| Tensor::scalar(i as i32, DType::I32)).collect()
    };
    Some(match (op, &a["mode"]) {
        ("jnp.take", Value::String(mode)) if mode == "clip" => x.take_clip(&xs[1], a.int("axis")),
        ("jnp.take", Value::String(mode)) if mode == "wrap" => {
            let size = x.shape()[a.size("axis")] as i32;
            x.take(&xs[1].remainder(size), a.int("axis"))
        }
        ("jnp.take", _) => x.take(&xs[1], a.int("axis")),
        ("jnp.take_along_axis", _) => x.take_along_axis(&xs[1], a.int("axis")),
        ("index.rows", _) => x.take(&xs[1], 0),
        ("index.pairs", _) => x.ravel().take(&flat(&xs[1], &xs[2]), 0),
        ("at.add", _) => x.scatter_add(&xs[1], &xs[2]),
        ("at.max", _) => x.scatter_max(&xs[1], &xs[2]),
        ("at.min", _) => x.scatter_min(&xs[1], &xs[2]),
        ("at.set", _) => x.scatter_set(&xs[1], &xs[2]),
        ("at.add_pairs", _) => {
            let shape: Vec<isize> = x.shape().iter().map(|&size| size as isize).collect();
            x.ravel().scatter_add(&flat(&xs[1], &xs[2]), &xs[3]).reshape(shape)
        }
        ("lax.slice", _) => {
            x.slice(&a.sizes("start_indices"), &a.sizes("limit_indices"), &a.sizes("strides"))
        }
        ("lax.dynamic_slice", _) => x.dynamic_slice(&starts(), &a.sizes("slice_sizes")),
        ("lax.dynamic_update_slice", _) => x.dynamic_update_slice(&xs[1], &starts()),
        _ => return None,
    })
}

fn product(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    let x = xs.first()?;
    Some(match op {
        "jnp.einsum" => einsum(text(&a["subscripts"]), &xs.iter().collect::<Vec<_>>()),
        "jnp.dot" => x.dot(&xs[1]),
        "jnp.matmul" => x.matmul(&xs[1]),
        "jnp.outer" => x.tensordot(&xs[1], 0),
        "jnp.tensordot" => match &a["axes"] {
            Value::Array(pair) => x.tensordot(&xs[1], (&ints(&pair[0])[..], &ints(&pair[1])[..])),
            _ => x.tensordot(&xs[1], a.size("axes")),
        },
        "lax.dot_general" => {
            let numbers = |i: usize, j: usize| sizes(&a["dimension_numbers"][i][j]);
            let contract = (&numbers(0, 0)[..], &numbers(0, 1)[..]);
            x.dot_general(&xs[1], contract, (&numbers(1, 0), &numbers(1, 1)))
        }
        _ => return None,
    })
}

fn shape(op: &str, xs: &[Tensor], a: &Attributes) -> Option<Tensor> {
    let x = xs.first()?;
    Some(match op {
        "lax.pad" => {
            let config: Vec<(isize, isize, usize)> = list(&a["padding_config"])
                .iter()
                .map(|row| (ints(row)[0], ints(row)[1], ints(row)[2] as usize))
                .collect();
            x.pad(&xs[1], &config)
        }
        "lax.concatenate" => concatenate(xs, a.int("dimension")),
        "jnp.stack" => stack(xs, a.int("axis")),
        "jnp.flip" => x.flip(a.int("axis")),
        "lax.rev" => x.flip(a.ints("dimensions")),
        "jnp.roll" => {
            let (shifts, axes) = (one_or_more(&a["shift"]), one_or_more(&a["axis"]));
            shifts.iter().zip(axes).fold(x.clone(), |x, (&shift, axis)| x.roll(shift, axis))
        }
        "jnp.expand_dims" => x.expand_dims(a.int("axis")),
        "jnp.squeeze" => x.squeeze(a.ints("axis")),
        "jnp.tile" => x.tile(a.sizes("reps")),
        "jnp.repeat" => x.repeat(a.size("repeats"), a.int("axis")),
        "jnp.reshape" => x.reshape(a.ints("shape")),
        "jnp.transpose" => x.transpose(a.ints("axes")),
        "jnp.swapaxes" => x.swapaxes(a.int("axis1"), a.int("axis2")),
        "jnp.moveaxis" => x.moveaxis(a.int("source"), a.int("destination")),
        "jnp.broadcast_to" => x.broadcast_to(&a.sizes("shape")),
        "lax.broadcast_in_dim" => {
            let (shape, axes) = (a.sizes("shape"), a.ints("broadcast_dimensions"));
            let new = (0..shape.len() as isize).filter(|axis| !axes.contains(axis));
            x.expand_dims(new.collect::<Vec<_>>()).broadcast_to(&shape)
        }
        "jnp.tril" => x.tril(a.int("k")),
        "jnp.triu" => x.triu(a.int("k")),
        "jnp.diag" => {
            let n = x.shape()[0];
            select(&Tensor::eye(n, DType::Bool), x.broadcast_to(&[n, n]), 0)
        }
        "jnp.diagonal" => {
            // The diagonal of the square that begins at the offset in the first row.
            let (n, offset) = (x.shape()[0], a.size("offset"));
            einsum("ii->i", &[&x.slice(&[0, offset], &[n, n + offset], &[1, 1])])
        }
        "jnp.where" => select(x, &xs[1], &xs[2]),
        "lax.select_n" => select(&x.eq(0), &xs[1], select(&x.eq(1), &xs[2], &xs[3])),
        "jnp.clip" => x.clamp(a.number("min"), a.number("max")),
        "lax.clamp" => xs[1].clamp(x, &xs[2]),
        "nn.one_hot" => x.one_hot(a.size("num_classes"), DType::F32),
        _ => return None,
    })
}

fn creation(op: &str, _: &[Tensor], a: &Attributes) -> Option<Tensor> {
    Some(match op {
        "lax.iota" => Tensor::arange(a.size("size"), a.dtype("dtype")),
        "lax.broadcasted_iota" => {
            Tensor::broadcasted_iota(a.sizes("shape"), a.int("dimension"), a.dtype("dtype"))
        }
        "jnp.arange" => {
            let (start, stop, step) = (a.number("start"), a.number("stop"), a.number("step"));
            let numbers = Tensor::arange(((stop - start) / step).ceil() as usize, DType::F32);
            (numbers * step + start).astype(a.dtype("dtype"))
        }
        "jnp.linspace" => {
            let (num, open) = (a.size("num"), a["endpoint"] == false);
            let (start, stop) = (a.number("start"), a.number("stop"));
            let all = Tensor::linspace(start, stop, num + usize::from(open), DType::F32);
            all.slice(&[0], &[num], &[1])
        }
        "jnp.tri" => Tensor::tri(a.size("N"), a.size("M"), a.int("k"), DType::F32),
        "jnp.eye" => {
            let below = |k| Tensor::tri(a.size("N"), a.size("M"), k, DType::F32);
            below(a.int("k")) - below(a.int("k") - 1)
        }
        _ => return None,
    })
}

/// The tensor that the formula of an input gives.
fn input(spec: &Value) -> Tensor {
    let (shape, dtype) = (sizes(&spec["shape"]), dtype(text(&spec["dtype"])));
    let salt = || spec["salt"].as_u64().unwrap() as u32;
    if let Value::Array(values) = &spec["values"] {
        return match dtype {
            DType::I32 => {
                Tensor::new(&values.iter().map(int).map(|i| i as i32).collect::<Vec<_>>(), shape)
            }
            DType::F32 => {
                Tensor::new(&values.iter().map(number).map(|x| x as f32).collect::<Vec<_>>(), shape)
            }
            other => panic!("values of dtype {other}"),
        };
    }
    if let Some(modulus) = spec["mod"].as_u64() {
        let shift = int(&spec["shift"]) as i64;
        let number = |h| i64::from(h % modulus as u32) + shift;
        let numbers: Vec<i64> = ramp_bits(&shape, salt()).into_iter().map(number).collect();
        return Tensor::new(&numbers, shape).astype(dtype);
    }
    if dtype == DType::Bool {
        let coins: Vec<bool> = ramp_bits(&shape, salt()).iter().map(|h| h % 2 == 1).collect();
        return Tensor::new(&coins, shape);
    }
    let (scale, shift) = (number(&spec["scale"]) as f32, number(&spec["shift"]) as f32);
    let numbers: Vec<f32> = ramp(&shape, salt()).iter().map(|x| x * scale + shift).collect();
    Tensor::new(&numbers, shape).astype(dtype)
}

fn dtype(name: &str) -> DType {
    match name {
        "bool" => DType::Bool,
        "uint8" => DType::U8,
        "uint32" => DType::U32,
        "int32" => DType::I32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "float32" => DType::F32,
        other => panic!("unknown dtype {other}"),
    }
}

/// The attributes of a case.
struct Attributes<'a>(&'a Value);

impl std::ops::Index<&str> for Attributes<'_> {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        &self.0[name]
    }
}

impl Attributes<'_> {
    fn int(&self, name: &str) -> isize {
        int(&self[name])
    }

    fn ints(&self, name: &str) -> Vec<isize> {
        ints(&self[name])
    }

    fn size(&self, name: &str) -> usize {
        self.int(name) as usize
    }

    fn sizes(&self, name: &str) -> Vec<usize> {
        sizes(&self[name])
    }

    fn number(&self, name: &str) -> f64 {
        number(&self[name])
    }

    fn dtype(&self, name: &str) -> DType {
        dtype(text(&self[name]))
    }

    fn axes(&self, name: &str) -> Axes {
        let axes = match &self[name] {
            Value::Null => Axes::from(..),
            axes => one_or_more(axes).into(),
        };
        if self["keepdims"] == true { keepdims(axes) } else { axes }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn int(value: &Value) -> isize {
    value.as_i64().unwrap_or_else(|| panic!("{value} is not an integer")) as isize
}

fn ints(value: &Value) -> Vec<isize> {
    list(value).iter().map(int).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    ints(value).into_iter().map(|i| i as usize).collect()
}

fn one_or_more(value: &Value) -> Vec<isize> {
    if value.is_array() { ints(value) } else { vec![int(value)] }
}

/// A number, or "nan", "inf" or "-inf".
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        value => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")),
    }
}
