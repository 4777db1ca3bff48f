//! Initialisers: equal to those of Flax, and orthogonal where they say so.

mod common;

use common::{EXACT, Golden, Tolerance, difference, error_of, numbers};
use onetrace::nn::Initializer;
use onetrace::nn::init::{self, Distribution, Mode};
use onetrace::prelude::*;
use onetrace::{ErrorKind, random};
use serde_json::Value;

/// The initialiser that a case names, with its arguments; none if there is no such argument here.
fn initializer(case: &Value) -> Option<Initializer> {
    let args = &case["args"];
    let number = |name: &str, default: f64| args[name].as_f64().unwrap_or(default);
    let axis = |name: &str, default: isize| args[name].as_i64().map_or(default, |n| n as isize);
    if !args["batch_axis"].is_null() {
        return None;
    }
    let made = match case["initializer"].as_str().unwrap() {
        "zeros" => init::zeros(),
        "ones" => init::ones(),
        "constant" => init::constant(number("value", 0.0)),
        "uniform" => init::uniform(number("scale", 0.01)),
        "normal" => init::normal(number("stddev", 0.01)),
        "truncated_normal" => {
            let (lower, upper) = (number("lower", -2.0), number("upper", 2.0));
            init::truncated_normal(number("stddev", 0.01), lower, upper)
        }
        "lecun_normal" => init::lecun_normal(),
        "lecun_uniform" => init::lecun_uniform(),
        "glorot_normal" => init::glorot_normal(),
        "glorot_uniform" => init::glorot_uniform(),
        "he_normal" => init::he_normal(),
        "he_uniform" => init::he_uniform(),
        "orthogonal" => {
            let (scale, column_axis) = (number("scale", 1.0), axis("column_axis", -1));
            Initializer::Orthogonal { scale, column_axis }
        }
        "variance_scaling" => {
            let mode = match args["mode"].as_str().unwrap() {
                "fan_in" => Mode::FanIn,
                "fan_out" => Mode::FanOut,
                "fan_avg" => Mode::FanAvg,
                _ => Mode::FanGeoAvg,
            };
            let distribution = match args["distribution"].as_str().unwrap() {
                "normal" => Distribution::Normal,
                "uniform" => Distribution::Uniform,
                _ => Distribution::TruncatedNormal,
            };
            init::variance_scaling(number("scale", 1.0), mode, distribution)
        }
        other => panic!("no initialiser {other}"),
    };
    Some(match made {
        Initializer::VarianceScaling { scale, mode, distribution, in_axis, out_axis } => {
            let (in_axis, out_axis) = (axis("in_axis", in_axis), axis("out_axis", out_axis));
            Initializer::VarianceScaling { scale, mode, distribution, in_axis, out_axis }
        }
        other => other,
    })
}

