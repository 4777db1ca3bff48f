//! Random numbers: equal to those of JAX, and the same eagerly, compiled and inside of loops.

mod common;

use common::{EXACT, Golden, Tolerance, difference, eager_and_jitted, error_of, numbers, ramp};
use onetrace::prelude::*;
use onetrace::{ErrorKind, random};
use serde_json::Value;

fn usizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

fn dtype(case: &Value) -> DType {
    match case["dtype"].as_str().unwrap() {
        "float64" => DType::F64,
        "float32" => DType::F32,
        "float16" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" | "uint64" => DType::I64,
        "int32" => DType::I32,
        "uint32" => DType::U32,
        "uint8" => DType::U8,
        other => panic!("no dtype {other}"),
    }
}

/// The input that a case tells by a formula.
fn input(formula: &Value, shape: &[usize]) -> Tensor {
    let number = |name: &str, default: f64| formula[name].as_f64().unwrap_or(default) as f32;
    let (scale, shift) = (number("scale", 1.0), number("shift", 0.0));
    let values = ramp(shape, formula["salt"].as_u64().unwrap() as u32);
    Tensor::new(&values.iter().map(|x| x * scale + shift).collect::<Vec<f32>>(), shape)
}

/// The key of the case's seed. With 64-bit types JAX keeps the high bits of a seed, so those cases
/// use seeds without.
fn key(case: &Value) -> Tensor {
    random::key(case["seed"].as_i64().unwrap_or_else(|| case["seed"].as_u64().unwrap() as i64))
}

/// A few units in the last place, at the numbers that a dtype has near one.
fn rounding(dtype: DType) -> Tolerance {
    let epsilon = match dtype {
        DType::F64 => 1e-14,
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 4e-7,
    };
    Tolerance { relative: epsilon, absolute: epsilon }
}