#[test]
fn parameters_are_those_of_flax() {
    let golden = Golden::read("initializers");
    let mut wrong = Vec::new();
    for case in &golden.cases {
        let Some(initializer) = initializer(case) else { continue };
        let shape: Vec<usize> = case["shape"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_u64().unwrap() as usize)
            .collect();
        let (dtype, relative) = match case["dtype"].as_str().unwrap() {
            "bfloat16" => (DType::BF16, 8e-3),
            "float16" => (DType::F16, 1e-3),
            _ => (DType::F32, 4e-7),
        };
        let tolerance = match initializer {
            Initializer::Zeros | Initializer::Ones | Initializer::Constant(_) => EXACT,
            Initializer::Orthogonal { scale, .. } => {
                Tolerance { relative: 0.0, absolute: 1e-6 * scale }
            }
            _ => Tolerance { relative, absolute: 1e-9 },
        };
        let key = random::key(case["seed"].as_i64().unwrap());
        let parameter = initializer.init(&key, &shape, dtype);
        parameter.check().unwrap_or_else(|error| panic!("{case}: {error}"));
        let expected = golden.array(case["name"].as_str().unwrap(), "out");
        if let Some(difference) = difference(&parameter, &expected, tolerance) {
            wrong.push(format!("{case}: {difference}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// How far the rows of a matrix are from orthonormal.
fn defect(rows: &Tensor) -> f64 {
    let gram = numbers(&rows.dot(&rows.t()));
    let n = rows.shape()[0];
    let unit = |i: usize| if i.is_multiple_of(n + 1) { 1.0 } else { 0.0 };
    gram.iter().enumerate().map(|(i, x)| (x - unit(i)).abs()).fold(0.0, f64::max)
}

/// Small matrices are made row by row, large ones in blocks, the last of which may reach into the
/// one before it.
#[test]
fn orthogonal_matrices_are_orthogonal_at_any_size() {
    let key = random::key(1);
    for (shape, dtype, limit) in [
        ([1, 1], DType::F64, 1e-15),
        ([64, 64], DType::F64, 1e-14),
        ([64, 200], DType::F32, 1e-6),
        ([65, 65], DType::F64, 1e-14),
        ([96, 100], DType::F64, 1e-14),
        ([250, 127], DType::F64, 1e-14),
    ] {
        let matrix = init::orthogonal().init(&key, &shape, dtype);
        assert_eq!(matrix.shape(), shape);
        let rows = if shape[0] <= shape[1] { matrix } else { matrix.t() };
        let defect = defect(&rows);
        assert!(defect < limit, "{shape:?} {dtype}: {defect}");
    }
}

/// Also where it is made in blocks, the matrix is the factor of the QR decomposition that has a
/// positive diagonal.
#[test]
fn orthogonal_matrices_are_the_factors_of_normal_numbers() {
    let key = random::key(2);
    let normal = random::normal(&key, [300, 100], DType::F64);
    let matrix = init::orthogonal().init(&key, &[300, 100], DType::F64);
    let r = numbers(&matrix.t().dot(&normal));
    for i in 0..100 {
        assert!(r[i * 100 + i] > 0.0);
        assert!((0..i).all(|j| r[i * 100 + j].abs() < 1e-12), "row {i}");
    }
}

#[test]
fn parameters_are_the_same_eagerly_compiled_and_in_a_loop() -> Result<()> {
    let draws = |key: Tensor| {
        [
            init::lecun_normal().init(&key, &[5, 7], DType::F32),
            init::orthogonal().init(&key, &[4, 6], DType::F32),
            init::uniform(0.5).init(&key, &[3], DType::F32),
        ]
    };
    let eager = draws(random::key(8));
    let compiled = jit(draws).call(random::key(8))?;
    let (_, looped) = scan(|(), key| ((), draws(key)), (), Tensor::new(&[0u32, 8], [1, 2]));
    let tolerance = Tolerance { relative: 1e-6, absolute: 1e-7 };
    for i in 0..eager.len() {
        assert_eq!(difference(&compiled[i], &eager[i], tolerance), None);
        assert_eq!(difference(&looped[i].index(0), &eager[i], tolerance), None);
    }
    Ok(())
}

#[test]
fn empty_parameters_are_drawn_without_a_number() {
    let key = random::key(0);
    for initializer in [init::lecun_normal(), init::orthogonal(), init::zeros(), init::he_uniform()]
    {
        let parameter = initializer.init(&key, &[0, 3], DType::F32);
        assert!(numbers(&parameter).is_empty(), "{initializer:?}");
        assert_eq!(parameter.shape(), [0, 3]);
    }
}

#[test]
fn mistakes_are_errors_that_name_the_initialiser() {
    let key = random::key(0);
    let f32 = DType::F32;
    let cases = [
        (init::lecun_normal().init(&key, &[3], f32), ErrorKind::Shape, "two axes"),
        (init::orthogonal().init(&key, &[3], f32), ErrorKind::Shape, "orthogonal: a parameter"),
        (init::orthogonal().init(&key, &[3, 3], DType::BF16), ErrorKind::DType, "f32 or f64"),
        (init::normal(1.0).init(&key, &[3], DType::I32), ErrorKind::DType, "normal: the dtype"),
        (init::normal(1.0).init(&key, &[usize::MAX], f32), ErrorKind::Shape, "no memory can hold"),
        (
            init::orthogonal().init(&key, &[usize::MAX, 2], f32),
            ErrorKind::Shape,
            "no memory can hold",
        ),
        (
            init::he_normal().init(&Tensor::zeros([3], DType::U32), &[2, 2], f32),
            ErrorKind::Argument,
            "a key is u32[2]",
        ),
        (
            init::variance_scaling(-1.0, Mode::FanIn, Distribution::Normal).init(
                &key,
                &[2, 2],
                f32,
            ),
            ErrorKind::Argument,
            "must not be negative",
        ),
        (
            Initializer::Orthogonal { scale: 1.0, column_axis: 2 }.init(&key, &[2, 2], f32),
            ErrorKind::Shape,
            "axis 2",
        ),
        (init::constant(0.5).init(&key, &[2], DType::I32), ErrorKind::DType, "0.5"),
    ];
    for (i, (parameter, kind, part)) in cases.iter().enumerate() {
        let error = error_of(parameter);
        assert_eq!(error.kind(), *kind, "case {i}: {error}");
        assert!(error.to_string().contains(part), "case {i}: {error}");
        assert_eq!(error.location().map(|l| l.file()), Some(file!()), "case {i}: {error}");
    }
}