/// Compares the cases of `function` with what `f` gives, and tells all that differ.
fn check(golden: &Golden, function: &str, f: impl Fn(&Value) -> Option<(Tensor, Tolerance)>) {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for case in golden.cases.iter().filter(|case| case["function"] == function) {
        let Some((actual, tolerance)) = f(case) else { continue };
        compared += 1;
        let name = case["name"].as_str().unwrap();
        actual.check().unwrap_or_else(|error| panic!("{case}: {error}"));
        if let Some(difference) = difference(&actual, &golden.array(name, "out"), tolerance) {
            wrong.push(format!("{case}: {difference}"));
        }
    }
    assert!(compared > 0, "no case of {function}");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn keys_are_those_of_jax() {
    let golden = Golden::read("random");
    check(&golden, "key", |case| Some((key(case), EXACT)));
    check(&golden, "split", |case| {
        let shape = usizes(&case["shape"]);
        let keys = random::split(&key(case), shape.iter().product());
        let shape: Vec<isize> = shape.iter().map(|&n| n as isize).chain([2]).collect();
        Some((keys.reshape(shape), EXACT))
    });
    check(&golden, "fold_in", |case| {
        Some((random::fold_in(&key(case), case["data"].as_i64().unwrap()), EXACT))
    });
}

#[test]
fn bits_are_those_of_jax() {
    check(&Golden::read("random"), "bits", |case| {
        let shape = usizes(&case["shape"]);
        // There is no dtype of 16 bits here.
        (case["dtype"] != "uint16").then(|| (random::bits(&key(case), shape, dtype(case)), EXACT))
    });
}

/// 64-bit types that have no sign are not read from golden files; but uniform numbers are made of
/// such bits, and are there.
#[test]
fn wide_bits_make_the_golden_numbers() {
    let golden = Golden::read("random_x64");
    check(&golden, "uniform", |case| {
        let bits = random::bits(&key(case), usizes(&case["shape"]), DType::I64);
        let unit = (bits.shift_right_logical(12) | (1023i64 << 52)).bitcast(DType::F64) - 1.0;
        (case["minval"] == 0.0 && case["maxval"] == 1.0).then_some((unit, EXACT))
    });
}

fn check_real_numbers(golden: &Golden) {
    check(golden, "uniform", |case| {
        let (key, shape, dtype) = (key(case), usizes(&case["shape"]), dtype(case));
        let (low, high) = (case["minval"].as_f64().unwrap(), case["maxval"].as_f64().unwrap());
        if (low, high) == (0.0, 1.0) {
            return Some((random::uniform(&key, shape, dtype), EXACT));
        }
        // The processor decides how the half floats are multiplied and added.
        let tolerance = match dtype {
            DType::F16 => Tolerance { relative: 1e-3, absolute: 2e-3 },
            _ => EXACT,
        };
        Some((random::uniform_range(&key, shape, dtype, low, high), tolerance))
    });
    check(golden, "normal", |case| {
        let drawn = random::normal(&key(case), usizes(&case["shape"]), dtype(case));
        Some((drawn, rounding(dtype(case))))
    });
    check(golden, "truncated_normal", |case| {
        let (lower, upper) = (case["lower"].as_f64().unwrap(), case["upper"].as_f64().unwrap());
        let shape = usizes(&case["shape"]);
        let drawn = random::truncated_normal(&key(case), lower, upper, shape, dtype(case));
        Some((drawn, rounding(dtype(case))))
    });
    check(golden, "gumbel", |case| {
        let drawn = random::gumbel(&key(case), usizes(&case["shape"]), dtype(case));
        Some((drawn, rounding(dtype(case))))
    });
}

#[test]
fn real_numbers_are_those_of_jax() {
    check_real_numbers(&Golden::read("random"));
}

#[test]
fn wide_real_numbers_are_those_of_jax() {
    check_real_numbers(&Golden::read("random_x64"));
}

#[test]
fn truth_values_are_those_of_jax() {
    check(&Golden::read("random"), "bernoulli", |case| {
        let shape = usizes(&case["shape"]);
        let drawn = match &case["p"] {
            Value::Number(p) => random::bernoulli(&key(case), p.as_f64().unwrap(), shape),
            formula => random::bernoulli(&key(case), input(formula, &shape), shape),
        };
        Some((drawn, EXACT))
    });
}

#[test]
fn integers_are_those_of_jax() {
    for golden in [Golden::read("random"), Golden::read("random_x64")] {
        check(&golden, "randint", |case| {
            let (low, high) = (case["minval"].as_i64().unwrap(), case["maxval"].as_i64().unwrap());
            let shape = usizes(&case["shape"]);
            Some((random::randint(&key(case), shape, low, high, dtype(case)), EXACT))
        });
    }
}

#[test]
fn orders_and_choices_are_those_of_jax() {
    let golden = Golden::read("random");
    check(&golden, "permutation", |case| {
        let drawn = match case["n"].as_u64() {
            Some(n) => random::permutation(&key(case), n as usize),
            None => {
                let x = input(&case["x"], &usizes(&case["x"]["shape"]));
                random::permutation_of(&key(case), &x, case["axis"].as_i64().unwrap() as isize)
            }
        };
        Some((drawn, EXACT))
    });
    check(&golden, "choice", |case| {
        let a = Tensor::arange(case["n"].as_u64().unwrap() as usize, DType::I32);
        let replace = case["replace"].as_bool().unwrap();
        Some((random::choice(&key(case), &a, usizes(&case["shape"]), replace), EXACT))
    });
}

#[test]
fn classes_are_those_of_jax() {
    check(&Golden::read("random"), "categorical", |case| {
        let shape = usizes(&case["logits"]["shape"]);
        let logits = input(&case["logits"], &shape);
        let axis = case["axis"].as_i64().unwrap() as isize;
        let axis = if axis < 0 { axis } else { axis - shape.len() as isize };
        // Several draws are those of logits with as many leading axes.
        let logits = match &case["shape"] {
            Value::Null => logits,
            drawn => {
                let drawn = usizes(drawn);
                let leading = drawn.len() + 1 - shape.len();
                logits.broadcast_to(&[&drawn[..leading], &shape].concat())
            }
        };
        Some((random::categorical(&key(case), &logits, axis), EXACT))
    });
}

/// Draws of each kind, as a function of a key.
fn draws(key: Tensor) -> Vec<Tensor> {
    let [a, b, c] = random::split_into(&key);
    let logits = Tensor::new(&[0.5f32, 1.0, -1.0], [3]);
    vec![
        random::split(&key, 3),
        random::fold_in(&key, 7),
        random::bits(&a, [3], DType::U8),
        random::uniform_range(&b, [2, 3], DType::F32, -1.0, 3.0),
        random::truncated_normal(&c, -1.0, 2.0, [4], DType::F32),
        random::bernoulli(&a, 0.3, [5]),
        random::randint(&b, [5], -3, 9, DType::I32),
        random::permutation(&c, 6),
        random::categorical(&a, &logits, 0),
        random::choice(&b, &logits, [2], false),
    ]
}

#[test]
fn draws_are_the_same_eagerly_compiled_and_in_a_loop() -> Result<()> {
    let (eager, compiled) = eager_and_jitted(&[random::key(3)], |inputs| draws(inputs[0].clone()))?;
    let seeds = Tensor::new(&[0u32, 3, 0, 4], [2, 2]);
    let (_, looped) = scan(|(), key| ((), draws(key)), (), seeds);
    // A key that is on a device does not take the way over the host.
    let moved = jit(|key: Tensor| key + 0).call(random::key(3))?;
    let on_device = draws(moved);
    for (i, expected) in eager.iter().enumerate() {
        let tolerance = if expected.dtype().is_float() { rounding(DType::F32) } else { EXACT };
        for (how, actual) in
            [("compiled", &compiled[i]), ("looped", &looped[i].index(0)), ("moved", &on_device[i])]
        {
            assert_eq!(difference(actual, expected, tolerance), None, "draw {i} {how}");
        }
    }
    Ok(())
}

#[test]
fn keys_can_be_made_in_a_loop_from_its_counter() -> Result<()> {
    let key = random::key(11);
    let (_, keys) = scan(
        |(), step: Tensor| ((), random::fold_in(&key, step)),
        (),
        Tensor::arange(3, DType::I32),
    );
    for i in 0..3 {
        let expected = random::fold_in(&key, i as i64).to_vec::<u32>()?;
        assert_eq!(keys.index(i).to_vec::<u32>()?, expected);
    }
    Ok(())
}

#[test]
fn keys_do_not_repeat() -> Result<()> {
    let keys = random::split(&random::key(5), 1000).to_vec::<u32>()?;
    let mut pairs: Vec<&[u32]> = keys.chunks(2).collect();
    pairs.sort();
    pairs.dedup();
    assert_eq!(pairs.len(), 1000);
    Ok(())
}

/// Few keys are made on the host, many by a compiled program.
#[test]
fn many_keys_are_the_same_keys() -> Result<()> {
    let (few, many) = (random::split(&random::key(6), 100), random::split(&random::key(6), 70_000));
    assert_eq!(many.slice_in_dim(..100, 0).to_vec::<u32>()?, few.to_vec::<u32>()?);
    Ok(())
}

#[test]
fn numbers_stay_within_their_bounds() -> Result<()> {
    let key = random::key(9);
    let within = |x: &Tensor, low: f64, high: f64| {
        let all = numbers(x);
        assert!(all.iter().all(|x| (low..=high).contains(x)), "{:?}", x.aval());
        all.iter().sum::<f64>() / all.len() as f64
    };
    for dtype in [DType::F64, DType::F32, DType::F16, DType::BF16] {
        let n = 10_000;
        let unit = random::uniform(&key, [n], dtype);
        assert!((within(&unit, 0.0, 1.0 - 1e-9) - 0.5).abs() < 0.02);
        let scaled = random::uniform_range(&key, [n], dtype, -3.0, 5.0);
        assert!((within(&scaled, -3.0, 5.0) - 1.0).abs() < 0.1);
        let truncated = random::truncated_normal(&key, -0.5, 0.5, [n], dtype);
        assert!(within(&truncated, -0.5, 0.5).abs() < 0.02);
        assert!(numbers(&truncated).iter().all(|x| x.abs() < 0.5));
        assert!((within(&random::exponential(&key, [n], dtype), 0.0, 50.0) - 1.0).abs() < 0.05);
        let normal = random::normal(&key, [n], dtype);
        assert!(within(&normal, -10.0, 10.0).abs() < 0.05);
        let squares: f64 = numbers(&normal).iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!((squares - 1.0).abs() < 0.05, "{dtype}: {squares}");
    }
    for dtype in [DType::U8, DType::U32, DType::I32, DType::I64] {
        let dice = random::randint(&key, [6000], 1, 7, dtype);
        assert!((within(&dice, 1.0, 6.0) - 3.5).abs() < 0.1);
    }
    let mut order = random::permutation(&key, 500).to_vec::<i32>()?;
    order.sort_unstable();
    assert!(order.into_iter().eq(0..500));
    Ok(())
}

#[test]
fn bounds_can_be_tensors() -> Result<()> {
    let key = random::key(2);
    let low = Tensor::new(&[0.0f32, 100.0], [2]);
    let x = random::uniform_range(&key, [3, 2], DType::F32, &low, &low + 1.0).to_vec::<f32>()?;
    assert!(x.chunks(2).all(|row| row[0] < 1.0 && row[1] >= 100.0), "{x:?}");
    let high = Tensor::new(&[1u8, 200], [2]);
    let n = random::randint(&key, [50, 2], 0, &high, DType::I32).to_vec::<i32>()?;
    assert!(n.chunks(2).all(|row| row[0] == 0 && row[1] < 200), "{n:?}");
    let truncated = random::truncated_normal(&key, 0.0, &low + 1.0, [40, 2], DType::F32);
    assert!(truncated.to_vec::<f32>()?.iter().all(|x| *x > 0.0));
    Ok(())
}

/// The whole range of a dtype has as many numbers as a word; its end is not a number of the dtype.
#[test]
fn integers_reach_both_ends_of_a_dtype() -> Result<()> {
    let key = random::key(1);
    let bytes = random::randint(&key, [5000], 0, 256, DType::U8).to_vec::<u8>()?;
    assert!(bytes.contains(&0) && bytes.contains(&255));
    let last = random::randint(&key, [3], u32::MAX, 1i64 << 32, DType::U32);
    assert_eq!(last.to_vec::<u32>()?, [u32::MAX; 3]);
    let whole = random::randint(&key, [2000], -(1i64 << 31), 1i64 << 31, DType::I32);
    let whole = whole.to_vec::<i32>()?;
    assert!(whole.iter().any(|n| *n > 2_000_000_000) && whole.iter().any(|n| *n < -2_000_000_000));
    Ok(())
}

#[test]
fn empty_results_are_drawn_without_a_number() {
    let key = random::key(0);
    let nothing = Tensor::zeros([0], DType::F32);
    let cases = [
        random::uniform(&key, [0, 3], DType::F32),
        random::normal(&key, [2, 0], DType::F64),
        random::randint(&key, [0], 0, 5, DType::I64),
        random::bernoulli(&key, 0.5, [0]),
        random::split(&key, 0),
        random::permutation(&key, 0),
        random::permutation_of(&key, &Tensor::zeros([0, 2], DType::F32), 0),
        random::choice(&key, &nothing, [2, 0], true),
        random::categorical(&key, &Tensor::zeros([0, 3], DType::F32), 1),
    ];
    for (i, drawn) in cases.iter().enumerate() {
        assert!(numbers(drawn).is_empty(), "case {i}: {drawn:?}");
    }
}

/// One compiled program serves all keys and bounds: they are its arguments.
#[test]
fn keys_and_bounds_are_not_part_of_the_program() -> Result<()> {
    let f =
        jit(|(key, low): (Tensor, Tensor)| random::uniform_range(&key, [4], DType::F32, low, 1.0));
    let hlo = f.lower((random::key(0x1234_5678), Tensor::scalar(0.25, DType::F32)))?.hlo()?;
    assert!(!hlo.contains("305419896") && !hlo.contains("0.25"), "{hlo}");
    Ok(())
}

#[test]
fn mistakes_are_errors_that_name_the_function_and_the_value() {
    let key = random::key(0);
    let no_key = Tensor::zeros([3], DType::U32);
    let f32s = Tensor::zeros([2, 3], DType::F32);
    let huge = [usize::MAX, 2];
    let cases = [
        (random::normal(&no_key, [2], DType::F32), ErrorKind::Argument, "normal: a key is u32[2]"),
        (random::split(&f32s, 2), ErrorKind::Argument, "split: a key is u32[2]"),
        (random::split_into::<2>(&f32s)[1].clone(), ErrorKind::Argument, "f32[2,3]"),
        (random::fold_in(&key, -1), ErrorKind::DType, "-1"),
        (random::fold_in(&key, 1i64 << 32), ErrorKind::DType, "4294967296"),
        (random::fold_in(&key, &f32s), ErrorKind::Argument, "fold_in: the data must be an integer"),
        (
            random::fold_in(&key, Tensor::zeros([1], DType::U32)),
            ErrorKind::Argument,
            "but it is u32[1]",
        ),
        (random::uniform(&key, [2], DType::I32), ErrorKind::DType, "uniform: the dtype must be"),
        (random::uniform(&key, huge, DType::F32), ErrorKind::Shape, "no memory can hold"),
        (random::permutation(&key, usize::MAX), ErrorKind::Argument, "below 2^31"),
        (random::bits(&key, [2], DType::I32), ErrorKind::DType, "bits: the dtype must be u8"),
        (random::bernoulli(&key, 1.5, [2]), ErrorKind::Argument, "1.5"),
        (random::bernoulli(&key, f64::NAN, [2]), ErrorKind::Argument, "NaN"),
        (random::bernoulli(&key, true, [2]), ErrorKind::DType, "true"),
        (random::bernoulli(&key, &no_key, [3]), ErrorKind::DType, "bernoulli: the dtype"),
        (random::bernoulli(&key, &f32s, [3]), ErrorKind::Shape, "bernoulli: p must be"),
        (random::randint(&key, [2], 0, 5, DType::F32), ErrorKind::DType, "randint: the dtype"),
        (random::randint(&key, [2], 0.5, 5, DType::I32), ErrorKind::DType, "0.5"),
        (random::randint(&key, [2, 3], 0, &f32s, DType::I32), ErrorKind::DType, "randint: maxval"),
        (
            random::uniform_range(&key, [2], DType::F32, &f32s, 1.0),
            ErrorKind::Shape,
            "uniform_range: minval must be",
        ),
        (random::permutation_of(&key, &f32s, 2), ErrorKind::Shape, "permutation_of: axis 2"),
        (random::categorical(&key, &f32s, 2), ErrorKind::Shape, "categorical: axis 2"),
        (random::categorical(&key, &no_key, 0), ErrorKind::DType, "categorical: the dtype"),
        (
            random::categorical(&key, &Tensor::zeros([2, 0], DType::F32), 1),
            ErrorKind::Shape,
            "categorical: there must be an element",
        ),
        (random::choice(&key, &f32s, [3], false), ErrorKind::Argument, "choice: 3"),
        (
            random::choice(&key, &Tensor::zeros([0], DType::F32), [1], true),
            ErrorKind::Argument,
            "choice: 1",
        ),
        (
            random::choice(&key, &Tensor::scalar(1.0, DType::F32), [1], true),
            ErrorKind::Shape,
            "choice: a must have an axis",
        ),
    ];
    for (i, (tensor, kind, part)) in cases.iter().enumerate() {
        let error = error_of(tensor);
        assert_eq!(error.kind(), *kind, "case {i}: {error}");
        assert!(error.to_string().contains(part), "case {i}: {error}");
        let place = error.location().map(|location| location.file());
        assert_eq!(place, Some(file!()), "case {i}: {error}");
    }
}
